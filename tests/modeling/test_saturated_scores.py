"""Class maps of detections whose score rounds to 1, against double precision."""

import math
from unittest import mock

import pytest
import torch
import torchvision
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from torch.nn import functional as F

from d2_saliency import explainable
from d2_saliency.modeling.feature_windows import FeatureWindow
from d2_saliency.modeling.log_odds import SMALLEST_SLOPE
from d2_saliency.modeling.meta_arch.build import as_generic
from d2_saliency.modeling.saliency_heads import (
    CAM,
    DRISE,
    ODAM,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    LayerCAM,
    SmoothGradCAMPlusPlus,
    SSGradCAM,
)
from d2_saliency.results.flags import detection_flags
from tests.modeling.meta_arch import test_feature_gradients as feature_gradients
from tests.modeling.saturated import detections, scaled, truth

PLANTED = ["faster_rcnn", "cascade_rcnn", "faster_rcnn_c4", "retinanet", "fcos"]
NMS = torchvision.ops.boxes.nms


def passed(name, factor, crop=False, dtype=torch.float32):
    """The scaled model, explainable, and its pass with the detections."""
    image, found = detections(name, crop)
    model = explainable(scaled(name, factor).to(dtype))
    with torch.no_grad():
        return model, model.run([{"image": image}], [found[:]])


def explain(model, clean, head):
    """The whole maps of the class, (N, H, W)."""
    with torch.enable_grad():
        maps = head(model, {"image": clean.images[0]}, clean)["pred_saliency"]
    height, width = clean.images[0].shape[-2:]
    peaks = maps.peaks[:, 0]
    for m, peak in zip(maps.maps, peaks):
        m[0] /= peak  # resized at a size that single precision has, too
    return maps.resize(height, width)[:, 0].double(), peaks.double()


def cosine(a, b):
    """Of two maps, of any scale."""
    a, b = (m.detach() / m.detach().max() for m in (a, b))
    return float((a * b).sum() / a.norm() / b.norm())


@pytest.mark.parametrize("factor", [2, 5, 20, 100])
@pytest.mark.parametrize("name", PLANTED)
def test_gradients_to_pixels(name, factor):
    ours, peaks = explain(*passed(name, factor), Gradient())
    scores = torch.tensor([p for p, *_ in truth(name, factor)])
    assert factor < 20 or scores.max() == 1.0
    for m, peak, (_, exponent, pixels, _) in zip(ours, peaks, truth(name, factor)):
        expected = pixels.abs().amax(0)
        assert cosine(m, expected) >= 0.9999
        if exponent > math.log2(SMALLEST_SLOPE):
            assert float(peak) == pytest.approx(float(expected.max()) * 2.0**exponent, rel=1e-2)


@pytest.mark.parametrize("factor", [5, 100])
@pytest.mark.parametrize("name", PLANTED)
def test_cams(name, factor):
    """The same equations with the true gradients on whole levels in place of ours."""
    model, clean = passed(name, factor)
    windows = [
        [
            FeatureWindow(level, 0, 0, F.pad(g, (0, 0) * 3 + (0, 4)))
            for level, g in levels.items()
            if g.any()
        ]
        for *_, levels in truth(name, factor)
    ]
    for head in (ODAM(), GradCAM(), SSGradCAM(), LayerCAM()):
        ours, peaks = explain(model, clean, head)
        with mock.patch.object(model, "feature_gradients", lambda *args: [iter(windows)]):
            expected, expected_peaks = explain(model, clean, head)
        for i, (_, exponent, *_) in enumerate(truth(name, factor)):
            assert cosine(ours[i], expected[i]) >= 0.9999, (head, i)
            if exponent > math.log2(SMALLEST_SLOPE):
                assert float(peaks[i]) == pytest.approx(
                    float(expected_peaks[i]) * 2.0**exponent, rel=1e-2
                )


@pytest.mark.parametrize("factor", [5, 100])
def test_cam_of_a_c4_model(factor):
    """With the weights of z_c less the mean of those of other logits, weighed by probability."""
    name = "faster_rcnn_c4"
    model, clean = passed(name, factor)
    outputs = []
    model.roi_heads.res5.register_forward_hook(lambda m, i, y: outputs.append(y.detach().double()))
    with torch.enable_grad():
        maps = CAM()(model, {"image": clean.images[0]}, clean)["pred_saliency"].maps
    layer = model.roi_heads.box_predictor.cls_score.double()
    for m, a, c in zip(maps, outputs[0], clean.instances[0].pred_classes.tolist()):
        others = layer(a.mean((1, 2))).index_fill(0, torch.tensor(c), -math.inf).softmax(0)
        weights = layer.weight[c] - others @ layer.weight
        expected = torch.einsum("k,khw->hw", weights, a).relu()
        assert expected.max() > 0 and cosine(m[0].double(), expected) >= 0.9999


