"""Maps from running sums, against literal loops over occlusions and pixels."""

import math
from operator import add

import pytest
import torch

from d2_saliency.modeling.saliency_heads.d_rise.estimators import (
    OcclusionSums,
    mean_map,
    reliability,
    slope_map,
)


def drawn(num, seed, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    occlusions = torch.rand(num, 3, 4, generator=generator)
    return occlusions, torch.rand(num, 2, 5, generator=generator) + offset


def sums_of(occlusions, weights):
    return OcclusionSums.zeros(weights.shape[1], occlusions.shape[-2:]).add(occlusions, weights)


def test_sums_in_parts_are_the_sums_of_all():
    occlusions, weights = drawn(7, 0)
    whole = sums_of(occlusions, weights)
    one_by_one = OcclusionSums.zeros(2, (3, 4))
    for m in range(7):
        one_by_one.add(occlusions[m : m + 1], weights[m : m + 1])
    halves = (sums_of(occlusions[m], weights[m]) for m in (slice(3), slice(3, 7)))
    for parts in (add(*halves), one_by_one):
        assert parts.num == whole.num == 7
        for name in ("w", "ww", "m", "mm", "wm"):
            torch.testing.assert_close(getattr(parts, name), getattr(whole, name))


def test_mean_map_is_the_mean_weight_of_the_masks_that_show_a_pixel():
    occlusions, weights = drawn(9, 1)
    got = mean_map([sums_of(occlusions, weights)])
    for t in range(2):
        for o in range(5):
            for y in range(3):
                for x in range(4):
                    shown = sum(occlusions[m, y, x].item() for m in range(9))
                    expected = (
                        sum(occlusions[m, y, x].item() * weights[m, t, o].item() for m in range(9))
                        / shown
                    )
                    assert got[t, o, y, x].item() == pytest.approx(expected, rel=1e-5)


def test_mean_map_of_a_pixel_that_no_mask_shows_is_zero():
    occlusions, weights = torch.zeros(3, 2, 2), torch.rand(3, 1, 5)
    assert mean_map([sums_of(occlusions, weights)]).abs().max() == 0


def test_slope_map_is_the_regression_within_grid_sizes_less_its_standard_error():
    """
    One size's weights are far above the other's: that must not count as an influence of any pixel.
    """
    groups = [drawn(20, 2), drawn(15, 3, offset=10.0)]
    got = slope_map([sums_of(*group) for group in groups])
    positive = 0
    for t in range(2):
        for o in range(5):
            for y in range(3):
                for x in range(4):
                    above = below = spread = 0.0
                    for occlusions, weights in groups:
                        m, w = occlusions[:, y, x].tolist(), weights[:, t, o].tolist()
                        m_mean, w_mean = sum(m) / len(m), sum(w) / len(w)
                        above += sum((b - w_mean) * (a - m_mean) for a, b in zip(m, w))
                        below += sum((a - m_mean) ** 2 for a in m)
                        spread += sum((b - w_mean) ** 2 for b in w)
                    expected = max(0.0, above / below - math.sqrt(spread / 35 / below))
                    positive += expected > 0
                    assert got[t, o, y, x].item() == pytest.approx(expected, abs=1e-4)
    assert 0 < positive < 120  # both sides of the ReLU are tested


def test_slope_map_finds_the_pixel_that_decides():
    occlusions, _ = drawn(200, 4)
    weights = (0.2 + 0.5 * occlusions[:, 1, 2])[:, None, None].expand(-1, 1, 5)
    m = slope_map([sums_of(occlusions, weights)])[0, 0]
    assert m.argmax() == 1 * 4 + 2 and m[1, 2].item() == pytest.approx(0.5, abs=0.05)
    assert m.sum() - m[1, 2] < 0.2 * m[1, 2]


def test_weights_that_never_change_make_a_map_of_zeros():
    occlusions, _ = drawn(30, 5)
    m = slope_map([sums_of(occlusions, torch.full((30, 1, 5), 0.7))])
    assert m.isfinite().all() and m.max() < 1e-3


def test_reliability_is_spearman_brown_of_the_correlation():
    generator = torch.Generator().manual_seed(6)
    first, second = torch.rand(2, 1, 5, 6, 7, generator=generator)
    second = first + 0.5 * second
    expected = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        for a, b in zip(first[0], second[0])
    ]
    expected = torch.stack([2 * r / (1 + r) for r in expected])
    torch.testing.assert_close(reliability(first, second)[0], expected)
    assert reliability(first, first).min().item() == pytest.approx(1)
    assert (
        reliability(torch.zeros(1, 5, 2, 2), torch.zeros(1, 5, 2, 2)).abs().max() == 0
    )  # nothing is known
