"""
The example of docs/third_party.md runs, is short, and explains; so does a real detector in its
wrapper.
"""

import re

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from d2_saliency import add_saliency_config, explainable
from d2_saliency.engine.config_files import load_lazy
from d2_saliency.engine.explainer import DefaultExplainer
from d2_saliency.modeling.saliency_heads import DRISE, ODAM, Gradient, IntegratedGradients
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def blocks():
    return re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "third_party.md").read_text(), flags=re.DOTALL
    )


@pytest.fixture(scope="module")
def example(blocks):
    """What the example's code defines, as one file."""
    names = {}
    exec("\n".join(blocks[:2]), names)
    return names


def test_thirty_lines_are_enough(blocks):
    assert len(blocks) == 3 and sum(1 for line in blocks[1].splitlines() if line.strip()) <= 30


# Nothing outside of the red has a gradient; D-RISE's maps have the chance that a pixel is visible
# everywhere.
@pytest.mark.parametrize(
    "head, share", [(Gradient(), 1.0), (DRISE(num_masks=200, grid_size=4, p=0.3), 0.22)]
)
def test_its_maps_lie_on_what_it_found(example, head, share):
    model, image = example["model"], example["image"]
    model.saliency_head = head
    with torch.no_grad():
        (found,) = (r["instances"] for r in model([{"image": image}]))
    inside = image[2] > 0
    box = found.pred_boxes.tensor[0]
    # Uniform over 20..50 and 10..30: the deviations are 30 and 20 over the square root of 12.
    expected = torch.tensor(
        [35 - 2 * 30 / 12**0.5, 20 - 2 * 20 / 12**0.5, 35 + 2 * 30 / 12**0.5, 20 + 2 * 20 / 12**0.5]
    )
    assert (box - expected).abs().max() < 0.05
    maps = found.pred_saliency.resize(48, 64)[0]
    assert inside.float().mean() < 0.2 and (maps[0] * inside).sum() >= share * maps[0].sum()


def test_its_gradients_are_those_of_the_detector(example):
    model, image = example["model"], example["image"]
    model.saliency_head = Gradient()
    with torch.no_grad():
        maps = model([{"image": image}])[0]["instances"].pred_saliency.resize(48, 64)[0]
    pixels = image.clone().requires_grad_()
    output = example["detector"]([pixels.flip(0) / 255])[0]
    for k, value in enumerate([output["scores"][0], *output["boxes"][0]]):
        (gradient,) = torch.autograd.grad(value, pixels, retain_graph=True)
        expected = gradient.abs().amax(0)
        assert (maps[k] - expected).abs().max() <= 1e-5 * expected.max()


def test_its_lazy_config_is_explained_in_pixels_of_the_image(blocks, tmp_path):
    path = tmp_path / "my_detector.py"
    path.write_text("\n".join([blocks[0], blocks[1].split("model = explainable")[0], blocks[2]]))
    saliency_cfg = get_cfg()
    add_saliency_config(saliency_cfg)
    saliency_cfg.MODEL.DEVICE, saliency_cfg.MODEL.SALIENCY_HEAD.NAME = "cpu", "Gradient"
    explainer = DefaultExplainer(load_lazy(str(path), [], trusted=True), saliency_cfg, str(path))
    photo = np.zeros((96, 128, 3), np.uint8)
    photo[20:60, 40:100, 2] = 200
    found = explainer(photo)["instances"]
    assert found.image_size == (96, 128) and found.pred_saliency.image_size == (320, 427)
    # Uniform over 40..100 and 20..60, as above.
    expected = [
        70 - 2 * 60 / 12**0.5,
        40 - 2 * 40 / 12**0.5,
        70 + 2 * 60 / 12**0.5,
        40 + 2 * 40 / 12**0.5,
    ]
    assert (found.pred_boxes.tensor[0] - torch.tensor(expected)).abs().max() < 0.5


@pytest.fixture(scope="module")
def torchvision_model(example):
    torch.manual_seed(0)
    weights = {"weights": None, "weights_backbone": None}
    detector = ssdlite320_mobilenet_v3_large(
        **weights, num_classes=3, score_thresh=0.0, detections_per_img=3
    ).eval()
    return example["InDetectron2sFormat"](detector).eval()


@pytest.mark.parametrize(
    "head",
    [Gradient(), ODAM(layer="detector.backbone.features.0"), DRISE(num_masks=8, grid_size=4)],
    ids=["gradient", "CAM", "DRISE"],
)
def test_a_detector_of_torchvision(torchvision_model, head):
    head.score_thresh, head.max_instances = 0.0, 1
    model = explainable(torchvision_model)
    model.saliency_head = head
    x = {"image": torch.rand(3, 64, 80) * 255}
    with torch.no_grad():
        expected, found = torchvision_model([x])[0]["instances"], model([x])[0]["instances"]
    assert len(expected) == 3 and torch.equal(expected.pred_boxes.tensor, found.pred_boxes.tensor)
    assert torch.equal(expected.scores, found.scores)
    maps = found.pred_saliency.maps[0]
    assert maps.isfinite().all() and maps.max() > 0


@pytest.mark.parametrize(
    "head, reason",
    [
        (ODAM(), "name a layer"),
        (IntegratedGradients(), "use .*DRISE"),
        (Gradient(class_target="contrast"), "use 'score'"),
    ],
)
def test_what_cannot_explain_it_says_what_can(example, head, reason):
    model = explainable(example["InDetectron2sFormat"](example["detector"]).eval())
    model.saliency_head = head
    with torch.no_grad(), pytest.raises(ValueError, match=reason):
        model([{"image": example["image"]}])
