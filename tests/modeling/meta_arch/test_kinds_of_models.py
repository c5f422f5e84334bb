"""
Small copies of the kinds of models that other projects have. All are ToyDetectors, whose gradients
are known in closed form, with one habit each.
"""

import pytest
import torch

from d2_saliency import explainable
from d2_saliency.modeling.saliency_heads import Gradient
from d2_saliency.testing import ToyDetector


def toy(cls, **attributes):
    """A random ToyDetector of 3 objects that has the habit of a class."""
    model = ToyDetector.random()
    model.__class__ = cls
    vars(model).update(attributes)
    return model


def picture(seed=0):
    pixels = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(seed)) * 255
    return {"image": pixels}


def true_maps(model, found):
    """Gradient's class map of each detection: the largest |d score / dx| of a pixel's channels."""
    weights, scores = model.class_weights[found.pred_classes], found.scores[:, None, None, None]
    return (scores * (1 - scores) * weights).abs().amax(1)


def explained(model, x, **options):
    model.saliency_head = Gradient(score_thresh=0.0, **options)
    with torch.no_grad():
        return model([x])[0]["instances"]


def assert_right(stock, found):
    expected, maps = true_maps(stock, found), found.pred_saliency.resize(24, 32)[:, 0]
    assert len(found) and (maps - expected).abs().max() <= 1e-4 * expected.max()


class Restless(ToyDetector):
    """Outputs change their order, or some are lost, from one run to the next."""

    def forward(self, batched_inputs):
        self.runs += 1
        results = super().forward(batched_inputs)
        choice = self.choices[min(self.runs, len(self.choices)) - 1]
        return [{"instances": r["instances"][torch.tensor(choice)]} for r in results]


@pytest.mark.parametrize("again", [[1, 0, 2], [2, 1, 0], [1, 2, 0], [0, 1, 2]])
def test_outputs_in_another_order_keep_their_maps(again):
    stock = toy(Restless, runs=0, choices=[[0, 1, 2], again])
    assert_right(stock, explained(explainable(stock), picture()))


def test_more_outputs_than_were_reported_are_told_apart():
    stock = toy(Restless, runs=0, choices=[[2, 0], [0, 1, 2]])
    assert_right(stock, explained(explainable(stock), picture()))


@pytest.mark.parametrize("again", [[0, 1], [1, 2], [0, 0, 1], [2]])
def test_a_detection_that_is_not_found_again_is_refused(again):
    stock = toy(Restless, runs=0, choices=[[0, 1, 2], again])
    with pytest.raises(RuntimeError, match=r"Restless: \d of 3 detections .* not found again"):
        explained(explainable(stock), picture())


class Undecided(ToyDetector):
    """A detector without NMS: twice the same box and class with different scores, in any order."""

    def forward(self, batched_inputs):
        self.runs += 1
        (found,) = (r["instances"] for r in super().forward(batched_inputs))
        found = found[torch.tensor([0, 0, 1])]
        found.scores = found.scores * torch.tensor([1, self.second, 1])
        return [{"instances": found[torch.tensor([[0, 1, 2], self.again][self.runs > 1])]}]


def test_equal_boxes_are_told_apart_by_their_scores():
    stock = toy(Undecided, runs=0, second=0.25, again=[1, 0, 2])
    found = explained(explainable(stock), picture())
    maps = found.pred_saliency.resize(24, 32)[:, 0]
    torch.testing.assert_close(maps[1], maps[0] / 4)
    stock = toy(Undecided, runs=0, second=0.25, again=[1, 2])
    with pytest.raises(RuntimeError, match="1 of 3 detections"):
        explained(explainable(stock), picture())