@pytest.mark.parametrize("factor", [5, 20, 100])
def test_powers_that_underflow(factor):
    """Without noise, Smooth Grad-CAM++ is Grad-CAM++, which takes no powers."""
    model, clean = passed("faster_rcnn", factor)
    ours, peaks = explain(model, clean, SmoothGradCAMPlusPlus(num_samples=0))
    expected, expected_peaks = explain(model, clean, GradCAMPlusPlus())
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(peaks, expected_peaks, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "name, dtype, least",
    [
        ("faster_rcnn", torch.float16, 0.98),
        ("retinanet", torch.bfloat16, 0.9),
    ],
)
def test_half_precision(monkeypatch, name, dtype, least):
    """
    As far from the truth as rounded weights and features lead, those of unsaturated detections,
    too.
    """
    # On a CPU, torchvision refuses NMS of boxes and scores of different types; on a GPU it does
    # not.
    monkeypatch.setattr(torchvision.ops.boxes, "nms", lambda b, s, iou: NMS(b, s.to(b), iou))
    for factor in (1, 5):
        ours, _ = explain(*passed(name, factor, crop=True, dtype=dtype), Gradient())
        for m, (_, _, pixels, _) in zip(ours, truth(name, factor, crop=True)):
            assert cosine(m, pixels.abs().amax(0)) >= least, factor


class TestOtherPredictors:
    """Box predictors that make probabilities in another way than by softmax."""

    class Sigmoid(FastRCNNOutputLayers):
        def predict_probs(self, predictions, proposals):
            return predictions[0].sigmoid().split([len(p) for p in proposals])

    def check(self, stock):
        """Against autograd of the stock model."""
        model, image = explainable(stock), torch.rand(3, 64, 96) * 255
        with torch.no_grad():
            clean = model.run([{"image": image}])
            features = stock.backbone(stock.preprocess_image([{"image": image}]).tensor)
        clean.instances = [clean.instances[0][clean.instances[0].pred_boxes.nonempty()][:2]]
        found, leaves = feature_gradients.stock_detections(stock, image, features)
        (per_detection,) = model.feature_gradients(clean, "score")
        for i, windows in enumerate(per_detection):
            expected = feature_gradients.stock_gradients(found, leaves, clean.instances[0][i])
            largest = max(g[0].abs().max() for g in expected.values())
            assert largest > 0
            for w in windows:
                h, width = w.gradient.shape[-2:]
                theirs = expected[w.level][0, :, w.top : w.top + h, w.left : w.left + width]
                assert (w.gradient[0] - theirs).abs().max() <= 1e-4 * largest
        assert i == 1

    def test_one_of_the_users_own(self):
        stock = feature_gradients.random_model("FPN")
        stock.roi_heads.box_predictor.__class__ = self.Sigmoid
        self.check(stock)

    def test_the_sigmoid_of_detectron2_main(self, monkeypatch):
        """It looks at ``use_sigmoid_ce`` in the stock method."""
        stock = feature_gradients.random_model("FPN")
        stock.roi_heads.box_predictor.use_sigmoid_ce = True
        monkeypatch.setattr(FastRCNNOutputLayers, "predict_probs", self.Sigmoid.predict_probs)
        self.check(stock)
        stock.roi_heads.box_predictor.cls_score.bias.data += 40
        model = explainable(stock)
        with torch.no_grad():
            clean = model.run([{"image": torch.rand(3, 64, 96) * 255}])
        clean.instances = [clean.instances[0][:1]]
        assert clean.instances[0].scores[0] == 1.0
        (((window, *_),),) = model.feature_gradients(clean, "score")
        assert 0 < window.gradient[0].abs().max() < 1e-10


def test_a_model_that_reveals_only_scores_says_that_it_lost_their_gradient(demo_image):
    """Nothing can be done for it; but a detector whose logits are known is not flagged."""

    def flags(model, head):
        model.saliency_head = head
        with torch.no_grad():
            found = model([demo_image(1)])[0]["instances"]
        found = found[found.pred_saliency.explained]
        return float(found.scores.min()), [
            note for notes in detection_flags(found) for note in notes
        ]

    note = "score rounds to 1: its gradient is lost, do not trust the class map"
    for factor, expected in ((1, False), (20, True)):
        least, found = flags(as_generic(scaled("retinanet", factor)), Gradient(max_instances=1))
        assert (least == 1.0) == expected and (note in found) == expected
    assert flags(explainable(scaled("retinanet", 20)), Gradient(max_instances=1)) == (1.0, [])
    black_box = DRISE(max_instances=1, num_masks=2)
    assert note not in flags(as_generic(scaled("retinanet", 20)), black_box)[1]
