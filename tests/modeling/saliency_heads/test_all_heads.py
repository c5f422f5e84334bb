"""
What every registered method keeps: each is tested on each kind of architecture as soon as it is
registered.
"""

import pytest
import torch

from d2_saliency import SALIENCY_HEAD_REGISTRY, build_saliency_head, explainable, method_names
from d2_saliency.testing import ToyDetector
from tests.conftest import demo_cfg

DETECTORS = ["faster_rcnn_planted", "retinanet_planted", "toy"]


@pytest.fixture(params=method_names())
def method(request):
    return request.param


@pytest.fixture(params=DETECTORS)
def detector(request, stock_detector):
    return ToyDetector.random().eval() if request.param == "toy" else stock_detector(request.param)


@pytest.fixture
def model(detector, method):
    """
    The detector with that method; that an architecture cannot have one is tested in the method's
    own file.
    """
    if method == "CAM" or (method == "IntegratedGradients" and isinstance(detector, ToyDetector)):
        pytest.skip(f"{method} is not defined for this architecture")
    if method == "GuidedGradCAM" and isinstance(detector, ToyDetector):
        pytest.skip("the toy's Grad-CAM is of one cell a pixel and may be zero")
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.MODEL.SALIENCY_HEAD.NAME = method
    cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = 2
    cfg.MODEL.SALIENCY_HEAD.SCORE_THRESH = 0.4
    cfg.MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES = 2
    cfg.MODEL.SALIENCY_HEAD.DRISE.NUM_MASKS = 16
    if isinstance(detector, ToyDetector):
        cfg.MODEL.SALIENCY_HEAD.LAYER = "features"
    twin = explainable(detector)
    twin.saliency_head = build_saliency_head(cfg)
    return twin


@pytest.fixture
def inputs(detector, demo_image):
    return (
        [{"image": torch.rand(3, 24, 32) * 255}]
        if isinstance(detector, ToyDetector)
        else [demo_image(1)]
    )


def explain(model, inputs):
    with torch.no_grad():
        return [r["instances"] for r in model(inputs)]


def test_five_finite_maps_for_each_explained_detection(model, inputs):
    (found,) = explain(model, inputs)
    maps = found.pred_saliency
    assert maps.explained.sum() == 2 and len(maps) == len(found)
    resized = maps.resize(*inputs[0]["image"].shape[-2:])
    assert resized.dtype == torch.float32 and resized.isfinite().all() and resized.min() >= 0
    assert maps.peaks.amax() > 0
    assert (
        found.scores[maps.explained].min() >= found.scores[~maps.explained].max()
        if len(found) > 2
        else True
    )


def test_detections_are_those_of_the_stock_model(detector, model, inputs):
    with torch.no_grad():
        stock = detector(inputs)[0]["instances"]
    (ours,) = explain(model, inputs)
    assert torch.equal(stock.pred_boxes.tensor, ours.pred_boxes.tensor)
    assert torch.equal(stock.scores, ours.scores) and torch.equal(
        stock.pred_classes, ours.pred_classes
    )


def test_same_seed_same_maps(model, inputs):
    first, second = (explain(model, inputs)[0].pred_saliency for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.maps, second.maps))


def test_model_is_left_as_it_was(detector, model, inputs):
    for p in list(detector.parameters())[::2]:
        p.requires_grad_(False)
    before = [p.requires_grad for p in detector.parameters()]
    explain(model, inputs)
    assert [p.requires_grad for p in detector.parameters()] == before
    assert all(p.grad is None for p in detector.parameters())
    assert not any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules()
    )
    assert not hasattr(detector, "saliency_head") and not any(
        m.training for m in detector.modules()
    )
    for p in detector.parameters():
        p.requires_grad_(True)


def test_model_is_left_as_it_was_after_an_error(detector, model, inputs, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    before = [p.requires_grad for p in detector.parameters()]
    monkeypatch.setattr(type(model.saliency_head), "_checked", fail)
    with pytest.raises(KeyboardInterrupt):
        explain(model, inputs)
    assert [p.requires_grad for p in detector.parameters()] == before
    assert not any(m._forward_hooks for m in model.modules())


def test_no_detections(model, inputs):
    model.saliency_head.score_thresh = 1.1
    (found,) = explain(model, inputs)
    assert not found.pred_saliency.explained.any()
    assert found.pred_saliency.resize(10, 12).shape == (len(found), 5, 10, 12)


def test_refuses_inference_mode(model, inputs):
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match="inference_mode.*use torch.no_grad"),
    ):
        model(inputs)


def test_checkpoint_keys_and_training_mode_are_stock(detector, model):
    assert list(model.state_dict()) == list(detector.state_dict())
    assert dict(model.named_parameters()).keys() == dict(detector.named_parameters()).keys()


def test_unknown_method_is_named_with_the_known_ones():
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.MODEL.SALIENCY_HEAD.NAME = "GradCamel"
    with pytest.raises(ValueError, match="no saliency method 'GradCamel'.*Gradient.*ODSmoothGrad"):
        build_saliency_head(cfg)
    assert set(method_names()) == {name for name, _ in SALIENCY_HEAD_REGISTRY}
