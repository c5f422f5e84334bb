"""Coordinate deletion: edges that move by known pixels."""

import pytest
import torch

from d2_saliency.evaluation import coordinate_deletion
from d2_saliency.evaluation.coordinate_deletion import edge_moves
from tests.evaluation.lamp import HEIGHT, WIDTH, explained_lamp, lamp_detector, lit_image


def test_an_edge_moves_when_its_pixel_goes():
    # x_min is 1 + 1.25 while the pixel (0, 7) is lit: the box is 3.75 wide, and deleting moves its
    # edge by a third.
    image = lit_image()
    image[:, 0, 7] = 255
    maps = torch.zeros(5, HEIGHT, WIDTH)
    maps[1, 0, 7] = 1.0  # x_min's map is perfect
    maps[2:, 3, 0] = 1.0  # the others point at a dark pixel
    lamp = explained_lamp(
        lamp_detector(moves=1.25), maps, image, coordinate_area=0.05
    )  # of 15 pixels: 1
    (values,) = coordinate_deletion(lamp)
    assert values["x_min"] == pytest.approx(1 / 3) and values["x_min_px"] == pytest.approx(1.25)
    assert values["y_min"] == values["x_max"] == values["y_max"] == 0
    assert values["own"] == pytest.approx(1 / 12) and values["others"] == 0


def test_an_edge_that_moves_with_another_s_pixels_counts_against_the_map():
    image = lit_image()
    image[:, 0, 7] = 255
    maps = torch.zeros(5, HEIGHT, WIDTH)
    maps[1, 3, 0] = 1.0
    maps[2:, 0, 7] = 1.0
    (values,) = coordinate_deletion(
        explained_lamp(lamp_detector(moves=1.25), maps, image, coordinate_area=0.05)
    )
    assert values["own"] == 0 and values["others"] == pytest.approx(3 * (1 / 3) / 12)


def test_a_detection_that_goes_loses_its_edges():
    maps = lit_image()[:1].expand(5, -1, -1)  # all maps are the lamp: four pixels
    (values,) = coordinate_deletion(
        explained_lamp(lamp_detector(), maps, coordinate_area=0.2)
    )  # of 20 pixels: 4
    assert values["own"] == values["others"] == 1
    assert (values["x_min_px"], values["y_max_px"]) == (5, 4)


def test_moves_are_capped_at_the_side_and_relative_to_it():
    before = torch.tensor([[10.0, 10, 30, 50]])
    after = torch.tensor([[[12.0, 14, 30, 50], [40, 10, 25, 200], [float("nan")] * 4]])
    torch.testing.assert_close(
        edge_moves(before, after), torch.tensor([[[0.1, 0.1, 0, 0], [1, 0, 0.25, 1], [1.0] * 4]])
    )
