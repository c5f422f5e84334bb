"""
D-RISE against literal loops; what it depends on and what not; models that say nothing, and models
elsewhere.
"""

import logging
import math

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency import BlackBox, build_saliency_head, explainable
from d2_saliency.modeling.saliency_heads import DRISE
from d2_saliency.modeling.saliency_heads.d_rise.occlusions import grid_occlusions, random_grids
from d2_saliency.testing import ToyDetector
from tests.conftest import demo_cfg


def explained(head, image, detector=None):
    model = explainable(detector or ToyDetector.random())
    head.score_thresh = 0.0
    model.saliency_head = head
    with torch.no_grad():
        return model([{"image": image}])[0]["instances"]


def toy_image(seed=0):
    return torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(seed)) * 255


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


@pytest.mark.parametrize("context", ["black", "mean"])
def test_faithful_maps_equal_a_literal_loop(context):
    """
    The toy detector gives a score and a box for each class: the class vector of class k has the
    score at k alone.
    """
    toy, image = ToyDetector.random(), toy_image()
    found = explained(
        DRISE(num_masks=12, estimator="mean", grid_size=4, context=context, seed=7), image, toy
    )
    boxes, classes = found.pred_boxes.tensor.tolist(), found.pred_classes.tolist()
    fill = torch.zeros(3, 1, 1) if context == "black" else image.mean((1, 2)).view(3, 1, 1)
    above, below = torch.zeros(len(found), 5, 24, 32), torch.zeros(24, 32)
    for mask in grid_occlusions(*random_grids(12, 4, 0.5, 7), (24, 32)):
        with torch.no_grad():
            seen = toy([{"image": image * mask + fill * (1 - mask)}])[0]["instances"]
        below += mask
        for t, (box, label) in enumerate(zip(boxes, classes)):
            best = [0.0] * 5
            for other, k, score in zip(
                seen.pred_boxes.tensor.tolist(), seen.pred_classes.tolist(), seen.scores
            ):
                s = (
                    iou(box, other) * (k == label) * float(score)
                )  # cosine 1 or 0; objectness = score
                best[0] = max(best[0], s)
                for c in range(4):
                    side = box[2 + c % 2] - box[c % 2]
                    best[1 + c] = max(
                        best[1 + c], s * math.exp(-abs(box[c] - other[c]) / (0.1 * side))
                    )
            above[t] += torch.tensor(best)[:, None, None] * mask
    got = torch.stack(found.pred_saliency.maps)
    torch.testing.assert_close(got, above / below.clamp(min=1e-9), rtol=1e-4, atol=1e-6)
    assert found.num_masks.tolist() == [12] * len(found)


def test_maps_do_not_depend_on_the_batch_size_and_one_pass_serves_all():
    image, toy = toy_image(), ToyDetector.random()
    calls = []
    detect = toy._detect
    toy._detect = lambda image: calls.append(1) or detect(image)
    maps = [
        torch.stack(
            explained(DRISE(num_masks=10, grid_size=4, batch_size=b), image, toy).pred_saliency.maps
        )
        for b in (1, 3, 64)
    ]
    for other in maps[1:]:
        torch.testing.assert_close(other, maps[0], rtol=1e-3, atol=1e-5)
    assert len(maps[0]) == 3 and sum(calls) == 3 * (
        1 + 10
    )  # the detections, then 10 masks for all three of them


def test_the_seed_and_the_estimator_decide():
    image = toy_image()
    first, second, third = (
        explained(h, image).pred_saliency.maps[0]
        for h in (
            DRISE(num_masks=20, seed=1),
            DRISE(num_masks=20, seed=2),
            DRISE(num_masks=20, seed=1, estimator="mean"),
        )
    )
    assert (
        not torch.equal(first, second)
        and first.shape == third.shape
        and not torch.equal(first, third)
    )


