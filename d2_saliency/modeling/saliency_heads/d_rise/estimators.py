"""Estimators of D-RISE's maps, from running sums over occlusions and their weights."""

from dataclasses import dataclass, fields
from functools import reduce
from typing import Iterable, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from ....structures import OUTPUTS

# Shape shorthand: N occlusions, H, W their size, T targets with 5 outputs each.


@dataclass
class OcclusionSums:
    """
    Running sums over n occlusions M (H, W) of one grid size and the weights w (T, 5) of the outputs
    under them.

    Attributes:
        num: n.
        w, ww: sums of w and of w^2, (T, 5).
        m, mm: sums of M and of M^2, (H, W).
        wm: sums of w M, (T, 5, H, W).
    """

    num: int
    w: Tensor
    ww: Tensor
    m: Tensor
    mm: Tensor
    wm: Tensor

    @classmethod
    def zeros(
        cls, num_targets: int, size: Tuple[int, int], device: Union[torch.device, str] = "cpu"
    ) -> "OcclusionSums":
        """Start with no occlusion; size: (H, W)."""
        shape = num_targets, len(OUTPUTS)
        return cls(
            0,
            *(torch.zeros(*s, device=device) for s in (shape, shape, size, size, (*shape, *size))),
        )

    def add(self, occlusions: Tensor, weights: Tensor) -> "OcclusionSums":
        """Add N occlusions (N, H, W) and their weights (N, T, 5), in place."""
        self.num += len(occlusions)
        self.w += weights.sum(0)
        self.ww += (weights**2).sum(0)
        self.m += occlusions.sum(0)
        self.mm += (occlusions**2).sum(0)
        self.wm.view(self.w.numel(), -1).addmm_(weights.flatten(1).T, occlusions.flatten(1))
        return self

    def __add__(self, other: "OcclusionSums") -> "OcclusionSums":
        names = [f.name for f in fields(self)]
        return OcclusionSums(*(getattr(self, name) + getattr(other, name) for name in names))


def mean_map(sums: Sequence[OcclusionSums]) -> Tensor:
    """
    Average the weights of the occlusions that show a pixel: ``sum_m w_m M_m / sum_m M_m``, (T, 5,
    H, W) (D-RISE, Eq. 6).
    """
    total = _total(s.wm for s in sums)
    return total / _total(s.m for s in sums).clamp(min=torch.finfo(total.dtype).tiny)


def slope_map(sums: Sequence[OcclusionSums]) -> Tensor:
    """
    Estimate by how much the weight rises when a pixel is shown, as far as chance does not explain
    it, (T, 5, H, W).

        slope = sum_gm (w_gm - mean_g w)(M_gm - mean_g M)
                / sum_gm (M_gm - mean_g M)^2                   pixel by pixel
        map   = ReLU(slope - standard error)
        standard error^2 = var(w) / sum_gm (M_gm - mean_g M)^2

    g are the grid sizes, each with its own means. Only the part beyond one standard error is kept:
    a pixel without any influence would have the rest, too.
    """
    covariance = _total(s.wm - s.w[..., None, None] * s.m / s.num for s in sums)
    visibility = _total(s.mm - s.m**2 / s.num for s in sums).clamp(min=1e-6)
    variance = _total(s.ww - s.w**2 / s.num for s in sums).clamp(min=0)
    variance = variance / sum(s.num for s in sums)
    return (covariance / visibility - (variance[..., None, None] / visibility).sqrt()).relu()


def _total(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)


def reliability(first: Tensor, second: Tensor) -> Tensor:
    """
    Estimate the reliability (T, 5) of maps from those of two independent halves of the occlusions,
    each (T, 5, H, W).

    It is ``2 r / (1 + r)`` with the correlation r of the halves: the correlation to expect between
    the map of all these occlusions and that of as many others (Spearman-Brown). It is not above 0
    where the halves have nothing in common.
    """
    first, second = (m.flatten(2) - m.flatten(2).mean(2, keepdim=True) for m in (first, second))
    r = F.cosine_similarity(first, second, dim=2).clamp(min=-0.9)
    return 2 * r / (1 + r)
