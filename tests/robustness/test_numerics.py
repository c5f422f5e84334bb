"""
Half precision, saturated scores, features that are all the same, gradients that overflow: finite
maps, or a word.
"""

import copy

import pytest
import torch
import torchvision
from detectron2.structures import Boxes, Instances

from d2_saliency import build_saliency_head, explainable, method_names
from d2_saliency.results.flags import detection_flags
from d2_saliency.testing import ToyDetector
from tests.conftest import demo_cfg
from tests.modeling.meta_arch.test_feature_gradients import random_model
from tests.modeling.places import know_places

METHODS = [name for name in method_names() if name != "CAM"]  # which is for C4 models, see below
DETECTORS = ("faster_rcnn_planted", "retinanet_planted")


def head(method, **keys):
    cfg = demo_cfg("faster_rcnn_planted")
    options = [
        ("NAME", method),
        ("SMOOTHGRAD.NUM_SAMPLES", 2),
        ("MAX_INSTANCES", 2),
        ("SCORE_THRESH", 0.3),
    ]
    options += [("INTEGRATED_GRADIENTS.NUM_STEPS", 2), *keys.items()]
    cfg.merge_from_list(
        [text for key, value in options for text in (f"MODEL.SALIENCY_HEAD.{key}", value)]
    )
    return build_saliency_head(cfg)


@pytest.fixture(autouse=True)
def _toys_know_where_detections_come_from(monkeypatch):
    """
    IntegratedGradients asks for that; the models of these tests detect the same objects in any
    image.
    """
    know_places(monkeypatch)


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
    """
    The maps are those of the model in single precision, but for the rounding of its weights and
    outputs.
    """
    image = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0)) * 255
    maps = []
    for kind in (torch.float32, dtype):
        toy = ToyDetector.random()
        toy.class_weights.data, toy.box_weights.data = (
            toy.class_weights.data * 10,
            toy.box_weights.data * 10,
        )
        model = explainable(
            HalfToy(toy.anchors, toy.class_weights.data, toy.box_weights.data).to(kind).eval()
        )
        model.saliency_head = head(method, LAYER="features", SCORE_THRESH=0.0)
        found = explain(model, image)
        check_finite(found)
        order = found.pred_classes[found.pred_saliency.explained].argsort()
        maps.append(found.pred_saliency[found.pred_saliency.explained][order].resize(24, 32))
    assert maps[0].amax() > 0
    tolerance = (
        0.1 if method == "DRISE" else 0.02
    )  # D-RISE tells masks apart by rounded scores and boxes
    for single, half in zip(maps[0].flatten(0, 1), maps[1].flatten(0, 1)):
        assert (half - single).abs().amax() <= tolerance * single.amax()


class HalfToy(ToyDetector):
    """Computes in the type of its weights."""

    def forward(self, batched_inputs):
        images = [
            self.features(x["image"].to(self.class_weights.dtype)[None])[0] for x in batched_inputs
        ]
        return [{"instances": self._detect(image)} for image in images]


class Constant(torch.nn.Module):
    """
    One object whose class logit is ``scale`` times the mean of the features; its edges move with
    it, but little.
    """

    def __init__(self, scale, features=None):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(float(scale)))
        self.features = features or torch.nn.Identity()

    def forward(self, batched_inputs):
        results = []
        for x in batched_inputs:
            value = self.features(x["image"].float()[None]).mean() * self.scale
            boxes = Boxes(
                torch.tensor([[2.0, 3.0, 9.0, 8.0]]) + 1e-3 * value / max(1.0, float(self.scale))
            )
            fields = dict(
                pred_boxes=boxes, scores=value.sigmoid()[None], pred_classes=torch.tensor([0])
            )
            results.append({"instances": Instances(tuple(x["image"].shape[-2:]), **fields)})
        return results


