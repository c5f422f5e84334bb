"""
Gradients that come from windows and shared backward passes, against plain autograd of the stock
models.
"""

import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torchvision

from d2_saliency import explainable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import naive  # noqa: E402

DETECTORS = ["faster_rcnn_planted", "retinanet_planted", "cascade_rcnn_planted", "fcos_planted"]


def relative_error(ours, expected):
    return float((ours - expected).abs().max() / expected.abs().max())


@pytest.fixture
def nms_in_double(monkeypatch):
    """
    Detectron2 calls torchvision's NMS with boxes in single precision, and scores as they are; it
    wants one type.
    """
    nms = torchvision.ops.boxes.nms
    monkeypatch.setattr(
        torchvision.ops.boxes, "nms", lambda boxes, scores, iou: nms(boxes.to(scores), scores, iou)
    )


@pytest.mark.parametrize("class_target", ["score", "logit", "contrast"])
@pytest.mark.parametrize("name", DETECTORS)
def test_equal_autograd_of_the_stock_model(
    stock_detector, demo_image, nms_in_double, name, class_target
):
    stock, image = stock_detector(name), demo_image(1)["image"]
    with torch.no_grad():
        found = explainable(stock).run([{"image": image}]).instances[0][:2]
    if (
        class_target == "score"
    ):  # in single precision, stock autograd has lost digits of 1 - p: 3e-4 for p = 0.9998
        stock, image = deepcopy(stock).double(), image.double()
    model = explainable(stock)
    forward_pass = model.run([{"image": image.requires_grad_()}], [found])
    seen = 0
    for _, i, gradient in model.input_gradients(forward_pass, class_target):
        expected = naive.gradients(
            stock, image.detach(), forward_pass.instances[0].scores[i], class_target
        )
        for ours, theirs in zip(gradient, expected):
            assert relative_error(ours, theirs) <= 1e-4
        seen += 1
    assert seen == 2


@pytest.mark.parametrize("name", DETECTORS)
def test_detections_at_the_border_have_the_gradient_of_the_unclipped_box(
    stock_detector, demo_image, name
):
    stock = stock_detector(name)
    model = explainable(stock)
    # Cut through the objects, until the box of one of them ends at, that is at or beyond, the
    # image's border.
    whole = demo_image(1)["image"]
    for start in range(30, 100, 10):
        image = whole[:, :, start:].contiguous().requires_grad_()
        forward_pass = model.run([{"image": image}])
        at_border = (forward_pass.instances[0].pred_boxes.tensor[:, 0] <= 0).nonzero()[:, 0]
        if len(at_border):
            break
    forward_pass.instances = [forward_pass.instances[0][at_border[:1]]]
    ((_, _, gradient),) = model.input_gradients(forward_pass, "score")
    expected = naive.gradients(stock, image.detach(), forward_pass.instances[0].scores[0])
    assert expected[1].abs().max() > 0
    for ours, theirs in zip(gradient, expected):
        assert relative_error(ours, theirs) <= 1e-4


@pytest.mark.parametrize("name", DETECTORS)
def test_images_of_a_batch_do_not_mix(stock_detector, demo_image, name):
    stock = stock_detector(name)
    # Of one size, a multiple of the stride: padding would change what the detector sees, with stock
    # Detectron2 too.
    images = [demo_image(i)["image"][:, :224, :224] for i in (1, 3)]
    found = explainable(stock).run([{"image": x} for x in images]).instances
    # In double precision: rounding, which depends on the batch, moves activations across the kink
    # of a ReLU.
    model = explainable(deepcopy(stock).double())
    images = [x.double().requires_grad_() for x in images]
    together = model.run([{"image": x} for x in images], [found[0][:2], found[1][:1]])
    batch = {(b, i): g for b, i, g in model.input_gradients(together, "score")}
    assert set(batch) == {(0, 0), (0, 1), (1, 0)}
    for b, image in enumerate(images):
        alone = model.run([{"image": image}], [together.instances[b]])
        for _, i, gradient in model.input_gradients(alone, "score"):
            assert relative_error(batch[b, i], gradient) <= 1e-4


@pytest.mark.parametrize("name", DETECTORS)
def test_fast_equals_the_plain_way_of_the_wrapper(stock_detector, demo_image, name):
    model = explainable(stock_detector(name))
    image = demo_image(3)["image"].requires_grad_()
    forward_pass = model.run([{"image": image}])
    forward_pass.instances = [forward_pass.instances[0][:3]]
    fast = {i: g for _, i, g in model.input_gradients(forward_pass, "logit")}
    model.feature_gradients = lambda *args: super(type(model).__mro__[1], model).feature_gradients(
        *args
    )
    plain = {i: g for _, i, g in model.input_gradients(forward_pass, "logit")}
    for i in plain:
        for k in range(5):
            assert relative_error(fast[i][k], plain[i][k]) <= 1e-5
