"""Cause energy on maps small enough to add up by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask

from d2_saliency.data import edge_strips
from d2_saliency.evaluation import (
    cause_energy,
    class_cause_energy,
    edge_cause_energy,
    mean_with_interval,
)

BOX = (2, 2, 6, 6)  # 16 pixels of 8 x 10


def emblem():
    m = np.zeros((8, 10), dtype=bool)
    m[3:5, 3:5] = True  # 4 of the box's 16 pixels
    return m


class TestClass:
    def test_uniform_map_is_at_chance(self):
        result = class_cause_energy(np.ones((8, 10)), BOX, emblem())
        assert result["times_chance"] == pytest.approx(1.0)
        assert result["in_box"] == pytest.approx(16 / 80)
        assert result["pointing"] == pytest.approx(4 / 80)

    def test_by_hand(self):
        saliency = np.zeros((8, 10))
        saliency[3, 3] = 3  # on the emblem
        saliency[5, 5] = 1  # in the box
        saliency[0, 9] = 4 - 1e-9  # outside
        result = class_cause_energy(saliency, BOX, emblem())
        assert result["times_chance"] == pytest.approx((3 / 4) / (4 / 16))
        assert result["in_box"] == pytest.approx(4 / 8)
        assert result["pointing"] == 0.0

    def test_rows_are_y(self):
        saliency, tall = np.zeros((8, 10)), np.zeros((8, 10), dtype=bool)
        saliency[7, 1] = 1
        tall[7, 1] = True
        assert class_cause_energy(saliency, (0, 6, 2, 8), tall)["pointing"] == 1.0

    def test_an_empty_map_is_a_constant_one(self):
        assert class_cause_energy(np.zeros((8, 10)), BOX, emblem()) == class_cause_energy(
            np.ones((8, 10)), BOX, emblem()
        )

    def test_no_energy_in_the_box(self):
        saliency = np.zeros((8, 10))
        saliency[0, 0] = 1
        result = class_cause_energy(saliency, BOX, emblem())
        assert math.isnan(result["times_chance"]) and result["in_box"] == result["pointing"] == 0


def test_edges_by_hand():
    # Box 10..30 x 10..30 in 40 x 40: strips are 2 px to either side of an edge, along it.
    maps = np.zeros((4, 40, 40))
    maps[0, 20, 10] = 6  # x_min's own edge
    maps[0, 20, 29] = 2  # the opposite one
    maps[1, 10, 20] = 5  # y_min: own only
    maps[2, 20, 10] = 4  # x_max: opposite only
    maps[3, :, :] = 1
    result = edge_cause_energy(maps, (10, 10, 30, 30))
    assert result["x_min"] == pytest.approx(3.0)
    assert math.isnan(result["y_min"])
    assert result["x_max"] == 0.0
    assert result["y_max"] == pytest.approx(1.0)
    assert result["own_share"] == pytest.approx((6 / 8 + 1 + 0 + 1 / 2) / 4)


def test_a_perfect_coordinate_map_has_all_on_its_own_edge_and_an_empty_one_is_at_chance():
    assert (
        edge_cause_energy(edge_strips((10, 10, 30, 30), 40, 40), (10, 10, 30, 30))["own_share"] == 1
    )
    assert edge_cause_energy(np.zeros((4, 40, 40)), (10, 10, 30, 30))["own_share"] == pytest.approx(
        0.5
    )


def test_metric_of_detections_with_and_without_an_object():
    def energies(annotation):
        found = Instances((8, 10), pred_boxes=Boxes(torch.tensor([[2.0, 2, 6, 6]])))
        truth = annotation and SimpleNamespace(annotation=annotation)
        return cause_energy(
            SimpleNamespace(maps=np.ones((1, 5, 8, 10)), instances=found, truth=[truth])
        )[0]

    rle = coco_mask.encode(np.asfortranarray(emblem().astype(np.uint8)))
    plain, marked = energies({"emblem": rle}), energies({"emblem": rle, "shortcut": rle})
    assert plain["times_chance"] == pytest.approx(1) and math.isnan(plain["mark"])
    assert marked["mark"] == pytest.approx(4 / 80)
    nothing = energies(None)
    assert math.isnan(nothing["times_chance"]) and nothing["x_min"] == plain["x_min"]


class TestInterval:
    def test_covers_the_mean_of_a_sample(self):
        values = np.random.default_rng(0).normal(3.0, 1.0, 400)
        estimate = mean_with_interval(values)
        assert estimate.mean == pytest.approx(values.mean()) and estimate.count == 400
        # 1.96 standard errors to either side
        assert estimate.low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=0.02)
        assert estimate.high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=0.02)

    def test_values_of_one_image_are_no_independent_ones(self):
        # 100 images with four equal values each: what is known is known from 100.
        means = np.random.default_rng(0).normal(3.0, 1.0, 100)
        estimate = mean_with_interval(np.repeat(means, 4), np.repeat(np.arange(100), 4))
        assert estimate.mean == pytest.approx(means.mean()) and estimate.count == 400
        assert estimate.low == pytest.approx(means.mean() - 1.96 * means.std() / 10, abs=0.04)
        assert estimate.high == pytest.approx(means.mean() + 1.96 * means.std() / 10, abs=0.04)
        alone = mean_with_interval(np.repeat(means, 4))
        assert alone.high - alone.low == pytest.approx((estimate.high - estimate.low) / 2, rel=0.1)

    def test_images_count_by_their_detections(self):
        assert mean_with_interval(
            [1.0, 4.0, 4.0, math.nan], ["a", "b", "b", "c"]
        ).mean == pytest.approx(3)

    def test_one_image_has_no_interval(self):
        assert mean_with_interval([1.0, 3.0], ["a", "a"]) == (2, 2, 2, 2)

    def test_nan_does_not_count_and_nothing_is_nan(self):
        assert mean_with_interval([1.0, math.nan, 1.0]) == (1.0, 1.0, 1.0, 2)
        empty = mean_with_interval([])
        assert empty.count == 0 and math.isnan(empty.mean) and str(empty) == "-"