def test_early_stop_when_the_maps_of_two_halves_agree():
    image = toy_image()
    sure = explained(DRISE(num_masks=1000, grid_size=2, tolerance=0.5), image)
    unsure = explained(DRISE(num_masks=300, grid_size=2, tolerance=1e-6), image)
    assert sure.num_masks.unique().tolist()[0] in range(
        100, 1000, 100
    ) and unsure.num_masks.unique().tolist() == [300]
    all_masks = explained(DRISE(num_masks=int(sure.num_masks[0]), grid_size=2), image)
    torch.testing.assert_close(sure.pred_saliency.maps[0], all_masks.pred_saliency.maps[0])


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
def test_bfloat16_changes_little(name, stock_detector, demo_image):
    image = demo_image(1)["image"]
    options = dict(num_masks=12, grid_size=4, estimator="mean", max_instances=1)
    exact, rough = (
        explained(DRISE(**options, autocast=a), image, stock_detector(name)) for a in (False, True)
    )
    a, b = (
        found.pred_saliency.maps[int(found.pred_saliency.explained.nonzero()[0])]
        for found in (exact, rough)
    )
    difference = (a - b).abs().amax((1, 2)) / (a.amax((1, 2)) - a.amin((1, 2)))
    assert 0 < difference.max() < 0.3


class Blind(ToyDetector):
    """Detects in the image as it is and nothing under any mask."""

    def _detect(self, image):
        found = super()._detect(image)
        return found if image.min() > 0 else found[:0]


@pytest.mark.parametrize("estimator", ["mean", "multiscale"])
def test_a_model_that_returns_nothing_under_every_mask(estimator, caplog):
    toy = ToyDetector.random()
    toy.__class__ = Blind
    with caplog.at_level(logging.WARNING):
        found = explained(
            DRISE(num_masks=6, grid_size=4, estimator=estimator), toy_image() + 1, toy
        )
    assert len(found) == 3 and found.pred_saliency.peaks.abs().max() == 0
    assert "under no mask did the model say anything of object 0" in caplog.text


class TestBlackBox:
    """
    A detector written in numpy that finds the one bright square: class 1, score = its mean
    brightness / 255.
    """

    @staticmethod
    def detect(images):
        results = []
        for image in images:
            assert (
                isinstance(image, np.ndarray)
                and image.dtype == np.uint8
                and image.shape == (40, 40, 3)
            )
            score = image[8:24, 16:32].mean() / 255
            kept = [[16.0, 8, 32, 24]] if score > 0.05 else np.zeros((0, 4))
            n = len(kept)
            results.append(
                Instances(
                    (40, 40),
                    pred_boxes=Boxes(torch.as_tensor(kept, dtype=torch.float32)),
                    scores=torch.full((n,), score),
                    pred_classes=torch.full((n,), 1),
                )
            )
        return results

    def test_a_plain_numpy_function_is_explained(self):
        image = torch.full((3, 40, 40), 30.0)
        image[:, 8:24, 16:32] = 250
        model = explainable(BlackBox(self.detect))
        model.saliency_head = DRISE(num_masks=200, grid_size=8)
        with torch.no_grad():
            (found,) = [r["instances"] for r in model([{"image": image}])]
        m = found.pred_saliency.resize(40, 40)[0, 0]
        assert found.scores[0].item() == pytest.approx(250 / 255, abs=1e-3)
        assert m[8:24, 16:32].sum() > 0.5 * m.sum()  # on 16 % of the image

    def test_wrong_answers_are_refused(self):
        model = explainable(BlackBox(lambda images: []))
        with torch.no_grad(), pytest.raises(ValueError, match="0 results for 1 images"):
            model([{"image": torch.zeros(3, 40, 40)}])


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("ESTIMATOR", "median", "DRISE.ESTIMATOR is 'median'; choose one of"),
        ("CONTEXT", "white", "DRISE.CONTEXT is 'white'; choose one of"),
        ("NUM_MASKS", 1, "DRISE.NUM_MASKS is 1; choose a whole number from 2"),
        ("P", 1.0, "DRISE.P is 1.0; choose a number from 0.001 to 0.999"),
    ],
)
def test_values_without_a_meaning_are_refused(key, value, message):
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.MODEL.SALIENCY_HEAD.NAME = "DRISE"
    cfg.MODEL.SALIENCY_HEAD.DRISE[key] = value
    with pytest.raises(ValueError, match=message):
        build_saliency_head(cfg)
