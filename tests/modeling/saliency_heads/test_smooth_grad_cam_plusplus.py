"""
Smooth Grad-CAM++ against loops over its equations, its moments over noise, and detections that
noise loses.
"""

from unittest import mock

import pytest
import torch

from d2_saliency import explainable
from d2_saliency.modeling.noise import gaussian_noise
from d2_saliency.modeling.saliency_heads import GradCAMPlusPlus, SmoothGradCAMPlusPlus
from d2_saliency.modeling.saliency_heads.cam_head import CAMHead
from d2_saliency.modeling.saliency_heads.evidence import Evidence
from d2_saliency.testing import ToyDetector
from tests.modeling.meta_arch.test_feature_gradients import random_model


@pytest.mark.parametrize("numerator", ["D2", "D1"])
def test_equals_loops_over_the_equations(numerator):
    a = torch.randn(3, 4, 5)
    passes = torch.randn(6, 2, 3, 4, 5)  # n, T, C, h, w
    d1, d2, d3 = passes.mean(0), (passes**2).mean(0), (passes**3).mean(0)
    head = SmoothGradCAMPlusPlus(numerator=numerator)
    ours = head.combine(Evidence(a, a.sum((1, 2)), torch.cat([d1, d2, d3]), 0, 0, torch.ones(4, 5)))
    for t in range(2):
        expected = torch.zeros(4, 5)
        for k in range(3):
            weight = 0.0
            for i in range(4):
                for j in range(5):
                    one, two, three = (float(d[t, k, i, j]) for d in (d1, d2, d3))
                    denominator = 2 * two + float(a[k].sum()) * three
                    alpha = (
                        (two if numerator == "D2" else one) / denominator
                        if denominator > 1e-6 * two
                        else 0.0
                    )
                    weight += alpha * max(one, 0.0)
            expected += weight * a[k]
        torch.testing.assert_close(ours[t], expected, rtol=1e-3, atol=1e-4)


def explain(model, head, image):
    model.saliency_head = head
    with torch.no_grad():
        return model([{"image": image}])[0]["instances"]


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
def test_without_noise_it_is_grad_cam_plusplus(stock_detector, demo_image, name):
    model = explainable(stock_detector(name))
    image = demo_image(1)["image"]
    heads = (
        SmoothGradCAMPlusPlus(num_samples=0, max_instances=2),
        GradCAMPlusPlus(max_instances=2),
    )
    ours, expected = (explain(model, head, image).pred_saliency.maps for head in heads)
    for a, b in zip(ours, expected):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_powers_are_of_the_sum_of_all_stages_of_cascade():
    model = explainable(random_model("Cascade"))
    options = dict(class_target="logit", score_thresh=-1.0, max_instances=3)
    heads = (SmoothGradCAMPlusPlus(num_samples=0, **options), GradCAMPlusPlus(**options))
    image = torch.rand(3, 128, 160) * 255
    ours, expected = (explain(model, head, image).pred_saliency for head in heads)
    for i in expected.explained.nonzero()[:, 0].tolist():
        torch.testing.assert_close(
            ours.maps[i], expected.maps[i], rtol=1e-3, atol=1e-3 * float(expected.maps[i].max())
        )


