"""The evidence for a detection at one feature level, from which a CAM method computes its map."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Evidence:
    """
    One detection at one feature level. T targets, C channels, level of H x W cells.

    Attributes:
        activations: A (C, H, W), the whole level.
        total: sum_ab A_ab of each channel, (C,).
        gradient: g (T, C, h, w), the targets' gradients to A inside of the window at (top, left);
            zero outside of it.
        region: M (H, W), 1. where the cell belongs to the RoI or anchor that the detection was
            computed from.
    """

    activations: Tensor
    total: Tensor
    gradient: Tensor
    top: int
    left: int
    region: Tensor

    @property
    def num_cells(self) -> int:
        return self.activations[0].numel()

    def window(self, level: Tensor) -> Tensor:
        """The part of a map (..., H, W) that lies in the window, (..., h, w)."""
        h, w = self.gradient.shape[-2:]
        return level[..., self.top : self.top + h, self.left : self.left + w]
