"""Deletion and insertion: curves worked out by hand, areas against scikit-learn."""

import numpy as np
import pytest
import torch

from d2_saliency.evaluation import deletion_insertion
from d2_saliency.evaluation.deletion_insertion import (
    area_under_curve,
    pixel_ranks,
    step_counts,
    transition,
)
from tests.evaluation.lamp import HEIGHT, LAMP, WIDTH, explained_lamp, lamp_detector


def perfect_map():
    m = torch.zeros(HEIGHT, WIDTH)
    m[LAMP] = 1
    return m


class TestRanks:
    def test_descending_and_row_is_y(self):
        m = torch.zeros(5, 9)
        m[3, 7], m[1, 2] = 2.0, 1.0
        ranks = pixel_ranks(m)
        assert ranks[3, 7] == 0 and ranks[1, 2] == 1
        assert sorted(ranks.flatten().tolist()) == list(range(45))

    def test_ties_are_in_a_seeded_random_order(self):
        m = torch.zeros(20, 20)
        m[5] = 1.0
        first, again, other = pixel_ranks(m, seed=1), pixel_ranks(m, seed=1), pixel_ranks(m, seed=2)
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert sorted(first[5].tolist()) == list(range(20)) and first[5].tolist() != list(range(20))
        # No part of the image comes first: the ties' mean rank in the upper and the lower half is
        # alike.
        constant = pixel_ranks(torch.ones(40, 40)).float()
        assert abs(constant[:20].mean() - constant[20:].mean()) < 60  # of 1600; sd 23

    def test_equal_to_a_literal_sort(self):
        m = torch.rand(6, 7, generator=torch.Generator().manual_seed(0))
        order = sorted(range(42), key=lambda i: -m.flatten()[i])
        assert [pixel_ranks(m).flatten()[i].item() for i in order] == list(range(42))


def test_steps_have_equal_areas():
    assert step_counts(32, 8) == [0, 4, 8, 12, 16, 20, 24, 28, 32]
    assert step_counts(10, 4) == [0, 2, 5, 8, 10]  # 2.5 and 7.5 are rounded to even


def test_transition_shows_the_end_at_the_first_pixels():
    start, end = torch.zeros(3, 2, 2), torch.ones(3, 2, 2)
    ranks = torch.tensor([[2, 0], [3, 1]])
    images = list(transition(start, end, ranks, [0, 1, 3, 4]))
    assert [i[0].tolist() for i in images] == [
        [[0, 0], [0, 0]],
        [[0, 1], [0, 0]],
        [[1, 1], [0, 1]],
        [[1, 1], [1, 1]],
    ]
    assert all(torch.equal(i[0], i[2]) for i in images)


class TestArea:
    def test_by_hand(self):
        assert area_under_curve([1, 0, 0, 0, 0], [0, 1, 2, 3, 4]) == pytest.approx(1 / 8)
        assert area_under_curve([0.2, 0.2, 0.2], [0, 5, 10]) == pytest.approx(0.2)

    def test_equals_scikit_learn(self):
        auc = pytest.importorskip("sklearn.metrics").auc
        scores, counts = np.random.default_rng(0).random(51), step_counts(80_001, 50)
        assert area_under_curve(scores, counts) == pytest.approx(
            auc(np.array(counts) / 80_001, scores), abs=1e-12
        )


class TestLamp:
    """8 steps of 4 pixels; the object goes when all four pixels of the lamp are dark."""

    def measure(self, saliency, **settings):
        (values,) = deletion_insertion(
            explained_lamp(lamp_detector(), saliency, **{"num_steps": 8, **settings})
        )
        return values

    def test_perfect_map(self):
        values = self.measure(perfect_map())
        assert values["deletion_s1_curve"] == [1, 0, 0, 0, 0, 0, 0, 0, 0]
        assert values["insertion_s1_curve"] == [0, 1, 1, 1, 1, 1, 1, 1, 1]
        # The object goes within the first of eight steps: half of its area is left.
        assert values["deletion_s1"] == pytest.approx(1 / 16) and values[
            "insertion_s1"
        ] == pytest.approx(15 / 16)
        assert values["deletion_s2"] == pytest.approx(1 / 16) and values[
            "insertion_s2"
        ] == pytest.approx(15 / 16)

    def test_inverted_map(self):
        values = self.measure(1 - perfect_map())
        assert values["deletion_s1_curve"] == [1, 1, 1, 1, 1, 1, 1, 1, 0]
        assert values["deletion_s1"] == pytest.approx(15 / 16) and values[
            "insertion_s1"
        ] == pytest.approx(1 / 16)

    def test_a_map_without_an_order_lies_between(self):
        empty, constant = (
            self.measure(torch.zeros(HEIGHT, WIDTH)),
            self.measure(torch.ones(HEIGHT, WIDTH)),
        )
        assert empty == constant and 1 / 16 < empty["deletion_s1"] < 15 / 16

    def test_one_step_leads_from_the_image_to_the_fill(self):
        values = self.measure(perfect_map(), num_steps=1)
        assert values["deletion_s1_curve"] == [1, 0] and values["deletion_s1"] == 0.5

    def test_the_batch_size_changes_nothing(self):
        saliency = torch.rand(HEIGHT, WIDTH)
        assert self.measure(saliency, batch_size=1) == self.measure(saliency, batch_size=5)

    def test_fills(self):
        # The mean colour is 255 * 4 / 32: a lamp of it still gives a logit of 4 * 50 / 8 = 25.
        values = self.measure(perfect_map(), deletion_fill="mean")
        assert values["deletion_s1_curve"] == [1] * 9

    def test_maps_are_laid_onto_the_network_input(self):
        coarse = torch.tensor(
            [[1.0, 0, 0, 0], [0, 0, 0, 0]]
        )  # a quarter of the height, two columns
        first = self.measure(coarse)["insertion_s1_curve"]
        assert first[-1] == 1 and first[0] == 0


def test_what_detections_share_is_computed_once(monkeypatch):
    model = lamp_detector()
    sizes = []
    original = type(model).raw_outputs
    monkeypatch.setattr(
        type(model), "raw_outputs", lambda self, x: sizes.append(len(x)) or original(self, x)
    )
    deletion_insertion(explained_lamp(model, perfect_map(), num_steps=4, batch_size=4))
    assert sizes == [
        1,
        1,
        1,
        4,
        2,
    ]  # image, black twice (deletion's and insertion's fill), 2 x 3 steps
