import pytest
import torch

from d2_saliency import explainable
from d2_saliency.modeling import build_saliency_head
from d2_saliency.modeling.saliency_heads.gradient import gradient_map
from d2_saliency.testing import ToyDetector


def explain(model, image, **options):
    for name, value in options.items():
        setattr(model.saliency_head, name, value)
    with torch.no_grad():
        return model([{"image": image}])[0]["instances"]


@pytest.fixture
def toy():
    return ToyDetector.random()


@pytest.fixture
def gradient_head(toy):
    model = explainable(toy)
    model.saliency_head = build_saliency_head(_cfg("Gradient"))
    return model


def _cfg(name):
    from detectron2.config import get_cfg

    from d2_saliency import add_saliency_config

    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.MODEL.SALIENCY_HEAD.NAME = name
    return cfg


def test_largest_magnitude_over_channels():
    gradient = torch.tensor([[[[1.0, -5.0]], [[-3.0, 2.0]]]])  # (1, C=2, H=1, W=2)
    assert gradient_map(gradient).tolist() == [[[3.0, 5.0]]]


@pytest.mark.parametrize("class_target", ["score", "logit"])
def test_closed_form(toy, gradient_head, class_target):
    image = torch.rand(3, 24, 32) * 255
    found = explain(gradient_head, image, class_target=class_target, score_thresh=0.0)
    assert len(found) == 3
    maps = found.pred_saliency.resize(24, 32)
    for i, c in enumerate(found.pred_classes.tolist()):
        p = torch.sigmoid((toy.class_weights[c] * image).sum()).detach()
        slope = p * (1 - p) if class_target == "score" else 1.0
        expected = (slope * toy.class_weights[c]).abs().amax(0)
        torch.testing.assert_close(maps[i, 0], expected.detach(), rtol=1e-4, atol=0)
        torch.testing.assert_close(
            maps[i, 1:], toy.box_weights[c].abs().amax(1).detach(), rtol=1e-4, atol=0
        )


def test_boxes_are_in_pixels_of_the_network_input(toy, gradient_head):
    class HalfSize(ToyDetector):
        """Returns boxes for an output of half the input's size."""

        def _detect(self, image):
            found = super()._detect(image)
            found.pred_boxes.scale(0.5, 0.5)
            found._image_size = (12, 16)
            return found

    model = explainable(HalfSize(toy.anchors, toy.class_weights.data, toy.box_weights.data).eval())
    model.saliency_head = gradient_head.saliency_head
    image = torch.rand(3, 24, 32) * 255
    found = explain(model, image, score_thresh=0.0)
    c = int(found.pred_classes[0])
    expected = toy.box_weights[c].abs().amax(1).detach()
    torch.testing.assert_close(found.pred_saliency.maps[0][1:], expected, rtol=1e-4, atol=0)


def test_a_model_without_gradients_is_refused_with_a_way_out(gradient_head, toy):
    class Detached(ToyDetector):
        @torch.no_grad()
        def forward(self, batched_inputs):
            return super().forward(batched_inputs)

    model = explainable(Detached(toy.anchors, toy.class_weights.data, toy.box_weights.data).eval())
    with pytest.raises(RuntimeError, match="carry no gradient.*DRISE"):
        explain(model, torch.rand(3, 24, 32) * 255, score_thresh=0.0)
