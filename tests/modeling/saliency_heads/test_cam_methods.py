"""
Each CAM equation against nested loops, on a whole level whose gradient is zero outside of a window.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from d2_saliency import SALIENCY_HEAD_REGISTRY
from d2_saliency.modeling.saliency_heads import (
    ODAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    SSGradCAM,
    SSGradCAMPlusPlus,
)
from d2_saliency.modeling.saliency_heads.cam_head import CAMHead
from d2_saliency.modeling.saliency_heads.evidence import Evidence
from d2_saliency.modeling.saliency_heads.grad_cam_plusplus import grad_cam_plusplus_weights
from d2_saliency.modeling.saliency_heads.smoothing import SmoothingCAMHead

C, H, W = 3, 6, 7
TOP, LEFT, h, w = 1, 2, 4, 3


def evidence(seed=0):
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(C, H, W, generator=generator)
    gradient = torch.randn(2, C, h, w, generator=generator)
    region = torch.zeros(H, W)
    region[2:5, 1:4] = 1
    return Evidence(activations, activations.sum((1, 2)), gradient, TOP, LEFT, region)


def whole(e, m):
    """A method's map on the whole level, (T, H, W)."""
    if m.shape[-2:] == (H, W):
        return m
    level = torch.zeros(len(m), H, W)
    level[:, e.top : e.top + m.shape[-2], e.left : e.left + m.shape[-1]] = m
    return level


def whole_gradient(e):
    g = torch.zeros(len(e.gradient), C, H, W)
    g[..., e.top : e.top + h, e.left : e.left + w] = e.gradient
    return g


def cells():
    return [(i, j) for i in range(H) for j in range(W)]


def loop_weights_mean(g):
    return [sum(float(g[k, i, j]) for i, j in cells()) / (H * W) for k in range(C)]


def loop_weights_plusplus(g, a, m=None, within_m=False):
    """sum_ij alpha relu(g), alpha = g^2 / (2 g^2 M + sum_ab A_ab M_ab g^3), 0 where the denominator
    is not positive in units of g^2."""
    weights = []
    for k in range(C):
        total = sum(float(a[k, i, j]) * (1.0 if m is None else float(m[i, j])) for i, j in cells())
        weight = 0.0
        for i, j in cells():
            g_ij = float(g[k, i, j])
            if g_ij == 0 or (within_m and m[i, j] == 0):
                continue
            denominator = 2 * g_ij**2 + total * g_ij**3
            alpha = g_ij**2 / denominator if denominator > 1e-6 * g_ij**2 else 0.0
            weight += alpha * max(g_ij, 0.0)
        weights.append(weight)
    return weights


def loop_gaussian(m, sigma=1.0):
    """
    Gaussian over cells, zeros beyond the border of the level, cut at 3 sigma, of sum 1 on an open
    plane.
    """
    r = math.ceil(3 * sigma)
    kernel = {
        (y, x): math.exp(-(y * y + x * x) / (2 * sigma**2))
        for y in range(-r, r + 1)
        for x in range(-r, r + 1)
    }
    norm = sum(kernel.values())
    out = torch.zeros(H, W)
    for i, j in cells():
        for (y, x), value in kernel.items():
            if 0 <= i + y < H and 0 <= j + x < W:
                out[i, j] += value / norm * m[i + y, j + x]
    return out


def loop_space_map(g_k, sigma):
    s = loop_gaussian(g_k.abs(), sigma) if sigma else g_k.abs()
    return s / s.max() if s.max() > 0 else s


def expected_map(method, g, a, m, sigma):
    """The map before its ReLU, for one target: g (C, H, W)."""
    out = torch.zeros(H, W)
    for k in range(C):
        if method is GradCAM:
            term = loop_weights_mean(g)[k] * a[k]
        elif method is GradCAMPlusPlus:
            term = loop_weights_plusplus(g, a)[k] * a[k]
        elif method is SSGradCAM:
            term = loop_weights_mean(g)[k] * a[k] * loop_space_map(g[k], sigma)
        elif method is SSGradCAMPlusPlus:
            term = (
                loop_weights_plusplus(g, a, m, within_m=True)[k]
                * a[k]
                * loop_space_map(g[k], sigma)
            )
        elif method is ODAM:
            term = (loop_gaussian(g[k], sigma) if sigma else g[k]) * a[k]
        elif method is HiResCAM:
            term = g[k] * a[k]
        elif method is LayerCAM:
            term = g[k].clamp(min=0) * a[k]
        out += term
    return out


METHODS = [GradCAM, GradCAMPlusPlus, SSGradCAM, SSGradCAMPlusPlus, ODAM, HiResCAM, LayerCAM]


@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_equals_loops_over_the_equation(method, sigma):
    e = evidence()
    # In the head, windows of methods that smooth have room for the Gaussian: here, the whole level.
    g = whole_gradient(e)
    smooths = issubclass(method, SmoothingCAMHead)
    head = method(smooth_sigma=sigma) if smooths else method()
    if smooths:
        e = Evidence(e.activations, e.total, g, 0, 0, e.region)
    ours = whole(e, head.combine(e))
    for t in range(2):
        expected = expected_map(method, g[t], e.activations, e.region, sigma)
        torch.testing.assert_close(ours[t], expected, rtol=1e-4, atol=1e-5)


