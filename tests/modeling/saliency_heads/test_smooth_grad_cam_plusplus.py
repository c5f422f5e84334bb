import pytest
import torch

from d2_saliency import explainable
from d2_saliency.modeling.noise import gaussian_noise
from d2_saliency.modeling.saliency_heads import GradCAMPlusPlus, SmoothGradCAMPlusPlus
from d2_saliency.modeling.saliency_heads.cam_head import Evidence
from d2_saliency.testing import ToyDetector


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
                    alpha = (two if numerator == "D2" else one) / denominator if denominator > 1e-6 * two else 0.0
                    weight += alpha * max(one, 0.0)
            expected += weight * a[k]
        torch.testing.assert_close(ours[t], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
def test_without_noise_it_is_grad_cam_plusplus(stock_detector, demo_image, name):
    model = explainable(stock_detector(name))
    peaks = []
    for head in (SmoothGradCAMPlusPlus(num_samples=0, max_instances=2), GradCAMPlusPlus(max_instances=2)):
        model.saliency_head = head
        with torch.no_grad():
            peaks.append(model([demo_image(1)])[0]["instances"].pred_saliency)
    for ours, expected in zip(peaks[0].maps, peaks[1].maps):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


def test_moments_are_means_over_noisy_images():
    """The toy's score has the gradient p (1 - p) w, so its moments over noise are those of p (1 - p)."""
    toy = ToyDetector.random()
    model = explainable(toy)
    head = SmoothGradCAMPlusPlus(layer="features", num_samples=5, sigma=0.2, score_thresh=0.0)
    image = torch.rand(3, 24, 32) * 255
    with torch.no_grad():
        clean = model.run([{"image": image}])
    with torch.enable_grad():
        _, windows, fields = head.feature_windows(model, {"image": image}, clean)
    noise = list(gaussian_noise(image, 5, 0.2, head.seed))
    for i, c in enumerate(clean.instances[0].pred_classes.tolist()):
        assert fields["num_matched"][i] == 5
        w = toy.class_weights[c].detach()
        p = torch.stack([(w * (image + n)).sum().sigmoid() for n in noise])
        (part,) = windows[i]
        for power, moment in enumerate(part.gradient.chunk(3), start=1):
            expected = ((p * (1 - p)) ** power).mean() * w**power
            torch.testing.assert_close(moment[0], expected, rtol=1e-3, atol=1e-8 * float(w.abs().max()) ** (power - 1))


def test_unknown_numerator():
    with pytest.raises(ValueError, match="NUMERATOR is 'D4'"):
        SmoothGradCAMPlusPlus(numerator="D4")
