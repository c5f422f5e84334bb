"""Random weights that detect something."""

import torch


def calibrate(model):
    """
    Scale the random prediction layers so that boxes and scores vary as those of a trained model do.

    Each layer is scaled when it first runs, so that the layers behind it see what it then says.
    """
    spread = {"objectness_logits": 1.0, "anchor_deltas": 0.3, "cls_score": 1.0, "bbox_pred": 4.0}

    def scale(layer, inputs, output):
        factor = layer.target / output.std()
        if layer.target and output.std() > 0:
            layer.weight.data *= factor
            layer.target = 0
            return (output - layer.bias.view([1, -1] + [1] * (output.dim() - 2))) * factor
        return None

    handles = []
    for name, layer in model.named_modules():
        layer.target = spread.get(name.rsplit(".", 1)[-1], 0)
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)) and layer.target:
            torch.nn.init.zeros_(layer.bias)
            handles.append(layer.register_forward_hook(scale))
    with torch.no_grad():
        model([{"image": torch.rand(3, 128, 160) * 255}])
    for handle in handles:
        handle.remove()
