"""
The plain way to explain stock Detectron2 models, written without d2_saliency, as a reference for
its results.

The stock model runs with gradients on, and its output tensors are differentiated one by one.
`Boxes.clip` leaves boxes that carry a graph alone meanwhile, because explanations are of unclipped
coordinates, and Cascade R-CNN does not divide its gradients by the number of stages, which it does
for training.
"""

from contextlib import contextmanager
from typing import Dict, List
from unittest import mock

import torch
from detectron2.modeling.roi_heads import cascade_rcnn
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn


@contextmanager
def unclipped_boxes():
    clip = Boxes.clip
    # Proposals carry no graph; they are clipped as ever.
    with mock.patch.object(
        Boxes, "clip", lambda self, size: None if self.tensor.requires_grad else clip(self, size)
    ):
        yield


def stock_detections(model: nn.Module, image: Tensor) -> Instances:
    """Detections in network pixels, with the graph to ``image``."""
    with (
        unclipped_boxes(),
        mock.patch.object(cascade_rcnn._ScaleGradient, "apply", lambda x, scale: x),
    ):
        return model([{"image": image}])[0]["instances"]


def class_logits(model: nn.Module, image: Tensor, detection: Instances) -> Tensor:
    """
    The logits (K,) of the RoI, anchor or point that a detection came from, with the graph to
    ``image``.

    The prediction layers are overheard; the row is the one that has the detection's very score for
    its class. Cascade R-CNN's logits are the mean of those of its stages, FCOS's score has a part
    in the centerness.
    """
    two_stage = hasattr(model, "roi_heads")
    if two_stage:
        predictor = model.roi_heads.box_predictor
        stages = _overheard(
            model, image, predictor if isinstance(predictor, nn.ModuleList) else [predictor]
        )
        per_stage = [calls[0][0] for calls in stages]
        logits, probs = (
            sum(rows) / len(rows) for rows in (per_stage, [z.softmax(1) for z in per_stage])
        )
    else:
        layers = [
            model.head.cls_score,
            *([model.head.ctrness] if hasattr(model.head, "ctrness") else []),
        ]
        logits, *centerness = (
            torch.cat(
                [x[0].unflatten(0, (-1, k)).permute(2, 3, 0, 1).reshape(-1, k) for x in levels]
            )
            for k, levels in zip((model.num_classes, 1), _overheard(model, image, layers))
        )
        probs = (
            (logits.sigmoid() * centerness[0].sigmoid()).sqrt() if centerness else logits.sigmoid()
        )
    row = (probs[:, detection.pred_classes[0]] - detection.scores[0]).abs().argmin()
    return logits[row][: model.roi_heads.num_classes if two_stage else None]


def _overheard(model: nn.Module, image: Tensor, layers: List[nn.Module]) -> List[List]:
    """What each layer says, call by call, while the stock model looks at the image."""
    heard: List[List] = [[] for _ in layers]

    def listener(calls):
        # clone: the forward of dense models overwrites logits with probabilities
        return lambda m, i, y: calls.append(
            [t.clone() for t in y] if isinstance(y, tuple) else y.clone()
        )

    handles = [layer.register_forward_hook(listener(calls)) for layer, calls in zip(layers, heard)]
    try:
        stock_detections(model, image)
    finally:
        for handle in handles:
            handle.remove()
    return heard


def gradients(model: nn.Module, image: Tensor, score: float, class_target: str = "score") -> Tensor:
    """
    Gradients of the five outputs of the detection with that score to the pixels, (5, C, H, W).
    """
    image = image.clone().requires_grad_()
    found = stock_detections(model, image)
    index = int((found.scores - score).abs().argmin())
    assert (found.scores[index] - score).abs() < 1e-6
    c = int(found.pred_classes[index])
    if class_target == "score":
        class_output = found.scores[index]
    else:
        logits = class_logits(model, image, found[index])
        others = torch.cat([logits[:c], logits[c + 1 :]])
        class_output = (
            logits[c] if class_target == "logit" else logits[c] - others.exp().sum().log()
        )
    outputs = [class_output, *found.pred_boxes.tensor[index]]
    return torch.stack([torch.autograd.grad(y, image, retain_graph=True)[0] for y in outputs])


def iou(a: Tensor, b: Tensor) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (area - width * height))


def od_smoothgrad(model: nn.Module, image: Tensor, index: int, noise: List[Tensor]) -> Dict:
    """
    ODSmoothGrad of one detection by a plain loop.

    Its partner in a noisy image is the detection of the same class with the largest IoU above 0.7.
    (That is the one-to-one matching where no two detections of one class overlap that much, as the
    caller makes sure.)
    """
    with torch.no_grad():
        reference = model([{"image": image}])[0]["instances"][index]
    total, matched = torch.zeros(5, *image.shape[-2:]), 0
    for n in noise:
        with torch.no_grad():
            found = model([{"image": image + n}])[0]["instances"]
        best, partner = 0.7, None
        for j in range(len(found)):
            overlap = iou(reference.pred_boxes.tensor[0], found.pred_boxes.tensor[j])
            if found.pred_classes[j] == reference.pred_classes[0] and overlap > best:
                best, partner = overlap, j
        if partner is not None:
            total += gradients(model, image + n, found.scores[partner]).abs().max(dim=1).values
            matched += 1
    return {"maps": total / max(matched, 1), "num_matched": matched}
