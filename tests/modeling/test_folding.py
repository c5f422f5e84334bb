"""Maps are the same with and without folding, whatever a detector does with its norms."""

import copy
import logging
import threading

import pytest
import torch
import torchvision
from detectron2.layers import Conv2d
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn
from torch.nn import functional as F

from d2_saliency import build_saliency_head, explainable
from d2_saliency.evaluation import ExplainedImage
from d2_saliency.modeling import folding
from d2_saliency.modeling.folding import folded
from d2_saliency.modeling.meta_arch.build import as_generic
from tests.conftest import demo_cfg
from tests.modeling.odd_convolutions import CHANGES, batch_norms, standardise

RESNETS = [
    "faster_rcnn_planted",
    "mask_rcnn_planted",
    "cascade_rcnn_planted",
    "faster_rcnn_c4_planted",
]
RESNETS += ["retinanet_planted", "fcos_planted"]


def convolutions(model):
    return [m for m in model.modules() if isinstance(m, Conv2d) and m.norm is not None]


@pytest.fixture
def detector(stock_detector):
    """A Faster R-CNN of its own, which may be changed."""
    folding._warn_once.cache_clear()
    return copy.deepcopy(stock_detector("faster_rcnn_planted"))


def with_head(model, name, **options):
    cfg = demo_cfg("faster_rcnn_planted")
    head = cfg.MODEL.SALIENCY_HEAD
    head.NAME, head.MAX_INSTANCES, head.SMOOTHGRAD.NUM_SAMPLES = name, 1, 2
    head.INTEGRATED_GRADIENTS.NUM_STEPS, head.DRISE.NUM_MASKS = 2, 8
    for key, value in options.items():
        head[key] = value
    model.saliency_head = build_saliency_head(cfg)
    return model


def maps_of_the_best(model, x):
    with torch.no_grad():
        found = model([x])[0]["instances"]
    return found.pred_saliency.maps[int(found.pred_saliency.explained.nonzero()[0])]


def cosines(a, b):
    a, b = (m.flatten(1) / m.flatten(1).amax(1, keepdim=True) for m in (a, b))
    return F.cosine_similarity(a, b)


class TestMaps:
    @pytest.mark.parametrize(
        "name", ["ODSmoothGrad", "IntegratedGradients", "GuidedBackprop", "DRISE"]
    )
    def test_of_a_detector_that_computes_the_bundled_one_in_another_way(
        self, name, detector, demo_image
    ):
        """Folding took its convolutions for plain ones: class maps had a cosine of 0.0."""
        expected = maps_of_the_best(with_head(explainable(detector), name), demo_image(1))
        for conv in convolutions(detector):
            standardise(conv)
        maps = maps_of_the_best(with_head(explainable(detector), name), demo_image(1))
        assert cosines(maps, expected).min() > 0.9999

    def test_of_a_detector_with_a_convolution_of_each_kind_are_those_without_folding(
        self, detector, demo_image
    ):
        blocks = [m for m in detector.modules() if isinstance(m, BottleneckBlock)]
        assert len(blocks) == len(CHANGES)
        for block, change in zip(blocks, CHANGES.values()):
            change(block.conv2)
        detector.roi_heads.box_predictor.test_score_thresh = 0.0  # it was trained with other ones
        model = with_head(explainable(detector), "Gradient", SCORE_THRESH=0.0)
        maps, x = [], demo_image(1)
        for fold in (True, False):
            model.saliency_head.fold_norms = fold
            maps.append(maps_of_the_best(model, x))
        assert cosines(*maps).min() > 0.9999
        left = [m for m in folded(model, x).modules() if isinstance(m, BottleneckBlock)]
        assert all(b.conv2.norm is not None and b.conv1.norm is None for b in left)

    @pytest.mark.parametrize("name", RESNETS)
    def test_the_bundled_detectors_are_folded(self, name, stock_detector, demo_image, caplog):
        model, x = explainable(stock_detector(name)), demo_image(1)
        twin = folded(model, x)
        assert batch_norms(model) and not batch_norms(twin) and not caplog.records
        with torch.no_grad():
            clean = model.run([x])
            again = twin.run([x], clean.instances)
            expected, found = (m.outputs(p)[0] for m, p in ((model, clean), (twin, again)))
        assert len(expected) > 1
        for level, features in clean.features.items():
            error = (again.features[level] - features).abs().max() / features.abs().max()
            assert error < 2e-5
        torch.testing.assert_close(found.raw_boxes, expected.raw_boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.class_vectors, expected.class_vectors, atol=1e-4, rtol=0)

    def test_fold_norms_is_a_switch(self, detector, demo_image):
        model, x = explainable(detector), demo_image(1)
        for fold in (True, False):
            runner = with_head(model, "Gradient", FOLD_NORMS=fold).saliency_head.runner(model, x)
            assert (runner is model) is not fold

    @pytest.mark.parametrize("fold", [True, False])
    def test_the_switch_is_for_metrics_too(self, fold, detector, demo_image, monkeypatch):
        model, x, asked = (
            with_head(explainable(detector), "Gradient", FOLD_NORMS=fold),
            demo_image(1),
            [],
        )
        with torch.no_grad():
            found = model([x])[0]["instances"]
        original = type(model).raw_outputs
        monkeypatch.setattr(
            type(model), "raw_outputs", lambda m, xs: asked.append(m) or original(m, xs)
        )
        assert len(ExplainedImage(model, x, found, [None] * len(found)).perturbed.clean_scores)
        assert [m is model for m in asked] == [not fold]