class TestOdd:
    """Both directions of a coordinate come from one evaluation only where a method is odd."""

    CAM_HEADS = [name for name, head in SALIENCY_HEAD_REGISTRY if issubclass(head, CAMHead)]

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", CAM_HEADS)
    def test_every_registered_method_says_the_truth(self, name, seed):
        head, e = SALIENCY_HEAD_REGISTRY.get(name)(), evidence(seed)

        def combined(gradient):
            powers = torch.cat([gradient**k for k in range(1, head.moments + 1)])
            return head.combine(replace(e, gradient=powers))

        plus, minus = combined(e.gradient), combined(-e.gradient)
        if head.odd:
            assert plus.abs().max() > 1e-3  # zero maps are odd, too
            torch.testing.assert_close(minus, -plus)
        else:
            assert (minus + plus).abs().max() > 1e-3

    def test_a_method_that_does_not_say_it_is_refused(self):
        with pytest.raises(TypeError, match="^Mine writes combine.*odd = True.*odd = False"):
            type("Mine", (CAMHead,), {"combine": LayerCAM.combine})

    def test_a_new_equation_does_not_inherit_it(self):
        with pytest.raises(TypeError, match="^Mine writes combine"):
            type("Mine", (HiResCAM,), {"combine": LayerCAM.combine})

    def test_the_same_equation_inherits_it(self):
        assert type("Mine", (HiResCAM,), {})().odd is True


class TestGradCAMPlusPlusByHand:
    """
    A = 1 on 2 x 2 and g = c = 0.5 everywhere: alpha = 1 / (2 + 4 c) = 0.25, w = 4 c alpha = 0.5.
    """

    gradient = torch.full((1, 1, 2, 2), 0.5)

    def test_constant_gradient(self):
        assert grad_cam_plusplus_weights(
            self.gradient, torch.tensor([4.0])
        ).item() == pytest.approx(0.5)

    def test_region_of_one_pixel(self):
        # alpha = 0.25 / (0.5 + 1 * 0.125) = 0.4, w = 0.4 * 0.5 = 0.2
        region = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        weights = grad_cam_plusplus_weights(self.gradient, torch.tensor([1.0]), region)
        assert weights.item() == pytest.approx(0.2)

    def test_total_times_cube_not_sum_of_products(self):
        # A = (1, 3), g = (1, 2): S = 4. Right: 1/(2+4) + 2/(2+8) = 0.3667; with sum A g^3 = 25
        # instead: 1/(2+25) + 8/(8+25) = 0.2795.
        gradient = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
        assert grad_cam_plusplus_weights(gradient, torch.tensor([4.0])).item() == pytest.approx(
            1 / 6 + 2 / 10
        )


class TestCoordinateSign:
    def test_both_is_the_larger_of_the_two(self):
        for method in METHODS:
            e = evidence()
            e.gradient = torch.cat([e.gradient, e.gradient, e.gradient])[:5]
            maps = {}
            for sign in ("both", "positive", "negative"):
                fresh = Evidence(e.activations, e.total, e.gradient.clone(), TOP, LEFT, e.region)
                maps[sign] = method(coord_sign=sign)._signed_map(fresh)
            torch.testing.assert_close(
                maps["both"][1:], torch.maximum(maps["positive"], maps["negative"])[1:]
            )
            torch.testing.assert_close(maps["both"][0], maps["positive"][0])
            assert (maps["positive"] != maps["negative"]).any()

    def test_inward_makes_the_box_smaller(self):
        """
        One cell whose activation moves every side of the box to the right, or down: that is inward
        for two sides.
        """
        for gradient, expected in ((2.0, [0, 6, 6, 0, 0]), (-2.0, [0, 0, 0, 6, 6])):
            g = torch.full((5, 1, 1, 1), gradient)
            g[0] = -1
            e = Evidence(torch.full((1, 1, 1), 3.0), torch.tensor([3.0]), g, 0, 0, torch.ones(1, 1))
            assert HiResCAM(coord_sign="inward")._signed_map(e).flatten().tolist() == expected

    def test_unknown(self):
        with pytest.raises(ValueError, match="COORD_SIGN is 'up'.*both"):
            GradCAM(coord_sign="up")


def test_smoothing_keeps_the_sum_inside_and_equals_a_full_kernel():
    m = torch.rand(2, 15, 15)
    m[:, :4] = m[:, -4:] = m[:, :, :4] = m[:, :, -4:] = 0
    smooth = ODAM(smooth_sigma=1.2).smooth(m)
    assert smooth.sum().item() == pytest.approx(m.sum().item(), rel=1e-5)
    x = torch.arange(-4, 5).float()
    kernel = torch.exp(-0.5 * (x[:, None] ** 2 + x[None] ** 2) / 1.2**2)
    expected = F.conv2d(m[:, None], (kernel / kernel.sum())[None, None], padding=4)[:, 0]
    torch.testing.assert_close(smooth, expected)
