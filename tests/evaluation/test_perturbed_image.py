"""Scores of detections in perturbed images, on raw outputs small enough to compare by hand."""

import pytest
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency import explainable
from d2_saliency.evaluation.perturbed_image import (
    PerturbedImage,
    class_vectors,
    detection_scores,
    found_boxes,
)
from d2_saliency.modeling.folding import folded
from d2_saliency.modeling.raw_outputs import RawOutputs
from tests.evaluation.lamp import explained_lamp, lamp_detector, lit_image


def targets(**fields):
    return Instances(
        (20, 20),
        pred_boxes=Boxes(torch.tensor([[0.0, 0, 10, 10]])),
        pred_classes=torch.tensor([1]),
        scores=torch.tensor([0.8]),
        class_vectors=torch.tensor([[0.0, 0.8, 0.6]]),
        **fields,
    )


def raw(*rows):
    """Outputs of one box and one class vector each."""
    boxes, vectors = zip(*rows)
    return RawOutputs(
        torch.tensor(boxes)[:, None].float(), torch.tensor(vectors), torch.ones(len(rows))
    )


FAR, HALF, NEAR = [10, 10, 20, 20], [0, 0, 10, 5], [0, 0, 10, 8]  # IoU 0, 0.5, 0.8


def test_s1_is_the_class_probability_of_outputs_with_more_than_half_overlap():
    outputs = raw((FAR, [0, 0.99, 0]), (HALF, [0, 0.9, 0]), (NEAR, [0.3, 0.2, 0.5]))
    assert detection_scores(targets(), outputs)[0, 0] == pytest.approx(0.2)
    assert detection_scores(targets(), raw((HALF, [0, 0.9, 0])))[0, 0] == 0


def test_s2_is_overlap_times_cosine():
    outputs = raw((FAR, [0, 0.8, 0.6]), (HALF, [0, 0.4, 0.3]), (NEAR, [0, 0.6, 0.8]))
    # 0, 0.5 * 1, 0.8 * (0.48 + 0.48)
    assert detection_scores(targets(), outputs)[0, 1] == pytest.approx(0.768)
    assert found_boxes(targets(), outputs).tolist() == [NEAR]


def test_no_outputs_score_zero_and_have_no_box():
    none = RawOutputs(torch.zeros(0, 1, 4), torch.zeros(0, 3), torch.zeros(0))
    assert (
        detection_scores(targets(), none).tolist() == [[0, 0]]
        and found_boxes(targets(), none).isnan().all()
    )


def test_the_class_vector_is_that_of_the_output_with_the_detection_s_box_and_score():
    outputs = raw(
        (NEAR, [0.1, 0.8, 0.1]), ([0, 0, 10, 10], [0.3, 0.7, 0]), ([0, 0, 10, 10], [0.2, 0.8, 0])
    )
    assert class_vectors(targets(), outputs)[0].tolist() == pytest.approx([0.2, 0.8, 0])


@pytest.mark.parametrize(
    "name", ["faster_rcnn_planted", "retinanet_planted", "cascade_rcnn_planted", "fcos_planted"]
)
def test_a_detector_s_own_detections_score_their_score_and_one(name, stock_detector, demo_image):
    model, x = explainable(stock_detector(name)), demo_image(1)
    with torch.no_grad():
        found = stock_detector(name)([{"image": x["image"]}])[0]["instances"]
    found = found[found.scores > 0.6]
    perturbed = PerturbedImage(folded(model, x), x, found, batch_size=2)
    assert len(found) > 1
    torch.testing.assert_close(perturbed.clean_scores[:, 0], found.scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        perturbed.clean_scores[:, 1], torch.ones(len(found)), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(perturbed.clean_boxes, found.pred_boxes.tensor, atol=0.05, rtol=0)


def test_batches_are_halved_where_memory_does_not_suffice(monkeypatch):
    model, sizes = lamp_detector(), []
    original = type(model).raw_outputs

    def scarce(self, inputs):
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise RuntimeError("CUDA out of memory.")
        return original(self, inputs)

    monkeypatch.setattr(type(model), "raw_outputs", scarce)
    perturbed = explained_lamp(model, torch.ones(4, 8), batch_size=4).perturbed
    scores = perturbed.scores((0, lit_image() * (k % 2)) for k in range(5))
    assert scores[:, 0].tolist() == [0, 1, 0, 1, 0] and sizes == [1, 4, 2, 2, 1]


def test_boxes_are_scaled_to_the_network_input():
    image = explained_lamp(lamp_detector(), torch.ones(4, 8))
    image.instances._image_size = (
        8,
        24,
    )  # the original is twice as high and three times as wide as the input
    image.instances.pred_boxes.scale(3, 2)
    assert image.perturbed.targets.pred_boxes.tensor.tolist() == [[1, 0, 6, 4]]