class Same(torch.nn.Module):
    """Activations that are all equal, whatever the image."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return x * 0 + self.value


@pytest.mark.parametrize(
    "scale, target", [(1e4, "score"), (1e4, "logit"), (1e-30, "score"), (0.0, "logit")]
)
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


class Steep(torch.nn.Module):
    """
    Passes its input on; its gradient is 90,000 in one corner of the image, which half precision
    does not have.
    """

    def forward(self, x):
        steep = torch.zeros_like(x)
        steep[..., :2, :2] = 300
        return x + (x - x.detach()) * steep * steep


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
@pytest.mark.parametrize(
    "method, layer", [("Gradient", None), ("ODSmoothGrad", None), ("LayerCAM", "features.0")]
)
def test_gradients_that_overflow_are_told(method, layer, dtype, caplog):
    """
    The corner becomes 0, the rest of the map stays, and a warning and the flags of the report say
    so.
    """
    features = torch.nn.Sequential(torch.nn.Identity(), Steep()).to(dtype)
    model = explainable(HalfConstant(1.0, features).to(dtype).eval())
    model.saliency_head = head(
        method, CLASS_TARGET="logit", SCORE_THRESH=0.0, **({"LAYER": layer} if layer else {})
    )
    found = explain(
        model, torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1
    )
    check_finite(found, num=1)
    maps = found.pred_saliency.resize(12, 16)[0]
    assert maps[0, 4:, 4:].min() > 0
    overflow = [flag for flag in detection_flags(found)[0] if flag.startswith("gradient overflow")]
    if dtype is torch.float16:
        assert (
            not maps[0, :2, :2].any() and "are not finite; such pixels are set to 0" in caplog.text
        )
        assert (
            found.num_overflowed[0, 0] == 4
            and overflow[0] == "gradient overflow: 4 cells of class set to 0"
        )
    else:
        assert (
            maps[0, :2, :2].min() > 1e3 * maps[0, 4:, 4:].max()
            and not found.has("num_overflowed")
            and not overflow
        )


class HalfConstant(Constant):
    """
    The same, in the type of its weights; a logit of 0 whose gradient to each feature is ``scale``.
    """

    def forward(self, batched_inputs):
        results = []
        for x in batched_inputs:
            features = self.features(x["image"].to(self.scale.dtype)[None])
            value = ((features - features.detach()) * self.scale).sum().float()
            boxes = Boxes(torch.tensor([[2.0, 3.0, 9.0, 8.0]]) + 1e-3 * value)
            fields = dict(
                pred_boxes=boxes, scores=value.sigmoid()[None], pred_classes=torch.tensor([0])
            )
            results.append({"instances": Instances(tuple(x["image"].shape[-2:]), **fields)})
        return results


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4])
@pytest.mark.parametrize("features", ["any", "all equal"])
def test_cam(scale, features):
    """Scores of exactly 1.0, logits that say nothing, and activations that are all the same."""
    stock = copy.deepcopy(random_model("C4"))
    stock.roi_heads.box_predictor.cls_score.weight.data *= scale
    if features == "all equal":
        stock.roi_heads.res5 = torch.nn.Sequential(stock.roi_heads.res5, Same(2.0))
    model = explainable(stock)
    model.saliency_head = head("CAM", SCORE_THRESH=0.0)
    found = explain(model, torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255)
    assert scale < 1e4 or features == "all equal" or float(found.scores.max()) == 1.0
    check_finite(found, num=2)


def test_cam_in_half_precision(nms_of_two_types):
    """Beside its definition: the weights of the class times what res5 said of the RoI."""
    stock, outputs = random_model("C4").to(torch.float16), []
    # Trained models do not have activations of 40,000 beside weights of 1e-5, which half precision
    # hardly has.
    stock.roi_heads.res5.register_forward_hook(lambda module, inputs, output: output * 1e-4)
    stock.roi_heads.res5.register_forward_hook(
        lambda module, inputs, output: outputs.append(output.detach().float())
    )
    stock.roi_heads.box_predictor.cls_score.weight.data.mul_(1e4)
    model = explainable(stock)
    model.saliency_head = head("CAM", SCORE_THRESH=0.0, CLASS_TARGET="logit")
    found = explain(model, torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255)
    check_finite(found, num=2)
    explained = found[found.pred_saliency.explained]
    weights = (
        model.roi_heads.box_predictor.cls_score.weight[explained.pred_classes].detach().float()
    )
    for m, w, a in zip(explained.pred_saliency.maps, weights, outputs[-1]):
        expected = torch.einsum("c,chw->hw", w, a).relu()
        assert expected.amax() > 0 and (m[0] - expected).abs().amax() <= 0.02 * expected.amax()


@pytest.fixture
def nms_of_two_types(monkeypatch):
    """
    On a CPU, torchvision refuses NMS of boxes and scores of different types; on a GPU it does not.
    """
    nms = torchvision.ops.boxes.nms
    monkeypatch.setattr(
        torchvision.ops.boxes, "nms", lambda boxes, scores, iou: nms(boxes, scores.to(boxes), iou)
    )


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_detectors_in_half_precision(stock_detector, demo_image, nms_of_two_types, name, dtype):
    model = explainable(copy.deepcopy(stock_detector(name)).to(dtype))
    image = demo_image(1)["image"][:, :128, :160]
    if dtype is torch.bfloat16 and name.startswith("faster_rcnn"):
        with pytest.raises(RuntimeError, match="roi_align.* not implemented for 'BFloat16'$"):
            explain(model, image)
        return
    for method in ("Gradient", "GradCAM", "ODAM", "SSGradCAMPlusPlus"):
        model.saliency_head = head(method)
        check_finite(explain(model, image))
