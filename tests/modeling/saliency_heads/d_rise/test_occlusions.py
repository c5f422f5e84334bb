"""Random occlusions: what they are made of, what they depend on, and their statistics."""

import pytest
import torch

from d2_saliency.modeling.saliency_heads.d_rise.occlusions import (
    alternating_grids,
    grid_occlusions,
    random_grids,
)


def test_grids_are_coin_tosses_and_shifts_are_uniform():
    grids, shifts = random_grids(4000, 8, 0.3, seed=1)
    assert grids.shape == (4000, 8, 8) and shifts.shape == (4000, 2)
    assert grids.float().mean().item() == pytest.approx(0.3, abs=0.005)  # 10 standard errors: 0.009
    assert (grids.float().mean(0) - 0.3).abs().max() < 0.04
    assert shifts.min() >= 0 and shifts.max() < 1
    counts = torch.stack([torch.histc(column, 10, 0, 1) for column in shifts.T])
    assert (counts - 400).abs().max() < 100  # 5 standard errors of a uniform histogram


def test_fewer_grids_are_the_first_of_more_and_the_seed_decides():
    many, few, other = (
        random_grids(50, 4, 0.5, 3),
        random_grids(7, 4, 0.5, 3),
        random_grids(7, 4, 0.5, 4),
    )
    assert torch.equal(many[0][:7], few[0]) and torch.equal(many[1][:7], few[1])
    assert not torch.equal(few[0], other[0])


@pytest.mark.parametrize("size", [(20, 33), (32, 32), (7, 5)])
def test_occlusions_equal_a_literal_resize_and_crop(size):
    grids, shifts = random_grids(3, 4, 0.5, 0)
    occlusions = grid_occlusions(grids, shifts, size)
    cell = [-(-n // 4) for n in size]
    for occlusion, grid, shift in zip(occlusions, grids.float(), shifts):
        y0, x0 = (int(s * c) for s, c in zip(shift.tolist(), cell))
        for y, x in ((0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, size[1] // 3)):
            expected = 0.0
            # Position in cells of a pixel's centre in the 5 x 5 cells that the 4 x 4 grid is
            # resized to.
            v, u = (
                (p + 0.5) / (5 * c) * 4 - 0.5 for p, c in ((y + y0, cell[0]), (x + x0, cell[1]))
            )
            for i in range(4):
                for j in range(4):
                    near = max(0, 1 - abs(min(max(v, 0), 3) - i)) * max(
                        0, 1 - abs(min(max(u, 0), 3) - j)
                    )
                    expected += near * grid[i, j].item()
            assert occlusion[y, x].item() == pytest.approx(expected, abs=1e-5)


def test_every_pixel_is_shown_as_often_as_any_other():
    occlusions = torch.cat(
        [grid_occlusions(*random_grids(2000, 4, 0.5, seed), (24, 24)) for seed in range(2)]
    )
    assert occlusions.min() >= 0 and occlusions.max() <= 1 + 1e-6
    assert (occlusions.mean(0) - 0.5).abs().max() < 0.05
    corner, *others = occlusions[:, 0, 0], occlusions[:, 1, 1], occlusions[:, 23, 23]
    near, far = (torch.corrcoef(torch.stack([corner, other]))[0, 1] for other in others)
    assert near > 0.9 and abs(far) < 0.08  # 5 standard errors


def test_grid_sizes_take_turns():
    drawn = list(alternating_grids(5, [4, 2], 0.5, seed=2))
    assert [(k, number, tuple(grid.shape)) for k, number, grid, _ in drawn] == [
        (0, 0, (4, 4)),
        (1, 0, (2, 2)),
        (0, 1, (4, 4)),
        (1, 1, (2, 2)),
        (0, 2, (4, 4)),
    ]
    assert torch.equal(drawn[4][2], random_grids(3, 4, 0.5, 2)[0][2])
