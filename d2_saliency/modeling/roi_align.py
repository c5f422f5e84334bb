"""RoIAlign as two small matrices, so that its transpose (the gradient) has two as well."""

import math
from typing import List, Tuple

import torch
from torch import Tensor


def roi_align_matrices(
    box: List[float], align, height: int, width: int
) -> Tuple[int, int, Tensor, Tensor]:
    """
    Axis-aligned RoIAlign of one box, written as ``pooled = Ay @ features[top:, left:] @ Ax.T``.

    RoIAlign averages bilinear samples on a regular grid; both the grid and the bilinear weights are
    products of a row and a column part, so the operation is separable and its gradient to the
    features is ``Ay.T @ G @ Ax``.

    Args:
        box: (x0, y0, x1, y1) in pixels of the network input.
        align: a :class:`detectron2.layers.ROIAlign` (output_size, spatial_scale, sampling_ratio,
            aligned).
        height, width: size of the feature map in cells.

    Returns:
        top, left (cells), Ay (P_h, h), Ax (P_w, w): the window outside of which every weight is
        zero.
    """
    x0, y0, x1, y1 = box
    left, columns = _axis_matrix(x0, x1, width, align.output_size[1], align)
    top, rows = _axis_matrix(y0, y1, height, align.output_size[0], align)
    return top, left, rows, columns


def _axis_matrix(
    lower: float, upper: float, num_cells: int, num_bins: int, align
) -> Tuple[int, Tensor]:
    """
    Weights (num_bins, w) of one axis and the first cell they belong to, as torchvision's kernel
    computes them.
    """
    single = torch.float32  # the number of samples is a ceil(): it must round as the kernel does
    edges = torch.tensor([lower, upper], dtype=single) * align.spatial_scale - 0.5 * align.aligned
    start, stop = edges.unbind()
    extent = stop - start if align.aligned else (stop - start).clamp(min=1.0)
    bin_size = extent / num_bins
    num_samples = align.sampling_ratio if align.sampling_ratio > 0 else math.ceil(bin_size)
    if num_samples <= 0:
        return 0, torch.zeros(num_bins, 1)
    bins, samples = (
        torch.arange(num_bins, dtype=single)[:, None],
        torch.arange(num_samples, dtype=single)[None],
    )
    # (num_bins, num_samples)
    position = start + bins * bin_size + (samples + 0.5) * bin_size / num_samples

    inside = (position >= -1.0) & (position <= num_cells)  # samples further out count as zero
    position = position.clamp(0, num_cells - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=num_cells - 1)
    weight_high = position - low
    first, last = int(low.min()), int(high.max())
    matrix = torch.zeros(num_bins, last - first + 1)
    matrix.scatter_add_(1, low - first, (1 - weight_high) * inside / num_samples)
    matrix.scatter_add_(1, high - first, weight_high * inside / num_samples)
    return first, matrix
