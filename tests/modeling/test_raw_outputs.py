"""Raw outputs: every stock detection is one of them; similarities against literal loops."""

import pytest
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency import explainable
from d2_saliency.modeling.raw_outputs import (
    RawOutputs,
    best,
    class_probability,
    class_similarity,
    detection_similarity,
    one_class_vectors,
    target_iou,
)
from d2_saliency.testing import ToyDetector

DETECTORS = ["faster_rcnn_planted", "retinanet_planted", "cascade_rcnn_planted", "fcos_planted"]


@pytest.mark.parametrize("name", DETECTORS)
def test_every_stock_detection_is_among_the_raw_outputs(name, stock_detector, demo_image):
    model = explainable(stock_detector(name))
    inputs = [demo_image(0), demo_image(1)]
    with torch.no_grad():
        stock = stock_detector(name)(
            [{"image": x["image"]} for x in inputs]
        )  # in pixels of the network input
    for found, raw in zip((s["instances"] for s in stock), model.raw_outputs(inputs)):
        assert 0 < len(found) < 100 <= len(raw.boxes)
        for box, score, label in zip(found.pred_boxes.tensor, found.scores, found.pred_classes):
            same_box = (raw.boxes_of(int(label)) - box).abs().amax(1) < 1e-3
            assert ((raw.vectors[:, label] - score).abs() < 1e-5)[same_box].any()


def test_target_vectors_have_the_form_of_raw_vectors(stock_detector, demo_image):
    for name in DETECTORS:
        model = explainable(stock_detector(name))
        with torch.no_grad():
            (targets,) = model.outputs(model.run([demo_image(0)]))
        (raw,) = model.raw_outputs([demo_image(0)])
        assert (
            best(detection_similarity(targets, raw)).sub(1).abs().max() < 1e-4
        )  # each finds itself


def test_an_unknown_model_reveals_its_detections_only():
    toy = ToyDetector.random()
    (raw,) = explainable(toy).raw_outputs([{"image": torch.rand(3, 24, 32) * 255}])
    assert raw.boxes.shape == (3, 1, 4) and torch.equal(raw.vectors.amax(1), raw.objectness)


def _targets():
    return Instances(
        (20, 20),
        pred_boxes=Boxes(torch.tensor([[0.0, 0, 10, 10], [5, 5, 15, 15]])),
        pred_classes=torch.tensor([0, 1]),
        class_vectors=torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.6, 0.2]]),
    )


def test_similarity_equals_loops_with_a_box_for_each_class():
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(7, 2, 2, generator=generator) * 10
    boxes = torch.cat([corners, corners + 1 + 9 * torch.rand(7, 2, 2, generator=generator)], dim=2)
    vectors, objectness = torch.rand(7, 3, generator=generator), torch.rand(7, generator=generator)
    raw, targets = RawOutputs(boxes, vectors, objectness), _targets()
    expected = torch.zeros(2, 7)
    for t in range(2):
        label = int(targets.pred_classes[t])
        for j in range(7):
            a, b = targets.pred_boxes.tensor[t].tolist(), boxes[j, label].tolist()
            width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            inter = max(width, 0) * max(height, 0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
            p, q = targets.class_vectors[t], vectors[j]
            expected[t, j] = (
                inter / union * float(p @ q / p.norm() / q.norm()) * float(objectness[j])
            )
    torch.testing.assert_close(detection_similarity(targets, raw), expected)
    torch.testing.assert_close(class_probability(targets, raw), vectors[:, targets.pred_classes].T)


def test_vectors_of_different_length_are_compared_class_by_class():
    raw = RawOutputs(torch.tensor([[[0.0, 0, 10, 10]]]), torch.tensor([[0.9]]), torch.ones(1))
    targets = _targets()
    assert class_similarity(targets, raw)[1, 0] == 0 and target_iou(targets, raw)[0, 0] == 1
    assert class_probability(targets, raw)[:, 0].tolist() == [pytest.approx(0.9), 0]


def test_no_outputs_and_zero_vectors_give_zeros():
    empty = RawOutputs(torch.zeros(0, 1, 4), torch.zeros(0, 3), torch.zeros(0))
    assert best(detection_similarity(_targets(), empty)).tolist() == [0, 0]
    zero = RawOutputs(torch.tensor([[[0.0, 0, 10, 10]]]), torch.zeros(1, 3), torch.ones(1))
    assert detection_similarity(_targets(), zero).tolist() == [[0], [0]]


def test_one_class_vectors_have_the_score_at_the_class():
    found = Instances((9, 9), scores=torch.tensor([0.3, 0.8]), pred_classes=torch.tensor([2, 0]))
    assert one_class_vectors(found).tolist() == [
        [0, 0, pytest.approx(0.3)],
        [pytest.approx(0.8), 0, 0],
    ]
