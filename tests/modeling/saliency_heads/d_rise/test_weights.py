"""Weights of outputs against loops over all of them."""

import math

import pytest
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency.modeling.raw_outputs import RawOutputs
from d2_saliency.modeling.saliency_heads.d_rise.weights import output_weights


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def test_a_coordinate_weighs_less_the_farther_it_is_off():
    targets = Instances(
        (50, 50),
        pred_boxes=Boxes(torch.tensor([[10.0, 10, 30, 20]])),
        pred_classes=torch.tensor([0]),
        class_vectors=torch.tensor([[1.0, 0]]),
    )
    raw = RawOutputs(
        torch.tensor([[[12.0, 10, 30, 20]]]), torch.tensor([[0.5, 0.0]]), torch.ones(1)
    )
    s = 18 * 10 / 200
    expected = [s, s * math.exp(-2 / 2.0), s, s, s]  # 2 pixels off at a tenth of the width of 20
    assert output_weights(targets, raw)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("num_boxes", [1, 3])
def test_weights_are_the_best_of_all_outputs(num_boxes):
    """
    Against loops over all outputs: leaving out those that cannot win must not change anything.
    """
    generator = torch.Generator().manual_seed(4)
    corners = torch.rand(200, num_boxes, 2, generator=generator) * 30
    boxes = torch.cat(
        [corners, corners + 2 + 12 * torch.rand(200, num_boxes, 2, generator=generator)], dim=2
    )
    raw = RawOutputs(
        boxes, torch.rand(200, 3, generator=generator), torch.rand(200, generator=generator)
    )
    targets = Instances(
        (50, 50), pred_boxes=Boxes(boxes[:4, 0].clone()), pred_classes=torch.tensor([0, 2, 1, 0])
    )
    targets.class_vectors = torch.rand(4, 3, generator=generator)
    expected = torch.zeros(4, 5)
    for t, (box, k, p) in enumerate(
        zip(boxes[:4, 0].tolist(), [0, 2, 1, 0], targets.class_vectors)
    ):
        for j in range(200):
            other, q = boxes[j, k if num_boxes > 1 else 0].tolist(), raw.vectors[j]
            s = iou(box, other) * float(p @ q / p.norm() / q.norm()) * float(raw.objectness[j])
            off = [
                abs(a - b) / (box[2 + c % 2] - box[c % 2])
                for c, (a, b) in enumerate(zip(box, other))
            ]
            for o, factor in enumerate([1.0, *(math.exp(-d / 0.1) for d in off)]):
                expected[t, o] = max(expected[t, o], s * factor)
    torch.testing.assert_close(output_weights(targets, raw), expected)


def test_no_outputs_weigh_nothing():
    targets = Instances(
        (9, 9), pred_boxes=Boxes(torch.tensor([[0.0, 0, 5, 5]])), pred_classes=torch.tensor([0])
    )
    targets.class_vectors = torch.ones(1, 2)
    nothing = RawOutputs(torch.zeros(0, 1, 4), torch.zeros(0, 2), torch.zeros(0))
    far = RawOutputs(torch.tensor([[[6.0, 6, 9, 9]]]), torch.ones(1, 2), torch.ones(1))
    assert (
        output_weights(targets, nothing).tolist()
        == output_weights(targets, far).tolist()
        == [[0] * 5]
    )
