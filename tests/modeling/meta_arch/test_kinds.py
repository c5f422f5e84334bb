"""What a model is taken for: subclasses of stock architectures, and why one is unknown."""

import pytest
import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads

from d2_saliency import explainable
from d2_saliency.modeling.meta_arch import kinds, treat_as
from d2_saliency.modeling.saliency_heads import Gradient
from tests.modeling.meta_arch.test_feature_gradients import random_model


class Teacher(GeneralizedRCNN):
    """Other training, the same inference, as in semi-supervised projects."""

    def forward(self, batched_inputs, branch="supervised", extra=None):
        if self.training:
            return {branch: extra}
        return self.inference(batched_inputs)


class Halved(GeneralizedRCNN):
    """Another inference."""

    def inference(self, *args, **kwargs):
        results = super().inference(*args, **kwargs)
        for r in results:
            r["instances"].scores = r["instances"].scores / 2
        return results


class OwnRoIHeads(StandardROIHeads):
    def _forward_box(self, features, proposals):
        return super()._forward_box(features, proposals)


class OwnPredictor(FastRCNNOutputLayers):
    def inference(self, predictions, proposals):
        return super().inference(predictions, proposals)


class WithRun(GeneralizedRCNN):
    def run(self):
        return 1


def stock(cls, part=""):
    model = random_model("FPN")
    (model.get_submodule(part) if part else model).__class__ = cls
    return model


@pytest.mark.parametrize(
    "model, why",
    [
        (lambda: stock(Teacher), "Teacher has its own forward"),
        (lambda: stock(Halved), "Halved has its own inference"),
        (lambda: stock(OwnRoIHeads, "roi_heads"), "OwnRoIHeads has its own _forward_box"),
        (
            lambda: stock(OwnPredictor, "roi_heads.box_predictor"),
            "OwnPredictor has its own inference",
        ),
        (lambda: stock(WithRun), "WithRun has its own run"),
        (lambda: torch.nn.Linear(1, 1), "derives from none of PanopticFPN, GeneralizedRCNN"),
    ],
)
def test_why_a_model_is_unknown(model, why, caplog):
    assert not explainable(model()).knows_provenance
    assert why in caplog.text and 'kind="rcnn"' in caplog.text


def maps(model):
    model.saliency_head = Gradient(score_thresh=0.0, max_instances=1)
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        found = model.eval()([{"image": image}])[0]["instances"]
    return found[found.pred_saliency.explained].pred_saliency.maps[0]


def test_a_model_with_other_training_is_treated_as_its_stock_architecture(monkeypatch):
    expected = maps(explainable(random_model("FPN")))
    model = explainable(stock(Teacher), kind="rcnn")
    assert model.knows_provenance and torch.equal(maps(model), expected)
    assert model.train()([], branch="unsupervised", extra=1) == {"unsupervised": 1}
    monkeypatch.setattr(kinds, "_treated_as", {})
    treat_as(Teacher, "rcnn")
    assert torch.equal(maps(explainable(stock(Teacher))), expected)


def test_a_model_that_infers_otherwise_is_refused():
    with pytest.raises(
        ValueError, match="Halved cannot be treated as a known kind: of .*Instances"
    ):
        maps(explainable(stock(Halved), kind="rcnn"))
    with pytest.raises(ValueError, match="Teacher cannot be treated as 'fcos': it is no FCOS"):
        explainable(stock(Teacher), kind="fcos")
    with pytest.raises(ValueError, match="no kind 'rnn'. Choose from: panoptic, rcnn"):
        explainable(stock(Teacher), kind="rnn")
