"""CAM on a C4 model against its definition, and its refusal elsewhere."""

import copy

import pytest
import torch

from d2_saliency import explainable
from d2_saliency.modeling.saliency_heads import CAM
from d2_saliency.results.writer import detection_flags
from tests.modeling.meta_arch.test_feature_gradients import random_model


@pytest.fixture(scope="module")
def stock():
    return random_model("C4")


def test_equals_the_weights_of_cls_score_times_res5(stock):
    model = explainable(stock)
    image = torch.rand(3, 128, 160) * 255
    with torch.no_grad():
        clean = model.run([{"image": image}])
        clean.instances = [clean.instances[0][:3]]
        instances = clean.instances[0]
        heads = stock.roi_heads
        pooled = heads.pooler(
            [clean.features[f] for f in heads.in_features], [instances.proposal_boxes]
        )
        activations = heads.res5(pooled)
    with torch.enable_grad():
        maps = CAM(class_target="logit").explain(model, {"image": image}, clean)["pred_saliency"]
    for i in range(3):
        weights = heads.box_predictor.cls_score.weight[instances.pred_classes[i]].detach()
        expected = sum(weights[k] * activations[i, k] for k in range(len(weights))).relu()
        expected = expected / expected.numel()  # the mean over cells is inside of cls_score's input
        ours = maps.maps[i][0] / maps.maps[i][0].max()
        torch.testing.assert_close(ours, expected / expected.max(), rtol=1e-3, atol=1e-4)
        assert torch.equal(maps.regions[i], instances.proposal_boxes.tensor[i])


def test_other_models_are_refused_with_a_way_out(stock_detector, demo_image):
    model = explainable(stock_detector("faster_rcnn_planted"))
    model.saliency_head = CAM()
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match="linear in globally pooled features.*use GradCAM"),
    ):
        model([demo_image(1)])


def test_class_logits_that_depend_on_nothing_give_a_zero_map_that_is_flagged(stock):
    stock = copy.deepcopy(stock)
    torch.nn.init.zeros_(stock.roi_heads.box_predictor.cls_score.weight)
    model = explainable(stock)
    model.saliency_head = CAM(class_target="logit", score_thresh=0.0, max_instances=1)
    with torch.no_grad():
        found = model([{"image": torch.rand(3, 128, 160) * 255}])[0]["instances"]
    found = found[found.pred_saliency.explained]
    assert found.pred_saliency.peaks[0, 0] == 0 and found.pred_saliency.peaks[0, 1:].min() > 0
    assert detection_flags(found) == [["zero map: class"]]
