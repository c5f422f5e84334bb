"""IOF thirds on masks small enough to count."""

from types import SimpleNamespace

import numpy as np
import pytest

from d2_saliency.evaluation import iof_thirds
from d2_saliency.evaluation.iof_thirds import mask_thirds, salient_pixels, thirds_of_maps


def l_shape():
    """Columns 2 .. 10, rows 1 .. 6: a foot of rows 5, 6 and a post of columns 2, 3."""
    mask = np.zeros((9, 14), dtype=bool)
    mask[5:7, 2:11] = mask[1:7, 2:4] = True
    return mask


class TestThirds:
    def test_along_x(self):
        left, middle, right = mask_thirds(l_shape(), axis=1)  # columns 2-4, 5-7, 8-10
        assert (left.sum(), middle.sum(), right.sum()) == (2 * 6 + 2, 6, 6)
        assert left[1, 3] and left[5, 4] and not left[1, 4] and middle[6, 5] and right[5, 10]

    def test_along_y(self):
        top, middle, bottom = mask_thirds(l_shape(), axis=0)  # rows 1-2, 3-4, 5-6
        assert (top.sum(), middle.sum(), bottom.sum()) == (4, 4, 18)
        assert top[2, 3] and middle[3, 2] and bottom[5, 10]

    def test_they_are_the_mask(self):
        for axis in (0, 1):
            assert np.array_equal(
                sum(t.astype(int) for t in mask_thirds(l_shape(), axis)), l_shape().astype(int)
            )

    def test_of_four_columns_go_by_pixel_centres(self):
        mask = np.ones(
            (1, 4), dtype=bool
        )  # centres .5, 1.5, 2.5, 3.5 of 4: thirds at 1.33 and 2.67
        assert [t.sum() for t in mask_thirds(mask, axis=1)] == [1, 2, 1]


class TestSalientPixels:
    def test_one_pixel_becomes_a_disc(self):
        m = np.zeros((41, 41))
        m[20, 20] = 3.0
        # exp(-r^2 / 8) >= 0.32 where r <= 3.02; a kernel that is cut off and sampled does not
        # change which pixels
        y, x = np.mgrid[-20:21, -20:21]
        assert np.array_equal(salient_pixels(m), x**2 + y**2 <= 9)

    def test_constant_and_empty_maps_are_all_salient(self):
        assert salient_pixels(np.full((5, 7), 2.0)).all() and salient_pixels(np.zeros((5, 7))).all()


def test_each_coordinate_has_its_own_side():
    mask = np.ones((60, 60), dtype=bool)
    spots = {"x_min": (30, 8), "y_min": (8, 30), "x_max": (30, 52), "y_max": (52, 30)}
    maps = np.zeros((4, 60, 60))
    for m, (row, column) in zip(maps, spots.values()):
        m[row, column] = 1
    right, wrong = thirds_of_maps(maps, mask), thirds_of_maps(maps[[2, 3, 0, 1]], mask)
    for name in spots:
        assert right[name] == 1.0 and right[f"{name}_middle"] == 0.0
        assert wrong[name] == 0.0 and wrong[f"{name}_middle"] == 0.0


def test_shares_by_counting():
    # Two discs of 29 pixels: one on the left third, one in the middle; a quarter more outside of
    # the mask.
    m = np.zeros((40, 90))
    m[20, 15] = m[20, 45] = m[35, 15] = m[35, 75] = 1
    mask = np.zeros((40, 90), dtype=bool)
    mask[:28] = True
    result = thirds_of_maps(np.stack([m] * 4), mask)
    assert (result["x_min"], result["x_min_middle"], result["x_max"]) == (0.25, 0.25, 0.0)
    # Thirds along y are rows 0-9.33, 9.33-18.67 and 18.67-28: of each disc around row 20, rows 17
    # and 18 with 1 + 5 pixels lie in the middle third.
    assert result["y_max"] == pytest.approx(2 * 23 / 116) and result[
        "y_max_middle"
    ] == pytest.approx(2 * 6 / 116)


def test_without_a_mask_it_is_not_defined():
    image = SimpleNamespace(
        maps=np.ones((2, 5, 4, 4)), truth=[None, SimpleNamespace(mask=np.zeros((4, 4), bool))]
    )
    for values in iof_thirds(image):
        assert len(values) == 8 and np.isnan(list(values.values())).all()
