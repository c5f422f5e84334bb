"""
Every CAM method of the registry on zero, constant and NaN-prone input: finite maps, and zero maps
are flagged.
"""

import copy

import pytest
import torch

from d2_saliency import OUTPUTS, SALIENCY_HEAD_REGISTRY, build_saliency_head, explainable
from d2_saliency.modeling.saliency_heads.cam_head import CAMHead
from d2_saliency.modeling.saliency_heads.evidence import Evidence
from d2_saliency.results.writer import detection_flags
from d2_saliency.testing import ToyDetector
from tests.conftest import demo_cfg

SIZE = (24, 32)
METHODS = [name for name, method in SALIENCY_HEAD_REGISTRY if issubclass(method, CAMHead)]
ZERO_MAPS = [f"zero map: {name}" for name in OUTPUTS]


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture(autouse=True)
def _nothing_to_repair(caplog):
    """
    The base class sets values that are not finite to 0, with a warning; no method may need that.
    """
    yield
    assert not [r for r in caplog.records if "not finite" in r.getMessage()]


def explain(detector, method, image, **options):
    cfg = demo_cfg("faster_rcnn_planted")
    values = dict(
        NAME=method,
        SCORE_THRESH=-1.0,
        MAX_INSTANCES=1,
        CLASS_TARGET="logit",
        SMOOTH_SIGMA=0.0,
        **options,
    )
    for key, value in values.items():
        cfg.MODEL.SALIENCY_HEAD[key] = value
    cfg.MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES = 2
    model = explainable(detector)
    model.saliency_head = build_saliency_head(cfg)
    with torch.no_grad():
        found = model([{"image": image}])[0]["instances"]
    return found[found.pred_saliency.explained]


def toy(class_weight=None, box_weight=None):
    """A toy detector; where a weight is given, its output has that gradient to every pixel."""
    detector = ToyDetector.random(height=SIZE[0], width=SIZE[1])
    detector.score_thresh = -1.0
    if class_weight is not None:
        torch.nn.init.constant_(detector.class_weights, class_weight)
    if box_weight is not None:
        torch.nn.init.constant_(detector.box_weights, box_weight)
    return detector


def class_map(found):
    return found.pred_saliency.maps[0][0]


def test_there_are_methods():
    assert {
        "GradCAM",
        "GradCAMPlusPlus",
        "SmoothGradCAMPlusPlus",
        "SSGradCAM",
        "SSGradCAMPlusPlus",
        "ODAM",
    } < set(METHODS)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e20])
@pytest.mark.parametrize("total", [-2.0, -4.0, 0.0])
def test_no_gradient_and_no_denominator_makes_the_equation_infinite(method, scale, total):
    """
    For the ++ methods 2 + S g is 0, negative or 2 where g = 1. A has both signs, so that nothing
    hides in a ReLU.
    """
    head = SALIENCY_HEAD_REGISTRY.get(method)()
    activations = torch.randn(3, 6, 7)
    g = torch.cat([scale * torch.ones(2, 3, 4, 3), scale * torch.randn(3, 3, 4, 3)])
    powers = torch.cat([g**k for k in range(1, head.moments + 1)])
    region = torch.zeros(6, 7)
    region[2:5, 1:4] = 1
    activations[:, 2:5, 1:4] += (
        total - activations[:, 2:5, 1:4].sum((1, 2), keepdim=True)
    ) / region.sum()
    maps = head._signed_map(Evidence(activations, torch.full((3,), total), powers, 1, 2, region))
    assert maps.isfinite().all()
    if scale == 0:
        assert maps.max() == 0


def test_zero_gradients_are_flagged(method):
    found = explain(
        toy(class_weight=0.0, box_weight=0.0), method, torch.rand(3, *SIZE) * 255, LAYER="features"
    )
    assert found.pred_saliency.peaks.abs().max() == 0
    assert detection_flags(found) == [ZERO_MAPS]


def test_zero_activations_are_flagged(method):
    found = explain(toy(), method, torch.zeros(3, *SIZE), LAYER="features")
    assert found.pred_saliency.peaks.abs().max() == 0
    assert detection_flags(found) == [ZERO_MAPS]


def test_constant_input_gives_a_constant_map(method):
    """
    Nothing is subtracted and nothing stretched: A = 10 and g = 1e-4 say the same of every cell.
    """
    found = explain(toy(class_weight=1e-4), method, torch.full((3, *SIZE), 10.0), LAYER="features")
    m = class_map(found)
    assert m.min() > 0
    torch.testing.assert_close(m, m.max().expand_as(m), rtol=1e-4, atol=0)
    assert detection_flags(found) == [[]]


@pytest.mark.parametrize("total", [-2.0, -4.0])
def test_evidence_against_is_a_zero_map_where_denominators_vanish_or_are_negative(method, total):
    """
    A < 0 and g = 1e-2 everywhere: the class would be more likely without A. With S = sum A, S g is
    -2 or -4.
    """
    image = torch.full((3, *SIZE), total / 1e-2 / (SIZE[0] * SIZE[1]))
    found = explain(toy(class_weight=1e-2), method, image, LAYER="features")
    assert class_map(found).max() == 0
    assert detection_flags(found)[0][0] == "zero map: class"


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
def test_a_detector_whose_class_depends_on_nothing_is_flagged(stock_detector, method, name):
    detector = copy.deepcopy(stock_detector(name))
    layer = (
        detector.roi_heads.box_predictor.cls_score
        if hasattr(detector, "roi_heads")
        else detector.head.cls_score
    )
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    found = explain(detector, method, torch.rand(3, 64, 96) * 255)
    assert found.pred_saliency.peaks[0, 0] == 0
    assert detection_flags(found)[0][0] == "zero map: class"
