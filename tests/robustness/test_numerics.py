"""Half precision, saturated scores, features that are all the same, gradients that overflow: finite maps, or a word."""

import copy

import pytest
import torch
import torchvision
from detectron2.structures import Boxes, Instances

from d2_saliency import build_saliency_head, explainable, method_names
from d2_saliency.testing import ToyDetector
from tests.conftest import demo_cfg

NEEDS_PROVENANCE = ("CAM", "IntegratedGradients")
METHODS = [name for name in method_names() if name not in NEEDS_PROVENANCE]
DETECTORS = ("faster_rcnn_planted", "retinanet_planted")


def head(method, **keys):
    cfg = demo_cfg("faster_rcnn_planted")
    options = [("NAME", method), ("SMOOTHGRAD.NUM_SAMPLES", 2), ("MAX_INSTANCES", 2), ("SCORE_THRESH", 0.3)]
    options += [("INTEGRATED_GRADIENTS.NUM_STEPS", 2), *keys.items()]
    cfg.merge_from_list([text for key, value in options for text in (f"MODEL.SALIENCY_HEAD.{key}", value)])
    return build_saliency_head(cfg)


def explain(model, image):
    with torch.no_grad():
        return model([{"image": image}])[0]["instances"]


def check_finite(found, num=None):
    maps = found.pred_saliency
    explained = maps.explained
    assert explained.any() if num is None else explained.sum() == num
    for m in (m for m in maps.maps if m.numel()):
        assert m.dtype == torch.float32 and m.isfinite().all() and m.min() >= 0
    resized = maps.resize(30, 40)
    assert resized.isfinite().all() and resized.min() >= 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_models_in_half_precision(method, dtype):
    """The maps are those of the model in single precision, but for the rounding of its weights and outputs."""
    image = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0)) * 255
    maps = []
    for kind in (torch.float32, dtype):
        toy = ToyDetector.random()
        toy.class_weights.data, toy.box_weights.data = toy.class_weights.data * 10, toy.box_weights.data * 10
        model = explainable(HalfToy(toy.anchors, toy.class_weights.data, toy.box_weights.data).to(kind).eval())
        model.saliency_head = head(method, LAYER="features", SCORE_THRESH=0.0)
        found = explain(model, image)
        check_finite(found)
        order = found.pred_classes[found.pred_saliency.explained].argsort()
        maps.append([m for m in found.pred_saliency[found.pred_saliency.explained][order].resize(24, 32)])
    if method in ("Gradient", "ODAM", "LayerCAM", "HiResCAM"):
        for single, half in zip(*maps):
            assert (half - single).abs().amax() <= 0.1 * single.amax()


class HalfToy(ToyDetector):
    """Computes in the type of its weights."""

    def forward(self, batched_inputs):
        images = [self.features(x["image"].to(self.class_weights.dtype)[None])[0] for x in batched_inputs]
        return [{"instances": self._detect(image)} for image in images]


class Constant(torch.nn.Module):
    """One object whose class logit is ``scale`` times the mean of the features; its edges move with it, but little."""

    def __init__(self, scale, features=None):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(float(scale)))
        self.features = features or torch.nn.Identity()

    def forward(self, batched_inputs):
        results = []
        for x in batched_inputs:
            value = self.features(x["image"].float()[None]).mean() * self.scale
            boxes = Boxes(torch.tensor([[2.0, 3.0, 9.0, 8.0]]) + 1e-3 * value / max(1.0, float(self.scale)))
            fields = dict(pred_boxes=boxes, scores=value.sigmoid()[None], pred_classes=torch.tensor([0]))
            results.append({"instances": Instances(tuple(x["image"].shape[-2:]), **fields)})
        return results


class Same(torch.nn.Module):
    """Activations that are all equal, whatever the image."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return x * 0 + self.value


@pytest.mark.parametrize("scale, target", [(1e4, "score"), (1e4, "logit"), (1e-30, "score"), (0.0, "logit")])
@pytest.mark.parametrize("method", METHODS)
def test_huge_and_tiny_logits(method, scale, target):
    model = explainable(Constant(scale).eval())
    model.saliency_head = head(method, LAYER="features", CLASS_TARGET=target, SCORE_THRESH=0.0)
    found = explain(model, torch.rand(3, 12, 16) * 255)
    assert float(found.scores[0]) == (1.0 if scale == 1e4 else 0.5)
    check_finite(found, num=1)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e4])
@pytest.mark.parametrize("method", METHODS)
def test_features_that_are_all_equal(method, value):
    model = explainable(Constant(1e-4, Same(value)).eval())
    model.saliency_head = head(method, LAYER="features", SCORE_THRESH=0.0)
    check_finite(explain(model, torch.rand(3, 12, 16) * 255), num=1)


@pytest.mark.parametrize("method", ["Gradient", "ODSmoothGrad", "GradCAM", "ODAM"])
def test_gradients_that_overflow_are_said(method, caplog):
    """d/dx of x times infinity: pixels that are not finite become 0, and a warning says so."""

    class Overflow(torch.nn.Module):
        def forward(self, x):
            return x + (x - x.detach()) * 1e38 * 1e38

    model = explainable(Constant(1e-3, torch.nn.Sequential(Overflow())).eval())
    model.saliency_head = head(method, LAYER="features.0", SCORE_THRESH=0.0)
    image = torch.rand(3, 12, 16) * 255
    model.saliency_head.layer = "features" if method == "GradCAM" else "features.0"
    found = explain(model, image)
    check_finite(found, num=1)
    if method in ("Gradient", "ODSmoothGrad"):
        assert "are not finite; such pixels are set to 0" in caplog.text


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_detectors_in_half_precision(stock_detector, demo_image, monkeypatch, name, dtype):
    """On a CPU, torchvision refuses NMS of boxes and scores of different types; on a GPU it does not."""
    nms = torchvision.ops.boxes.nms
    monkeypatch.setattr(torchvision.ops.boxes, "nms", lambda boxes, scores, iou: nms(boxes, scores.to(boxes), iou))
    model = explainable(copy.deepcopy(stock_detector(name)).to(dtype))
    image = demo_image(1)["image"][:, :128, :160]
    if dtype is torch.bfloat16 and name.startswith("faster_rcnn"):
        with pytest.raises(RuntimeError, match="roi_align.* not implemented for 'BFloat16'$"):
            explain(model, image)
        return
    for method in ("Gradient", "GradCAM", "ODAM", "SSGradCAMPlusPlus"):
        model.saliency_head = head(method)
        check_finite(explain(model, image))