class Inside(nn.Module):
    """Calls the parts of a convolution by itself; ``gate`` lies between them."""

    def __init__(self, conv, gate):
        super().__init__()
        self.conv, self.gate = conv, gate

    def forward(self, x):
        conv = self.conv
        x = F.conv2d(
            x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )
        return self.gate(conv, x)


def through_the_norm(conv, x):
    return conv.norm(x * x.sigmoid())


def past_the_norm(conv, x):
    return x / 10


class TestCheck:
    @pytest.mark.parametrize("as_kind", [explainable, as_generic])
    @pytest.mark.parametrize(
        "gate, trouble",
        [(through_the_norm, "TypeError"), (past_the_norm, "it computes something else")],
    )
    def test_nothing_is_folded_where_the_copy_is_another_function(
        self, as_kind, gate, trouble, detector, demo_image, caplog
    ):
        """The convolution is Detectron2's own. What is done with it is not."""
        block = detector.backbone.bottom_up.res2[0]
        block.conv1 = Inside(block.conv1, gate)
        model, x = with_head(as_kind(detector), "Gradient", SCORE_THRESH=0.0), demo_image(1)
        caplog.clear()
        assert folded(model, x) is model
        maps = maps_of_the_best(model, x)
        (record,) = (r for r in caplog.records if r.name == folding.__name__)
        assert (
            record.levelno == logging.WARNING
            and trouble in record.getMessage()
            and "FOLD_NORMS" in record.getMessage()
        )
        model.saliency_head.fold_norms = False
        assert torch.equal(maps, maps_of_the_best(model, x))

    def test_an_image_that_shows_nothing_decides_nothing(self, detector, demo_image):
        """Of a generic model nothing but its detections is known."""
        block = detector.backbone.bottom_up.res2[0]
        block.conv1 = Inside(block.conv1, past_the_norm)
        model = as_generic(detector)
        predictor = model.roi_heads.box_predictor
        predictor.test_score_thresh = 2.0
        assert folded(model, demo_image(1)) is model and model not in folding._verdicts
        predictor.test_score_thresh = 0.05
        assert folded(model, demo_image(1)) is model and not folding._verdicts[model][1]

    def test_detections_may_come_in_another_order(self):
        rows = torch.rand(20, 6)
        found = rows.flip(0)[:-1] + 1e-6
        assert folding._found_again(rows, found, 1e-3)
        assert not folding._found_again(rows, found + 1e-2, 1e-3)
        assert not folding._found_again(rows, rows[:0], 1e-3)
        assert folding._found_again(rows[:0], rows[:0], 1e-3)

    @pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
    def test_half_precision_rounds_more(self, name, stock_detector, demo_image, monkeypatch):
        """Its detections may be in single precision, and are rounded all the same."""
        nms = torchvision.ops.boxes.nms  # on a CPU it wants scores of the boxes' type
        monkeypatch.setattr(torchvision.ops.boxes, "nms", lambda b, s, iou: nms(b, s.to(b), iou))
        model = explainable(copy.deepcopy(stock_detector(name)).half())
        assert not batch_norms(folded(model, demo_image(1)))

    def test_a_generic_model_is_folded_too(self, detector, demo_image):
        assert not batch_norms(folded(as_generic(detector), demo_image(1)))

    def test_a_model_that_cannot_be_copied_is_explained_all_the_same(
        self, detector, demo_image, caplog
    ):
        model = with_head(explainable(detector), "Gradient")
        expected = maps_of_the_best(model, demo_image(1))
        model.backbone.busy = threading.Lock()
        assert cosines(maps_of_the_best(model, demo_image(1)), expected).min() > 0.9999
        assert (
            "cannot be copied (TypeError" in caplog.text and folded(model, demo_image(1)) is model
        )

    def test_out_of_memory_is_no_verdict(self, detector, demo_image, monkeypatch):
        model = explainable(detector)

        def fail(conv):
            raise RuntimeError("out of memory")

        with monkeypatch.context() as patch:
            patch.setattr(folding, "_fold", fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                folded(model, demo_image(1))
        assert not batch_norms(folded(model, demo_image(1)))

    def test_what_a_hook_raises_is_no_verdict(self, detector, demo_image):
        """The web app's Cancel comes as an exception from the backbone."""
        model, passes = explainable(detector), []

        def stop(module, inputs):
            passes.append(1)
            if len(passes) == 2:  # the copy's
                raise InterruptedError

        handle = model.backbone.register_forward_pre_hook(stop)
        with pytest.raises(InterruptedError):
            folded(model, demo_image(1))
        handle.remove()
        assert not batch_norms(folded(model, demo_image(1)))
