"""DefaultExplainer.explain_objects: boxes in pixels of the original image, classes by name."""

import cv2
import pytest
import torch

from d2_saliency.engine.explainer import DefaultExplainer, ObjectExplainer
from d2_saliency.modeling.saliency_heads import ODAM, build_saliency_head
from tests.conftest import ROOT, demo_cfg

SCENE = ROOT / "demo" / "images" / "planted_0009.png"


@pytest.fixture(scope="module")
def explainer():
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 200, 400
    explainer = DefaultExplainer(cfg)
    explainer.model.saliency_head = ODAM()
    return explainer


def test_a_detected_object_in_another_resolution_than_the_network_sees(explainer):
    image = cv2.imread(str(SCENE))
    found = explainer(image)["instances"]
    names = [explainer.class_names[k] for k in found.pred_classes.tolist()]
    objects = explainer.explain_objects(image, found.pred_boxes.tensor, names)["instances"]
    assert len(found) > 1 and objects.detected.all() and objects.image_size == image.shape[:2]
    torch.testing.assert_close(
        objects.pred_boxes.tensor, found.pred_boxes.tensor, atol=1e-3, rtol=1e-4
    )
    assert torch.equal(objects.pred_classes, found.pred_classes)
    ours, theirs = (
        i.pred_saliency.resize(*i.image_size)[:, 0].flatten(1) for i in (objects, found)
    )
    assert (
        torch.cosine_similarity(ours, theirs).mean() > 0.7
    )  # read from the box, not from its proposal


def test_the_same_objects_in_every_image(explainer):
    image = cv2.imread(str(SCENE))
    objects = ObjectExplainer(explainer, [[10, 10, 90, 80]], ["2"])
    assert objects.model is explainer.model and objects.class_names == explainer.class_names
    found = objects(image)["instances"]
    assert found.pred_classes.tolist() == [2] and found.pred_boxes.tensor.tolist() == [
        [10, 10, 90, 80]
    ]
    assert not found.detected.any()


@pytest.mark.parametrize(
    "boxes, classes, message",
    [
        ([[10, 10, 90, 80]], ["dog"], "no class 'dog'. The classes are: {names}"),
        ([[10, 10, 90, 80]], [9], "no class 9: the model has the classes 0 to 4"),
        ([[10, 10, 90, 80]], [], "1 boxes need as many classes; got 0"),
        (
            [[900, 10, 990, 80]],
            [0],
            "box 900, 10, 990, 80 has no area inside of the image of {width} x {height}",
        ),
    ],
)
def test_what_cannot_be_explained_is_said_in_the_users_terms(explainer, boxes, classes, message):
    image = cv2.imread(str(SCENE))
    names = ", ".join(explainer.class_names)
    with pytest.raises(
        ValueError, match=message.format(names=names, width=image.shape[1], height=image.shape[0])
    ):
        explainer.explain_objects(image, boxes, classes)


class TestClasses:
    """Only detections of some classes, chosen before the best ones are."""

    def chosen(self, explainer, names, max_instances=20):
        """Classes of the explained detections by a fresh method, and those of all detections."""
        image = cv2.imread(str(SCENE))
        cfg = demo_cfg("faster_rcnn_planted")
        cfg.MODEL.SALIENCY_HEAD.NAME = "ODAM"
        cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = max_instances
        head = build_saliency_head(explainer.choose_classes(cfg, names))
        own = explainer.model.saliency_head.classes
        explainer.model.saliency_head = head
        found = explainer(image)["instances"]
        explainer.model.saliency_head = ODAM()
        return found.pred_classes.tolist(), list(own), explainer(image)["instances"].pred_classes

    def test_by_name_and_by_number(self, explainer):
        everything = self.chosen(explainer, [])[2].tolist()
        assert len(set(everything)) > 1 and self.chosen(explainer, [])[0] == everything
        for k in set(everything):
            for name in (explainer.class_names[k], str(k)):
                found, own, _ = self.chosen(explainer, [name, name])
                assert found == [c for c in everything if c == k] and own == [k]
        last = everything[-1]
        assert self.chosen(explainer, [str(last)], max_instances=1)[0] == [last]
        others = [name for k, name in enumerate(explainer.class_names) if k not in everything]
        assert self.chosen(explainer, others)[0] == [] or not others

    def test_classes_that_are_not_there(self, explainer):
        cfg = demo_cfg("faster_rcnn_planted")
        with pytest.raises(ValueError, match="no class 9: the model has the classes 0 to 4"):
            explainer.choose_classes(cfg, ["9"])
        with pytest.raises(ValueError, match="There is no class 'dog'. The classes are: "):
            explainer.choose_classes(cfg, ["dog"])
        with pytest.raises(ValueError, match="CLASSES is .*; give a list of the numbers of class"):
            ODAM(classes=["dog"])
