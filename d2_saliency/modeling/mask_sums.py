"""What the weights of masks say of the pixels that they show, from running sums."""

from dataclasses import dataclass, fields
from functools import reduce
from typing import Iterable, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from ..structures import OUTPUTS

# Shape shorthand: N masks, H, W their size, T targets with 5 outputs each.


@dataclass
class MaskSums:
    """
    Running sums over n masks M (H, W) of one grid size with the weights w (T, 5) that the outputs
    under them have.

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
    ) -> "MaskSums":
        """Of no masks yet; size: (H, W)."""
        shape = num_targets, len(OUTPUTS)
        return cls(
            0,
            *(torch.zeros(*s, device=device) for s in (shape, shape, size, size, (*shape, *size))),
        )

    def add(self, masks: Tensor, weights: Tensor) -> "MaskSums":
        """Count masks (N, H, W) with weights (N, T, 5) in, in place."""
        self.num += len(masks)
        self.w += weights.sum(0)
        self.ww += (weights**2).sum(0)
        self.m += masks.sum(0)
        self.mm += (masks**2).sum(0)
        self.wm.view(self.w.numel(), -1).addmm_(weights.flatten(1).T, masks.flatten(1))
        return self

    def __add__(self, other: "MaskSums") -> "MaskSums":
        return MaskSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def mean_map(sums: Sequence[MaskSums]) -> Tensor:
    """
    ``sum_m w_m M_m / sum_m M_m`` (T, 5, H, W): the mean weight of the masks that show a pixel
    (D-RISE, Eq. 6).
    """
    total = _total(s.wm for s in sums)
    return total / _total(s.m for s in sums).clamp(min=torch.finfo(total.dtype).tiny)


def slope_map(sums: Sequence[MaskSums]) -> Tensor:
    """
    By how much the weight rises when a pixel is shown, as far as chance does not explain it, (T, 5,
    H, W).

        slope = sum_gm (w_gm - mean_g w)(M_gm - mean_g M)
                / sum_gm (M_gm - mean_g M)^2                   pixel by pixel
        map   = ReLU(slope - standard error)
        standard error^2 = var(w) / sum_gm (M_gm - mean_g M)^2

    g are the grid sizes, each with its own means. What lies beyond one standard error is kept: the
    rest is what the slope of a pixel without any influence would be, too.
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
    Reliability (T, 5) of maps that are known from two independent halves of the masks, each (T, 5,
    H, W).

    ``2 r / (1 + r)`` with the correlation r of the halves: the correlation to expect between the
    map of all these masks and that of as many others (Spearman-Brown). Not above 0 where the halves
    have nothing in common.
    """
    first, second = (m.flatten(2) - m.flatten(2).mean(2, keepdim=True) for m in (first, second))
    r = F.cosine_similarity(first, second, dim=2).clamp(min=-0.9)
    return 2 * r / (1 + r)
