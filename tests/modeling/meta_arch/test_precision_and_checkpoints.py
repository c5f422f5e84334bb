"""Models that compute activations again, and calls under autocast."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from d2_saliency import explainable
from d2_saliency.modeling.objects import explain_objects
from d2_saliency.modeling.saliency_heads import Gradient, ODSmoothGrad
from tests.modeling.meta_arch.test_feature_gradients import random_model


def explained(model, head):
    head.score_thresh, head.max_instances, model.saliency_head = 0.0, 1, head
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        found = model([{"image": image}])[0]["instances"]
    return found[found.pred_saliency.explained]


def checkpointed(use_reentrant):
    """A stock model that keeps the activations of one stage only until they are used."""
    model = random_model("FPN")
    stage = model.backbone.bottom_up.res3
    stage.forward_once = stage.forward
    stage.forward = lambda x: checkpoint(stage.forward_once, x, use_reentrant=use_reentrant)
    return model


@pytest.mark.parametrize("head", [Gradient(), ODSmoothGrad(num_samples=2, iou_thresh=0.1)])
def test_checkpoints_change_no_map(head):
    expected = explained(explainable(random_model("FPN")), head).pred_saliency.maps[0]
    found = explained(explainable(checkpointed(False)), head).pred_saliency.maps[0]
    assert expected.amax() > 0
    assert (found - expected).abs().amax() <= 1e-4 * expected.amax()


def test_reentrant_checkpoints_are_refused_with_what_to_switch_off():
    with pytest.raises(RuntimeError, match=r"use_act_checkpoint=False.*USE_CHECKPOINT.*DRISE"):
        explained(explainable(checkpointed(True)), Gradient())


def test_autocast_changes_no_map():
    model = explainable(random_model("FPN"))
    expected = explained(model, Gradient())
    boxes, classes = expected.pred_boxes.tensor, expected.pred_classes
    image = {"image": torch.ones(3, 64, 96) * 100}
    given = explain_objects(model, image, boxes, classes)
    with torch.autocast("cpu", torch.bfloat16):
        found = explained(model, Gradient())
        again = explain_objects(model, image, boxes, classes)
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.pred_saliency.maps[0], expected.pred_saliency.maps[0])
    assert torch.equal(again.pred_saliency.maps[0], given.pred_saliency.maps[0])
