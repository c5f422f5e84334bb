"""CAM methods that smooth over the cells of a feature map."""

import math

import torch
from detectron2.config import configurable
from torch import Tensor

from ...keys import check_values
from .cam_head import CAMHead


class SmoothingCAMHead(CAMHead):
    """Base of the CAM methods that use :meth:`smooth`: their windows have room for its Gaussian."""

    @configurable
    def __init__(self, *, smooth_sigma: float = 1.0, **kwargs):
        """
        Args:
            smooth_sigma: Gaussian of ODAM and of the space maps of SSGrad-CAM(++), in cells; 0:
                none.
            kwargs: arguments of :class:`CAMHead`.
        """
        check_values("MODEL.SALIENCY_HEAD", locals())
        super().__init__(**kwargs)
        self.smooth_sigma = smooth_sigma

    @classmethod
    def from_config(cls, cfg):
        return {**super().from_config(cfg), "smooth_sigma": cfg.MODEL.SALIENCY_HEAD.SMOOTH_SIGMA}

    @property
    def margin(self) -> int:
        return super().margin + self._radius

    @property
    def _radius(self) -> int:
        """Cells up to which the Gaussian reaches: it is cut at 3 sigma."""
        return math.ceil(3 * self.smooth_sigma)

    def smooth(self, values: Tensor) -> Tensor:
        """
        Gaussian of ``smooth_sigma`` cells over the last two axes, (..., h, w); zeros beyond the
        border.
        """
        if self.smooth_sigma <= 0:
            return values
        height, width = values.shape[-2:]
        return self._gaussian_matrix(height, values) @ values @ self._gaussian_matrix(width, values)

    def _gaussian_matrix(self, size: int, like: Tensor) -> Tensor:
        """
        Convolution with a normalised Gaussian as a product: its rows, (size, size), symmetric.
        """
        x = torch.arange(-self._radius, self._radius + 1, device=like.device, dtype=like.dtype)
        norm = (-0.5 * (x / self.smooth_sigma) ** 2).exp().sum()
        cells = torch.arange(size, device=like.device, dtype=like.dtype)
        distance = cells[:, None] - cells[None]
        weights = (-0.5 * (distance / self.smooth_sigma) ** 2).exp() / norm
        return weights.masked_fill(distance.abs() > self._radius, 0)
