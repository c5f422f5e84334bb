"""
Sure detections and their scores' gradients in double precision, without d2_saliency's gradients.

The models are the bundled detectors with their class logits scaled up. The detections are those of
the unscaled detectors, so that it is known which row of logits each of them comes from.
"""

import copy
import math
from functools import cache
from unittest import mock

import cv2
import torch
import torchvision
from detectron2.modeling.roi_heads import cascade_rcnn
from detectron2.structures import Boxes, Instances
from torch.nn import functional as F

from d2_saliency import explainable
from tests.conftest import ROOT, _stock_detector

NUM_DETECTIONS = 3


def scaled(name, factor):
    """A stock model whose class logits, and FCOS's centerness, are ``factor`` times as large."""
    model = copy.deepcopy(_stock_detector(f"{name}_planted"))
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.split(".")[-2] in ("cls_score", "ctrness"):
            parameter.data *= factor
    return model


@cache
def detections(name, crop=False):
    """
    A picture, and the three surest detections of the unscaled model, with where they come from.
    """
    picture = cv2.imread(str(sorted((ROOT / "demo" / "images").glob("*.png"))[1]))
    image = torch.as_tensor(picture.transpose(2, 0, 1).copy()).float()
    image = image[:, :128, :160] if crop else image
    with torch.no_grad():
        found = explainable(scaled(name, 1)).run([{"image": image}]).instances[0]
    return image, found[found.scores.argsort(descending=True)[:NUM_DETECTIONS]]


def logit_rows(stock, image, found):
    """
    For each detection the rows of logits behind its score, of a stock model without d2_saliency.

    Of an R-CNN, those of each stage, background last; of a dense detector, the class logits and,
    if there is one, the centerness.
    """
    two_stage = hasattr(stock, "roi_heads")
    names = ("head.cls_score", "head.ctrness")
    layers = [
        m for n, m in stock.named_modules() if n in names or (two_stage and n.endswith("cls_score"))
    ]
    heard = [[] for _ in layers]
    for layer, calls in zip(layers, heard):
        layer.register_forward_hook(lambda m, i, y, calls=calls: calls.append(y.clone()))
    inputs = {"image": image}
    if two_stage:
        given = Boxes(found.proposal_boxes.tensor.to(image.dtype))
        inputs["proposals"] = Instances(found.image_size, proposal_boxes=given)
        stock.proposal_generator = None
    with (
        mock.patch.object(cascade_rcnn._ScaleGradient, "apply", lambda x, scale: x),
        mock.patch.object(torchvision.ops.boxes, "nms", lambda *args: torch.arange(0)),
    ):
        stock([inputs])
    if two_stage:
        return [[calls[0][i] for calls in heard] for i in range(len(found))]
    rows = []
    for level, index in zip(found.level.tolist(), found.anchor_index.tolist()):
        maps = [
            calls[level][0].unflatten(0, (-1, k)) for k, calls in zip((stock.num_classes, 1), heard)
        ]
        rows.append([m.permute(2, 3, 0, 1).reshape(-1, m.shape[1])[index] for m in maps])
    return rows


def score(rows, c, two_stage):
    """The stock formula."""
    if two_stage:
        return sum(row.softmax(0)[c] for row in rows) / len(rows)
    probabilities = [rows[0][c].sigmoid(), *(row[0].sigmoid() for row in rows[1:])]
    return (
        probabilities[0]
        if len(probabilities) == 1
        else (probabilities[0] * probabilities[1]).sqrt()
    )


def log_distance_from_one(rows, c, two_stage):
    """
    y = log(1 - s), for FCOS log(1 - s^2), and log(-ds / dy), for scores that double precision
    loses.
    """
    if two_stage:
        others = [
            torch.cat([row[:c], row[c + 1 :]]).logsumexp(0) - row.logsumexp(0) for row in rows
        ]
        y = torch.stack(others).logsumexp(0) - math.log(len(rows))
        return y, y.item()
    if len(rows) == 1:
        y = F.logsigmoid(-rows[0][c])
        return y, y.item()
    z, w = rows[0][c], rows[1][0]
    y = torch.logaddexp(F.logsigmoid(-z), F.logsigmoid(z) + F.logsigmoid(-w))
    return y, (y - (2 * (z.sigmoid() * w.sigmoid()).sqrt()).log()).item()  # ds = d(s^2) / 2s


@cache
def truth(name, factor, crop=False):
    """
    In double precision, for each detection: its score, an exponent e, and the gradients of the
    score to the pixels and to each feature level (as a dict), divided by 2^e.
    """
    image, found = detections(name, crop)
    stock, pixels, features = scaled(name, factor).double(), image.double().requires_grad_(), {}
    stock.backbone.register_forward_hook(lambda m, i, y: features.update(y))
    rows_of_all, two_stage = logit_rows(stock, pixels, found), hasattr(stock, "roi_heads")
    result = []
    for rows, c in zip(rows_of_all, found.pred_classes.tolist()):
        y, exponent = score(rows, c, two_stage), 0
        p = float(y.detach())
        if p > 1 - 1e-10:
            y, log_slope = log_distance_from_one(rows, c, two_stage)
            exponent = math.floor(log_slope / math.log(2))
            y = -y * math.exp(log_slope - exponent * math.log(2))
        inputs = [pixels, *features.values()]
        gradients = torch.autograd.grad(y, inputs, retain_graph=True, materialize_grads=True)
        result.append((p, exponent, gradients[0], dict(zip(features, gradients[1:]))))
    return result
