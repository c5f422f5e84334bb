"""Log-odds and their derivatives against hand-worked values and double precision."""

import math

import pytest
import torch

from d2_saliency.modeling.log_odds import (
    SMALLEST_SLOPE,
    at_least_single,
    geometric_mean_log_odds,
    log_odds_of,
    mean_log_odds,
    score_slope,
    softmax_log_odds,
)


def derivatives(function, *values):
    """The sum of what the function says of float32 values, and its derivatives."""
    leaves = [torch.tensor(v).requires_grad_() for v in values]
    y = function(*leaves)
    return y.detach(), [g.tolist() for g in torch.autograd.grad(y.sum(), leaves)]


class TestSoftmax:
    def test_a_sure_class_by_hand(self):
        """l = z_0 - log(e^0 + e^0), although softmax is 1 in single precision."""
        logits = torch.tensor([[100.0, 0.0, 0.0]])
        assert logits.softmax(1)[0, 0] == 1
        found, (gradient,) = derivatives(lambda z: softmax_log_odds(z)[:, 0], logits.tolist())
        assert found.item() == pytest.approx(100 - math.log(2), rel=1e-6)
        assert gradient == [pytest.approx([1.0, -0.5, -0.5], rel=1e-6)]

    def test_an_impossible_class_by_hand(self):
        found, (gradient,) = derivatives(lambda z: softmax_log_odds(z)[:, 1], [[100.0, 0.0, 0.0]])
        assert found.item() == pytest.approx(-100, rel=1e-6)
        assert gradient == [pytest.approx([-1.0, 1.0, 0.0], abs=1e-6)]

    @pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
    def test_all_classes_in_double_precision(self, spread):
        logits = torch.randn(50, 7) * spread
        p = logits.double().softmax(1)
        expected = (p / (1 - p)).log()
        torch.testing.assert_close(
            softmax_log_odds(logits).double(), expected, rtol=1e-5, atol=1e-5
        )

    def test_two_equal_classes(self):
        found, (gradient,) = derivatives(lambda z: softmax_log_odds(z)[:, 1], [[30.0, 30.0]])
        assert found.item() == 0 and gradient == [[-1.0, 1.0]]

    def test_no_rows(self):
        assert softmax_log_odds(torch.zeros(0, 4)).shape == (0, 4)


class TestMeanOfStages:
    def test_in_double_precision(self):
        log_odds = torch.randn(3, 40) * 3
        p = log_odds.double().sigmoid().mean(0)
        torch.testing.assert_close(
            mean_log_odds(log_odds).double(), (p / (1 - p)).log(), rtol=1e-5, atol=1e-5
        )

    def test_the_least_sure_stage_decides(self):
        """
        1 - p = mean(1 - p_k) is that of the stage at 60, divided by 2; d log(1 - p) is of that
        stage alone.
        """
        found, (gradient,) = derivatives(mean_log_odds, [[60.0], [90.0]])
        assert found.item() == pytest.approx(60 + math.log(2), rel=1e-6)
        assert gradient == [[pytest.approx(1.0)], [pytest.approx(math.exp(-30), rel=1e-4)]]

    def test_one_stage_is_itself(self):
        log_odds = torch.tensor([[-200.0, -3.0, 0.0, 50.0, 400.0]])
        torch.testing.assert_close(mean_log_odds(log_odds), log_odds[0])


class TestGeometricMean:
    def test_in_double_precision(self):
        a, b = torch.randn(2, 40) * 3
        s = (a.double().sigmoid() * b.double().sigmoid()).sqrt()
        found = geometric_mean_log_odds(a, b).double()
        torch.testing.assert_close(found, (s / (1 - s)).log(), rtol=1e-5, atol=1e-5)

    def test_two_sure_factors_by_hand(self):
        """1 - s = (e^-60 + e^-60) / 2, to which both contribute alike."""
        found, gradients = derivatives(geometric_mean_log_odds, 60.0, 60.0)
        assert found.item() == pytest.approx(60, rel=1e-6) and gradients == pytest.approx(
            [0.5, 0.5]
        )

    def test_one_sure_factor(self):
        """s = sqrt(q): ds = s (1 - q) / 2 db, so dl = (1 - q) / 2 / (1 - s) db."""
        q = 1 / (1 + math.exp(-1.0))
        found, gradients = derivatives(geometric_mean_log_odds, 200.0, 1.0)
        s = math.sqrt(q)
        assert found.item() == pytest.approx(math.log(s / (1 - s)), rel=1e-5)
        assert gradients == pytest.approx([0, (1 - q) / 2 / (1 - s)], rel=1e-5)


class TestProbabilities:
    def test_derivative(self):
        found, (gradient,) = derivatives(log_odds_of, [0.8, 1e-30])
        assert found.tolist() == pytest.approx([math.log(4), -30 * math.log(10)], rel=1e-6)
        assert gradient == pytest.approx([1 / 0.8 / 0.2, 1e30], rel=1e-5)

    def test_nothing_is_made_up_where_they_round(self):
        found, (gradient,) = derivatives(log_odds_of, [0.0, 1.0])
        assert found.isfinite().all() and gradient == [0, 0]


def test_slope():
    slopes = score_slope(torch.tensor([0.0, 2.0, -2.0, 60.0, -60.0, 200.0]))
    p = 1 / (1 + math.exp(-2))
    expected = [0.25, p * (1 - p), p * (1 - p), math.exp(-60), math.exp(-60), SMALLEST_SLOPE]
    assert slopes.tolist() == pytest.approx(expected, rel=1e-5)


def test_half_precision_becomes_single():
    kinds = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    found = [at_least_single(torch.zeros(1, dtype=k)).dtype for k in kinds]
    assert found == [torch.float32, torch.float32, torch.float32, torch.float64]
    assert softmax_log_odds(torch.zeros(1, 2, dtype=torch.float16)).dtype == torch.float32
