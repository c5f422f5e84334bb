"""Random occlusions, which hide parts of an image."""

from typing import Iterator, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Shape shorthand: N occlusions, h, w the grid's rows and columns, H, W the image.


def random_grids(num: int, grid_size: int, p: float, seed: int) -> Tuple[Tensor, Tensor]:
    """
    Draw the grids that :func:`grid_occlusions` enlarges. They are drawn on the CPU, one by one:
    they depend on the seed alone, not on device, batch size or image, and fewer grids are the first
    of more.

    Args:
        num: N, how many.
        grid_size: h = w, cells.
        p: probability that a cell is shown.

    Returns:
        grids (N, h, w), bool, true where a cell is shown, and shifts (N, 2), float in [0, 1): the
        shares of a cell's height and width by which a grid is moved.
    """
    uniform = torch.rand(num, grid_size**2 + 2, generator=torch.Generator().manual_seed(seed))
    cells, shifts = uniform.split([grid_size**2, 2], dim=1)
    return (cells < p).view(-1, grid_size, grid_size), shifts


def alternating_grids(num: int, grid_sizes: Sequence[int], p: float, seed: int) -> Iterator[Tuple]:
    """
    Draw :func:`random_grids` of each size in turn, one by one.

    Yields:
        place of the size, number of the grid among those of its size, grid (h, w), shift (2,).
    """
    per_size = [random_grids(-(-num // len(grid_sizes)), size, p, seed) for size in grid_sizes]
    for m in range(num):
        number, k = divmod(m, len(grid_sizes))
        grids, shifts = per_size[k]
        yield k, number, grids[number], shifts[number]


def grid_occlusions(grids: Tensor, shifts: Tensor, image_size: Tuple[int, int]) -> Tensor:
    """
    Enlarge coarse grids to occlusions of an image (RISE, section 3.2; D-RISE, section 3.2).

    A grid of h x w cells is resized bilinearly to (h + 1) C_H x (w + 1) C_W pixels, with C_H =
    ceil(H / h) and C_W = ceil(W / w), and H x W pixels are cut out of it at an offset of 0..C_H -
    1, 0..C_W - 1.

    Args:
        grids, shifts: from :func:`random_grids`.
        image_size: (H, W).

    Returns:
        Tensor: (N, H, W), in [0, 1]; 1 shows a pixel, 0 hides it.
    """
    (height, width), (rows, columns) = image_size, grids.shape[-2:]
    cell = -(-height // rows), -(-width // columns)
    size = (rows + 1) * cell[0], (columns + 1) * cell[1]
    large = F.interpolate(grids[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]
    offsets = (shifts * shifts.new_tensor(cell)).long().tolist()
    return torch.stack([m[y : y + height, x : x + width] for m, (y, x) in zip(large, offsets)])
