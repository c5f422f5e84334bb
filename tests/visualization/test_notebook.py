import io

import numpy as np
import pytest
import torch
from PIL import Image

from d2_saliency.structures import SaliencyMaps
from d2_saliency.visualization import draw_panel, show
from tests.visualization.test_panel import make_instances

IMAGE = np.full((300, 300, 3), 128, np.uint8)


def open_png(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


class TestShow:
    def test_panels_of_explained_detections_below_each_other(self):
        instances = make_instances(
            [torch.rand(5, 4, 4), torch.zeros(5, 0, 0), torch.rand(5, 4, 4)], 300, 300
        )
        figure = show(IMAGE, instances, ["dog", "cat", "hen"])
        panels = [draw_panel(IMAGE, instances, i, ["dog", "cat", "hen"]) for i in (0, 2)]
        assert np.array_equal(np.asarray(figure.image), np.concatenate(panels))
        assert np.array_equal(open_png(figure._repr_png_()), np.asarray(figure.image))

    def test_at_most(self):
        instances = make_instances([torch.rand(5, 4, 4)] * 3, 300, 300)
        assert (
            show(IMAGE, instances, max_instances=2).image.height
            == 2 * show(IMAGE, instances[:1]).image.height
        )

    def test_nothing_to_show(self):
        assert show(IMAGE, make_instances([torch.zeros(5, 0, 0)], 300, 300)) is None
        assert show(IMAGE, make_instances([], 300, 300)) is None


class TestMaps:
    def test_five_maps_without_a_picture(self):
        maps = torch.zeros(1, 5, 300, 300)
        for k in range(4):  # the last one stays zero, and is crossed out
            maps[0, k, :, 60 * k : 60 * k + 60] = 10.0 ** (-3 * k)
        picture = open_png(SaliencyMaps.full_image(maps, (300, 300))._repr_png_())
        cells = np.split(picture[:, 8:], 5, axis=1)
        for k, cell in enumerate(cells[:4]):
            yellow = np.flatnonzero(cell[150] @ [1, 0, -1] > 100)
            assert abs(yellow.mean() - (60 * k + 29.5)) < 2
        assert (cells[4] == (179, 60, 0)).all(-1).sum() > 500

    @pytest.mark.parametrize("num_instances", [0, 2])
    def test_nothing_to_show(self, num_instances):
        assert SaliencyMaps.unexplained(num_instances, (30, 40))._repr_png_() is None
