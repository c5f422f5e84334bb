"""
Objects that the user names: detected or not, with every method, on every architecture; what cannot
be is said.
"""

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou

from d2_saliency import explainable
from d2_saliency.modeling.objects import explain_objects
from d2_saliency.modeling.saliency_heads import (
    DRISE,
    ODAM,
    Gradient,
    IntegratedGradients,
    ODSmoothGrad,
)
from d2_saliency.modeling.targets import target_objects
from d2_saliency.testing import ToyDetector

HEADS = {
    "Gradient": Gradient(),
    "ODSmoothGrad": ODSmoothGrad(num_samples=2, sigma=0.01),
    "ODAM": ODAM(),
    "IntegratedGradients": IntegratedGradients(num_steps=2),
    "DRISE": DRISE(num_masks=6),
}
NOWHERE = [3.0, 4.0, 60.0, 50.0]  # no object of the bundled scenes is near


@pytest.fixture(params=["faster_rcnn_planted", "retinanet_planted"])
def model(request, stock_detector):
    return explainable(stock_detector(request.param))


def detections(model, inputs):
    with torch.no_grad():
        return model.run([inputs]).instances[0]


def named(model, inputs, boxes, classes):
    return explain_objects(model, inputs, torch.tensor(boxes), torch.tensor(classes))


@pytest.mark.parametrize("name", HEADS)
def test_every_method_explains_a_detected_object_and_one_that_is_not_there(model, name, demo_image):
    inputs = demo_image(1)
    found = detections(model, inputs)
    box, label = found.pred_boxes.tensor[0].tolist(), int(found.pred_classes[0])
    model.saliency_head = HEADS[name]
    other = (label + 1) % 5
    objects = named(model, inputs, [box, NOWHERE, box], [label, 0, other])
    assert objects.detected.tolist() == [True, False, False]
    assert objects.pred_classes.tolist() == [label, 0, other]
    torch.testing.assert_close(objects.pred_boxes.tensor, torch.tensor([box, NOWHERE, box]))
    assert objects.scores[0] > 0.5 > objects.scores[1:].max()
    maps = objects.pred_saliency.resize(*objects.image_size)
    assert maps.isfinite().all() and maps.min() >= 0 and maps[0, 0].max() > 0
    if name == "ODSmoothGrad":  # follows what it was given, also where nothing can be matched
        assert objects.num_matched.tolist() == [2, 2, 2]


def test_a_two_stage_model_reads_the_given_box(stock_detector, demo_image):
    """The score is that of stock Detectron2's box head for the box as proposal."""
    stock, inputs = stock_detector("faster_rcnn_planted"), demo_image(0)
    model = explainable(stock)
    model.saliency_head = ODAM()
    objects = named(model, inputs, [NOWHERE], [3])
    with torch.no_grad():
        features = stock.backbone(stock.preprocess_image([inputs]).tensor)
        heads = stock.roi_heads
        pooled = heads.box_pooler(
            [features[f] for f in heads.box_in_features], [Boxes(torch.tensor([NOWHERE]))]
        )
        probs = heads.box_predictor(heads.box_head(pooled))[0].softmax(1)
    torch.testing.assert_close(objects.scores, probs[:, 3])


@pytest.mark.parametrize("name", ["retinanet_planted", "fcos_planted"])
def test_a_dense_model_explains_the_anchor_closest_to_finding_it(stock_detector, demo_image, name):
    model, inputs = explainable(stock_detector(name)), demo_image(2)
    found = detections(model, inputs)[:1]
    box = found.pred_boxes.tensor + torch.tensor([[6.0, -5, 4, 3]])  # as a person would draw it
    objects = found[[0]]
    objects.pred_boxes = Boxes(box)
    with torch.no_grad():
        located = model.locate([inputs], [objects]).instances[0]
        (raw,) = model.raw_outputs([inputs])
    iou = pairwise_iou(Boxes(box), Boxes(raw.boxes[:, 0]))[0]
    expected = raw.vectors[iou >= 0.5][:, found.pred_classes[0]].max()
    torch.testing.assert_close(located.scores[0], expected)
    assert int(located.level) == int(found.level) and int(located.anchor_index) == int(
        found.anchor_index
    )


