"""Where CAM maps lie, and which layer, channels and cells they are made of."""

import logging

import pytest
import torch

from d2_saliency import build_saliency_head, explainable
from d2_saliency.testing import ToyDetector
from tests.conftest import demo_cfg


def head(**options):
    cfg = demo_cfg("faster_rcnn_planted")
    for key, value in {"NAME": "HiResCAM", "SCORE_THRESH": 0.0, **options}.items():
        cfg.MODEL.SALIENCY_HEAD[key] = value
    return build_saliency_head(cfg)


def explain(model, inputs):
    with torch.no_grad():
        return model([inputs])[0]["instances"]


@pytest.fixture
def toy():
    return ToyDetector.random()


def test_a_named_layer_in_closed_form(toy):
    image = torch.rand(3, 24, 32) * 255
    model = explainable(toy)
    model.saliency_head = head(LAYER="features", CLASS_TARGET="logit")
    found = explain(model, {"image": image})
    for i, c in enumerate(found.pred_classes.tolist()):
        expected = (toy.class_weights[c].detach() * image).sum(0).relu()
        torch.testing.assert_close(found.pred_saliency.maps[i][0], expected, rtol=1e-3, atol=1e-6)
        x0, y0, x1, y1 = found.pred_boxes.tensor[i]
        sides = torch.stack([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
        expected = ((toy.box_weights[c].detach() * image).sum(1) / sides[:, None, None]).abs()
        torch.testing.assert_close(found.pred_saliency.maps[i][1:], expected, rtol=1e-3, atol=1e-6)


def test_channels_neurons_and_region(toy):
    image = torch.rand(3, 24, 32) * 255
    model = explainable(toy)
    options = dict(LAYER="features", CLASS_TARGET="logit")

    def class_map(**more):
        model.saliency_head = head(**options, **more)
        return explain(model, {"image": image}).pred_saliency.maps[0][0]

    c = int(explain(toy_with(toy, head(**options)), {"image": image}).pred_classes[0])
    product = toy.class_weights[c].detach() * image
    torch.testing.assert_close(class_map(CHANNELS=[1]), product[1].relu(), rtol=1e-3, atol=1e-6)
    cells = torch.zeros(24, 32)
    cells[3, 4] = cells[5, 6] = 1
    expected = product.sum(0).relu() * cells
    torch.testing.assert_close(class_map(NEURONS=[[3, 4], [5, 6]]), expected, rtol=1e-3, atol=1e-6)
    cells[3:6, 4:7] = 1
    expected = product.sum(0).relu() * cells
    torch.testing.assert_close(
        class_map(NEURONS=[[3, 4], [5, 6]], REGION=True), expected, rtol=1e-3, atol=1e-6
    )


def toy_with(toy, saliency_head):
    model = explainable(toy)
    model.saliency_head = saliency_head
    return model


def test_region_needs_two_corners():
    with pytest.raises(ValueError, match="two corners"):
        head(NEURONS=[[1, 2]], REGION=True)


def test_unknown_layer_lists_the_choices(stock_detector, demo_image):
    model = explainable(stock_detector("faster_rcnn_planted"))
    model.saliency_head = head(LAYER="backbone.res9")
    with pytest.raises(ValueError, match="no LAYER 'backbone.res9'.*backbone.bottom_up.res4"):
        explain(model, demo_image(1))


@pytest.mark.parametrize("name", ["HiResCAM", "SmoothGradCAMPlusPlus"])
@pytest.mark.parametrize("layer", ["backbone", "proposal_generator.rpn_head", "roi_heads.box_head"])
def test_only_layers_with_a_feature_map_are_choices(stock_detector, demo_image, name, layer):
    model = explainable(stock_detector("faster_rcnn_planted"))
    model.saliency_head = head(NAME=name, LAYER=layer, MAX_INSTANCES=1)
    with pytest.raises(ValueError, match=f"LAYER '{layer}' has no feature map") as error:
        explain(model, demo_image(1))
    said = str(error.value)
    choices = said.partition("Choose from: ")[2].rstrip(".").split(", ")
    assert said.count("Choose from") == 1 and layer not in choices and len(choices) > 10
    assert not any(module._forward_hooks for module in model.modules())
    for choice in choices[:: len(choices) // 4]:  # each of them can be chosen
        model.saliency_head = head(LAYER=choice, MAX_INSTANCES=1)
        assert explain(model, demo_image(1)).pred_saliency.explained.sum() == 1


def test_zero_maps_of_another_level_say_why(stock_detector, demo_image, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("d2_saliency"), "propagate", True)
    model = explainable(stock_detector("faster_rcnn_planted"))
    zero = []
    for level in (2, 3, 4, 5):
        caplog.clear()
        model.saliency_head = head(MAX_INSTANCES=1, LAYER=f"backbone.fpn_output{level}")
        maps = explain(model, demo_image(1)).pred_saliency
        zero.append(not maps.maps[int(maps.explained.nonzero()[0, 0])].any())
        said = f"1 detections are zero at LAYER 'backbone.fpn_output{level}': they were not read"
        assert (said in caplog.text) == zero[-1]
    assert any(zero) and not all(zero)


def test_unknown_architecture_needs_a_layer(toy):
    expected = "not known for SaliencyToyDetector.*LAYER. Choose from: features"
    with pytest.raises(ValueError, match=expected):
        explain(toy_with(toy, head()), {"image": torch.rand(3, 24, 32) * 255})


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
def test_level_and_named_layer_agree_where_they_are_the_same(stock_detector, demo_image, name):
    """
    The output convolution of an FPN level is the level: its map through the backbone is that of
    "auto".
    """
    model = explainable(stock_detector(name))
    model.saliency_head = head(MAX_INSTANCES=1)
    auto = explain(model, demo_image(1))
    i = int(auto.pred_saliency.explained.nonzero()[0, 0])
    size = tuple(demo_image(1)["image"].shape[-2:])
    expected = auto.pred_saliency.resize(*size)[i]
    found = []
    for level in (2, 3, 4, 5):
        if f"backbone.fpn_output{level}" not in dict(model.named_modules()):
            continue
        model.saliency_head = head(MAX_INSTANCES=1, LAYER=f"backbone.fpn_output{level}")
        named = explain(model, demo_image(1)).pred_saliency.resize(*size)[i]
        found.append(float((named - expected).abs().max() / expected.max()))
    assert min(found) < 0.01, found


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
def test_padding_never_shifts_a_map(stock_detector, demo_image, name):
    """The maps of an image that Detectron2 pads on the right and below lie in the box."""
    model = explainable(stock_detector(name))
    model.saliency_head = head(MAX_INSTANCES=1, NAME="ODAM")
    image = demo_image(1)["image"]
    height, width = image.shape[-2:]
    found = explain(model, {"image": image})
    i = int(found.pred_saliency.explained.nonzero()[0, 0])
    m = found.pred_saliency.resize(height, width)[i, 0]
    rows, columns = m.sum(1), m.sum(0)
    centre_y = (rows * torch.arange(height)).sum() / rows.sum()
    centre_x = (columns * torch.arange(width)).sum() / columns.sum()
    x0, y0, x1, y1 = found.pred_boxes.tensor[i].tolist()
    assert x0 < centre_x < x1 and y0 < centre_y < y1
