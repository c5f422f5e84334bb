"""
Detectors to test and measure with: one whose gradients are known in closed form, and random ones
that detect.
"""

from typing import Dict, List, Optional

import torch
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn


class ToyDetector(nn.Module):
    """
    A detector of K fixed objects that is linear in the pixels x (C, H, W):

        logit_i  = <class_weight_i, x>,          score_i = sigmoid(logit_i)
        box_i    = anchor_i + <box_weight_i, x>  for each of its four coordinates

    so that d logit_i / dx = class_weight_i, d score_i / dx = score_i (1 - score_i) class_weight_i
    and d box_i / dx = box_weight_i. It detects the objects with a score above ``score_thresh``, the
    best first.

    Args:
        anchors: (K, 4), pixels.
        class_weights: (K, C, H, W).
        box_weights: (K, 4, C, H, W).
    """

    anchors: Tensor

    def __init__(
        self,
        anchors: Tensor,
        class_weights: Tensor,
        box_weights: Tensor,
        score_thresh: float = 0.05,
    ):
        super().__init__()
        self.class_weights = nn.Parameter(class_weights)
        self.box_weights = nn.Parameter(box_weights)
        self.register_buffer("anchors", anchors)
        # x as a feature map (1, C, H, W): the layer "features" for CAM methods
        self.features = nn.Identity()
        self.score_thresh = score_thresh

    @staticmethod
    def random(
        num_objects: int = 3, height: int = 24, width: int = 32, seed: int = 1234
    ) -> "ToyDetector":
        """
        Objects side by side, with weights small enough that noise moves boxes by a few pixels.
        """
        generator = torch.Generator().manual_seed(seed)
        x0 = torch.linspace(0, width * (num_objects - 1) / num_objects, num_objects) + 1
        side = torch.full((num_objects,), width / num_objects - 2)
        anchors = torch.stack(
            [x0, torch.full_like(x0, 4.0), x0 + side, torch.full_like(x0, height - 4.0)], dim=1
        )
        shape = (3, height, width)
        class_weights = torch.randn(num_objects, *shape, generator=generator) * 2e-5
        box_weights = torch.randn(num_objects, 4, *shape, generator=generator) * 1e-4
        return ToyDetector(anchors, class_weights, box_weights).eval()

    def forward(self, batched_inputs: List[Dict]) -> List[Dict]:
        return [
            {"instances": self._detect(self.features(x["image"].float()[None])[0])}
            for x in batched_inputs
        ]

    def _detect(self, image: Tensor) -> Instances:
        scores = (self.class_weights * image).sum((1, 2, 3)).sigmoid()
        boxes = self.anchors + (self.box_weights * image).sum((2, 3, 4))
        order = scores.argsort(descending=True)
        order = order[scores[order] > self.score_thresh]
        return Instances(
            tuple(image.shape[-2:]),
            pred_boxes=Boxes(boxes[order]),
            scores=scores[order],
            pred_classes=order,
        )


def calibrate(model: nn.Module, batched_input: Optional[Dict] = None) -> None:
    """
    Scale the random prediction layers so that boxes and scores vary as those of a trained model do.

    Each layer is scaled when it first runs, so that the layers behind it see what it then says.

    Args:
        model: a detector with Detectron2's names of layers.
        batched_input: what it runs on; default: an image of noise.
    """
    spread = {
        "objectness_logits": 1.0,
        "anchor_deltas": 0.3,
        "cls_score": 1.0,
        "bbox_pred": 4.0,
        "ctrness": 1.0,
    }
    spread["score_lowres"] = 1.0  # keypoints
    if isinstance(model, RetinaNet):  # in sides of the anchor; R-CNN divides by 5 and 10
        spread["bbox_pred"] = 0.5

    def scale(layer, inputs, output):
        if layer.target and output.numel() > 1 and output.std() > 0:
            factor = layer.target / output.std()
            layer.weight.data *= factor
            layer.target = 0
            return (output - layer.bias.view([1, -1] + [1] * (output.dim() - 2))) * factor
        return None

    handles = []
    for name, layer in model.named_modules():
        layer.target = spread.get(name.rsplit(".", 1)[-1], 0)
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and layer.target:
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            handles.append(layer.register_forward_hook(scale))
    with torch.no_grad():
        model([batched_input or {"image": torch.rand(3, 128, 160) * 255}])
    for handle in handles:
        handle.remove()