@pytest.mark.parametrize("name", ["retinanet_planted", "fcos_planted"])
def test_the_nearest_anchor_where_none_is_near(stock_detector, demo_image, name):
    model, inputs = explainable(stock_detector(name)), demo_image(2)
    model.saliency_head = Gradient()
    height, width = inputs["image"].shape[-2:]
    objects = named(model, inputs, [[0.0, 0.0, float(width), 3.0]], [1])
    assert (
        objects.scores.isfinite().all()
        and objects.pred_saliency.resize(height, width).isfinite().all()
    )


def test_the_class_that_was_asked_for_is_what_outputs_are_compared_with():
    toy = explainable(ToyDetector.random())
    with torch.no_grad():
        clean = toy.run([{"image": torch.rand(3, 24, 32) * 255}])
        (outputs,) = toy.outputs(clean)
    assert torch.equal(target_objects(outputs).class_vectors, outputs.class_vectors)
    outputs.target_classes = torch.tensor([4, 0, 1])
    asked = target_objects(outputs)
    assert asked.class_vectors.tolist() == torch.eye(5)[[4, 0, 1]].tolist()
    assert asked.pred_classes.tolist() == [4, 0, 1]


class TestUnknownArchitecture:
    image = {"image": torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0)) * 255}

    def test_d_rise_explains_anything(self):
        model = explainable(ToyDetector.random())
        model.saliency_head = DRISE(num_masks=20, grid_size=4)
        found = detections(model, self.image)
        box, label = found.pred_boxes.tensor[0].tolist(), int(found.pred_classes[0])
        objects = named(model, self.image, [box, [0.0, 0.0, 3.0, 3.0], box], [label, 7, label + 1])
        assert objects.detected.tolist() == [True, False, False]
        assert objects.scores.tolist() == [pytest.approx(found.scores[0].item()), 0, 0]
        assert (
            objects.pred_saliency.peaks[0].min() > 0
            and objects.pred_saliency.resize(24, 32).isfinite().all()
        )

    def test_methods_that_need_a_proposal_name_those_that_do_not(self):
        model = explainable(ToyDetector.random())
        model.saliency_head = Gradient()
        with pytest.raises(ValueError, match="Gradient cannot explain a given box.*; use DRISE"):
            named(model, self.image, [[0.0, 0.0, 9.0, 9.0]], [0])


class TestRefusals:
    @pytest.fixture
    def model(self, stock_detector):
        model = explainable(stock_detector("retinanet_planted"))
        model.saliency_head = Gradient()
        return model

    @pytest.mark.parametrize(
        "box",
        [
            [-9.0, 0, -1, 5],
            [500.0, 500, 510, 510],
            [9.0, 9, 9, 20],
            [9.0, 9, 5, 20],
            [0.0, float("nan"), 5, 5],
        ],
    )
    def test_boxes_without_an_area_in_the_image(self, model, demo_image, box):
        with pytest.raises(ValueError, match="has no area inside of the image of"):
            named(model, demo_image(0), [box], [0])

    def test_a_class_that_the_model_does_not_have(self, model, stock_detector, demo_image):
        for m in (model, explainable(stock_detector("faster_rcnn_planted"))):
            m.saliency_head = Gradient()
            with pytest.raises(ValueError, match="no class 5: the model has the classes 0 to 4"):
                named(m, demo_image(0), [NOWHERE], [5])

    def test_a_box_that_exceeds_the_image_is_clipped(self, model, demo_image):
        inputs = demo_image(0)
        height, width = inputs["image"].shape[-2:]
        objects = named(model, inputs, [[-50.0, -50, 5000, 5000]], [0])
        assert objects.pred_boxes.tensor[0].tolist() == [0, 0, width, height]

    def test_no_objects(self, model, demo_image):
        assert (
            len(
                explain_objects(
                    model, demo_image(0), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
                )
            )
            == 0
        )

    def test_inference_mode(self, model, demo_image):
        with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
            named(model, demo_image(0), [NOWHERE], [0])
