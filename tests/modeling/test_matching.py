import torch
from detectron2.structures import Boxes, Instances

from d2_saliency.modeling.matching import match_instances


def detections(boxes, classes):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Instances(
        (100, 100), pred_boxes=Boxes(boxes), pred_classes=torch.tensor(classes, dtype=torch.long)
    )


def pairs(reference, candidates, thresh=0.7):
    rows, cols = match_instances(reference, candidates, thresh)
    return list(zip(rows.tolist(), cols.tolist()))


def test_same_class_and_iou_strictly_above_the_threshold():
    reference = detections([[0, 0, 10, 10]], [1])
    # Boxes of 10 x h inside of 10 x 10 have an IoU of h / 10; 0.75 is exact in binary.
    assert pairs(reference, detections([[0, 0, 10, 7.5]], [1]), 0.75) == []
    assert pairs(reference, detections([[0, 0, 10, 7.6]], [1]), 0.75) == [(0, 0)]
    assert pairs(reference, detections([[0, 0, 10, 10]], [2]), 0.75) == []


def test_one_to_one():
    reference = detections([[0, 0, 10, 10]], [0])
    candidates = detections([[0, 0, 10, 9], [0, 0, 10, 9.5]], [0, 0])
    assert pairs(reference, candidates) == [(0, 1)]
    assert pairs(candidates, reference) == [(1, 0)]


def test_best_total_iou_not_greedy():
    # IoU of r0 with (c0, c1) is (1.0, 0.9), of r1 with them (0.9, 0.81): the best single pair,
    # r0-c0, leaves 0.81 (not above 0.85) to r1, so taking it first would lose one match; both 0.9
    # pairs together are worth more.
    reference = detections([[0, 0, 10, 10], [0, 0, 10, 9]], [0, 0])
    candidates = detections([[0, 0, 10, 10], [0, 0, 9, 10]], [0, 0])
    assert pairs(reference, candidates, 0.85) == [(0, 1), (1, 0)]


def test_empty_sides():
    some, none = detections([[0, 0, 10, 10]], [0]), detections([], [])
    assert pairs(some, none) == [] and pairs(none, some) == [] and pairs(none, none) == []
