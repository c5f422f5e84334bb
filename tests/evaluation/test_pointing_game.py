"""Pointing games on maps small enough to add up by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from d2_saliency.evaluation import pointing_game, pointing_game_masks
from d2_saliency.evaluation.regions import box_pixels, energy_share, peak_share


def saliency(**pixels):
    """6 rows, 9 columns; ``r3c7=2.0`` sets row 3, column 7."""
    m = np.zeros((6, 9), dtype=np.float32)
    for name, value in pixels.items():
        row, column = name[1:].split("c")
        m[int(row), int(column)] = value
    return m


def explained(maps, boxes, masks=None):
    """One map for each detection; a box of None: no object."""
    masks = masks or [None] * len(boxes)
    truth = [b and SimpleNamespace(box=b, mask=m) for b, m in zip(boxes, masks)]
    maps = np.stack([np.stack([m, *np.ones((4, *m.shape))]) for m in maps])
    return SimpleNamespace(
        maps=maps, truth=truth, instances=SimpleNamespace(image_size=maps.shape[-2:])
    )


def test_row_is_y_and_column_is_x():
    m = saliency(r3c7=1.0)
    (hit,) = pointing_game(explained([m], [(7, 3, 8, 4)]))
    assert hit == {"hit": 1.0, "energy": 1.0}
    (miss,) = pointing_game(
        explained([m], [(3, 5, 4, 6)])
    )  # row and column swapped would lie in columns 3, rows 7
    assert miss == {"hit": 0.0, "energy": 0.0}
    (swapped,) = pointing_game(explained([m], [(3, 0, 4, 6)]))
    assert swapped["hit"] == 0.0


def test_maximum_outside_and_energy_inside():
    m = saliency(r0c0=5.0, r2c2=3.0, r3c3=2.0)
    assert pointing_game(explained([m], [(2, 2, 4, 4)])) == [
        {"hit": 0.0, "energy": pytest.approx(0.5)}
    ]


def test_equal_maxima_count_their_share():
    m = saliency(r0c0=2.0, r2c2=2.0, r3c3=2.0, r3c2=1.0)
    assert pointing_game(explained([m], [(2, 2, 4, 4)]))[0]["hit"] == pytest.approx(2 / 3)


def test_constant_and_empty_maps_are_at_chance():
    box = (0, 0, 3, 2)  # 6 of 54 pixels
    constant, empty = pointing_game(explained([saliency() + 7, saliency()], [box, box]))
    assert constant == empty == {"hit": pytest.approx(6 / 54), "energy": pytest.approx(6 / 54)}


def test_without_an_object_it_is_not_defined():
    (values,) = pointing_game(explained([saliency(r0c0=1)], [None]))
    assert np.isnan(list(values.values())).all()


def test_masks_are_finer_than_boxes():
    mask = np.zeros((6, 9), dtype=bool)
    mask[2, 2:5] = mask[2:5, 2] = True  # an L
    inner = saliency(r3c3=1.0, r2c4=0.5)
    box = (2, 2, 5, 5)
    image = explained([inner, inner], [box, box], [mask, None])
    assert pointing_game(image)[0] == {"hit": 1.0, "energy": 1.0}
    with_mask, without = pointing_game_masks(image)
    assert with_mask == {"hit": 0.0, "energy": pytest.approx(1 / 3)}
    assert np.isnan(list(without.values())).all()


def test_a_pixel_belongs_to_a_box_that_holds_its_centre():
    expected = np.array(
        [[float(1.2 < c + 0.5 < 3.6 and 0.5 < r + 0.5 < 2) for c in range(9)] for r in range(6)]
    )
    assert (
        np.array_equal(box_pixels((1.2, 0.5, 3.6, 2.0), (6, 9)), expected.astype(bool))
        and expected.sum() == 3
    )


def test_random_maps_score_at_chance():
    rng = np.random.default_rng(0)
    region = box_pixels((0, 0, 4, 3), (6, 9))
    maps = rng.random((4000, 6, 9))
    assert np.mean([peak_share(m, region) for m in maps]) == pytest.approx(12 / 54, abs=0.02)
    assert np.mean([energy_share(m, region) for m in maps]) == pytest.approx(12 / 54, abs=0.005)