def test_moments_are_means_over_noisy_images():
    """
    The toy's score has the gradient p (1 - p) w, so its moments over noise are those of p (1 - p).
    """
    toy = ToyDetector.random()
    model = explainable(toy)
    head = SmoothGradCAMPlusPlus(layer="features", num_samples=5, sigma=0.2, score_thresh=0.0)
    image = torch.rand(3, 24, 32) * 255
    with torch.no_grad():
        clean = model.run([{"image": image}])
    with torch.enable_grad():
        _, windows, fields = head.feature_windows(model, {"image": image}, clean)
        windows = list(windows)
    noise = list(gaussian_noise(image, 5, 0.2, head.seed))
    for i, c in enumerate(clean.instances[0].pred_classes.tolist()):
        assert fields["num_matched"][i] == fields["num_samples"][i] == 5
        w = toy.class_weights[c].detach()
        p = torch.stack([(w * (image + n)).sum().sigmoid() for n in noise])
        (part,) = windows[i]
        for power, moment in enumerate(part.gradient.chunk(3), start=1):
            expected = ((p * (1 - p)) ** power).mean() * w**power
            torch.testing.assert_close(
                moment[0], expected, rtol=1e-3, atol=1e-8 * float(w.abs().max()) ** (power - 1)
            )


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
def test_moments_on_feature_levels(stock_detector, demo_image, name):
    """Against one noise pass after the other, with gradients on whole levels."""
    model = explainable(stock_detector(name))
    head = SmoothGradCAMPlusPlus(num_samples=2, match="index")
    image = demo_image(1)["image"]

    def on_levels(parts, num_maps):
        levels = {name: torch.zeros(num_maps, *f.shape[1:]) for name, f in clean.features.items()}
        for p in parts:
            h, w = p.gradient.shape[-2:]
            levels[p.level][..., p.top : p.top + h, p.left : p.left + w] += p.gradient
        return levels

    with torch.no_grad():
        clean = model.run([{"image": image}])
        clean = clean.select(0, torch.tensor([0]))
        noisy = [
            model.run([{"image": image + n}], clean.instances)
            for n in gaussian_noise(image, 2, 0.05, head.seed)
        ]
    with torch.enable_grad():
        (ours,) = head.feature_windows(model, {"image": image}, clean)[1]
        passes = [on_levels(next(model.feature_gradients(p, "score")[0]), 5) for p in noisy]
    ours = on_levels(ours, 15)
    for level in ours:
        for power, moment in enumerate(ours[level].chunk(3), start=1):
            expected = sum(p[level] ** power for p in passes) / 2
            torch.testing.assert_close(
                moment, expected, rtol=0, atol=1e-3 * max(1e-30, float(expected.abs().max()))
            )


def test_noise_passes_keep_no_graph_that_nobody_needs(stock_detector, demo_image):
    model = explainable(stock_detector("faster_rcnn_planted"))
    model.saliency_head = SmoothGradCAMPlusPlus(num_samples=1, max_instances=1)
    with (
        mock.patch.object(model, "feature_gradients", side_effect=model.feature_gradients) as asked,
        torch.no_grad(),
    ):
        model([demo_image(1)])
    assert asked.call_count >= 1
    assert not any(
        f.requires_grad for call in asked.call_args_list for f in call.args[0].features.values()
    )


class Forgetful(ToyDetector):
    """Detects class 0 only in images that are zero in the corner, as noise never is."""

    def _detect(self, image):
        found = super()._detect(image)
        return found if image[:, 0, 0].abs().max() == 0 else found[found.pred_classes != 0]


@pytest.mark.parametrize("kind, lost", [(ToyDetector, 0), (Forgetful, 1)])
def test_clean_gradients_take_the_place_of_detections_that_noise_loses(kind, lost):
    toy = ToyDetector.random()
    model, stable = (
        explainable(k(toy.anchors, toy.class_weights.data, toy.box_weights.data))
        for k in (kind, ToyDetector)
    )
    model.eval(), stable.eval()
    image = torch.rand(3, 24, 32) * 255
    image[:, 0, 0] = 0
    options = dict(layer="features", score_thresh=0.0)
    smooth = SmoothGradCAMPlusPlus(num_samples=3, sigma=0.2, **options)
    with mock.patch.object(
        CAMHead, "feature_windows", autospec=True, side_effect=CAMHead.feature_windows
    ) as asked:
        found = explain(model, smooth, image)
    assert [len(call.args[3].instances[0]) for call in asked.call_args_list] == [
        lost
    ]  # and for no other
    clean, noisy = (
        explain(stable, GradCAMPlusPlus(**options), image),
        explain(stable, smooth, image),
    )
    for i, c in enumerate(found.pred_classes.tolist()):
        is_lost = lost and c == 0
        assert found.num_matched[i] == (0 if is_lost else 3)
        expected, other = (clean, noisy) if is_lost else (noisy, clean)
        torch.testing.assert_close(
            found.pred_saliency.maps[i], expected.pred_saliency.maps[i], rtol=1e-3, atol=1e-6
        )
        assert (expected.pred_saliency.maps[i] - other.pred_saliency.maps[i]).abs().max() > 1e-4


def test_unknown_numerator():
    with pytest.raises(ValueError, match="NUMERATOR is 'D4'"):
        SmoothGradCAMPlusPlus(numerator="D4")
