import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances

from d2_saliency.structures import OUTPUTS, SaliencyMaps
from d2_saliency.visualization import SaliencyVisualizer
from d2_saliency.visualization.saliency_visualizer import (
    COLOR_MAP,
    display_maps,
    edge_line,
    overlay,
    select,
)


def make_instances(maps, image_size, box=(50.0, 100.0, 150.0, 200.0)):
    instances = Instances(image_size)
    instances.pred_boxes = Boxes(torch.tensor([box]))
    instances.scores = torch.tensor([0.97])
    instances.pred_classes = torch.tensor([0])
    instances.pred_saliency = SaliencyMaps.full_image(maps, image_size)
    return instances


class TestDisplayMaps:
    def test_each_map_is_a_share_of_its_own_maximum(self):
        ramp = np.linspace(0, 1, 50 * 40, dtype=np.float32).reshape(50, 40)
        shown = display_maps(np.stack([ramp, 1e-9 * ramp, 1e-40 * ramp, 1e30 * ramp]))
        assert shown.dtype == np.float32 and shown.min() >= 0 and (shown.max((1, 2)) == 1).all()
        assert np.abs(shown - shown[0]).max() < 1e-3

    def test_zero_and_not_finite_maps_stay_zero(self):
        maps = np.zeros((3, 9, 9), np.float32)
        maps[1], maps[2] = np.nan, np.inf
        assert not display_maps(maps).any()

    def test_zero_stays_zero(self):
        maps = np.zeros((1, 100, 100), np.float32)
        maps[0, :50] = 1
        shown = display_maps(maps)[0]
        assert (shown[60:] == 0).all() and np.allclose(shown[:40], 1)

    def test_lonely_peak_does_not_hide_the_rest(self):
        maps = np.zeros((1, 480, 640), np.float32)
        maps[0, 100, 100] = 20  # one pixel, 20 times as strong
        maps[0, 300:340, 300:340] = 1
        assert display_maps(maps)[0, 320, 320] > 0.5  # 0.05 without the blur

    def test_does_not_change_its_input(self):
        maps = np.ones((1, 5, 5), np.float32) * 3
        display_maps(maps)
        assert (maps == 3).all()

    def test_one_pixel(self):
        assert display_maps(np.full((1, 1, 1), 4.0)).tolist() == [[[1.0]]]


class TestOverlay:
    def test_opacity_grows_with_the_value(self):
        image = np.full((1, 4, 3), 100, np.uint8)
        out = overlay(image, np.array([[0, 0.25, 0.5, 1]], np.float32), alpha=0.8)
        heat = COLOR_MAP[[0, 64, 128, 255]].astype(float)
        opacity = np.array([0, 0.4, 0.8, 0.8])[:, None]
        assert np.abs(out[0] - (heat * opacity + 100 * (1 - opacity))).max() <= 1

    def test_lightness_grows_along_the_colour_map(self):
        assert (np.diff(COLOR_MAP @ [0.2126, 0.7152, 0.0722]) > -1).all()


class TestSaliencyVisualizer:
    SIZE = (300, 400)

    def draw(self, maps, output="class", **options):
        image = np.full((*self.SIZE, 3), 128, np.uint8)
        visualizer = SaliencyVisualizer(image, Metadata(name="x", thing_classes=["dog"]), **options)
        picture = visualizer.draw_saliency(make_instances(maps, self.SIZE), 0, output)
        return picture.get_image().astype(int), [text.get_text() for text in picture.ax.texts]

    @pytest.mark.parametrize("output", OUTPUTS)
    def test_shows_the_map_of_that_output(self, output):
        maps = torch.zeros(1, 5, *self.SIZE)
        maps[0, OUTPUTS.index(output), 250:, 300:] = 1e-9
        picture, texts = self.draw(maps, output)
        assert picture.shape == (300, 400, 3)
        assert picture[275, 350, 0] - picture[275, 350, 2] > 100  # the map's maximum is yellow
        assert np.abs(picture[250:, :200] - 128).max() <= 1  # no map, no colour
        assert texts == [f"dog 97%: {output}"]

    def test_zero_map_is_called_so(self):
        picture, texts = self.draw(torch.zeros(1, 5, *self.SIZE))
        assert np.abs(picture[225:] - 128).max() <= 1 and texts == ["dog 97%: class (zero map)"]

    def test_few_noise_passes_are_noted(self):
        instances = make_instances(torch.ones(1, 5, 2, 2), self.SIZE)
        instances.num_matched, instances.num_samples = torch.tensor([9]), torch.tensor([20])
        image = np.full((*self.SIZE, 3), 128, np.uint8)
        picture = SaliencyVisualizer(image, Metadata(name="x")).draw_saliency(instances, 0)
        (text,) = [text.get_text() for text in picture.ax.texts]
        assert text == "class 0 97%: class\nfound again in 9 of 20 noise passes"

    @pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 500), (500, 1)])
    def test_tiny_pictures(self, size):
        instances = make_instances(torch.ones(1, 5, 2, 2), size)
        picture = SaliencyVisualizer(np.zeros((*size, 3), np.uint8)).draw_saliency(
            instances, 0, "x_min"
        )
        assert picture.get_image().shape == (*size, 3)

    def test_map_on_a_picture_larger_than_maps_are_made(self, monkeypatch):
        maps = torch.zeros(1, 5, *self.SIZE)
        maps[0, 0, 150:, :200] = 1
        whole, _ = self.draw(maps)
        monkeypatch.setattr("d2_saliency.visualization.saliency_visualizer.MAX_MAP_SIDE", 100)
        monkeypatch.setattr("d2_saliency.visualization.saliency_visualizer.ROWS", 7)
        reduced, _ = self.draw(maps)
        far = np.ones(self.SIZE, bool)
        far[140:160], far[:, 190:210] = False, False
        assert np.abs(whole - reduced)[far].max() <= 1

    def test_map_of_all_detections(self):
        maps = torch.zeros(2, 5, *self.SIZE)
        maps[0, 0, 200:250, 50:150], maps[1, 0, 200:250, 250:350] = 1e-9, 3.0
        instances = Instances.cat([make_instances(maps[i : i + 1], self.SIZE) for i in range(2)])
        image = np.full((*self.SIZE, 3), 128, np.uint8)
        picture = SaliencyVisualizer(
            image, Metadata(name="x", thing_classes=["dog"])
        ).draw_all_saliency(instances)
        pixels = picture.get_image().astype(int)
        for x in (100, 300):  # each as bright as the other
            assert pixels[225, x, 0] - pixels[225, x, 2] > 100
        assert np.abs(pixels[225, 180:220] - 128).max() <= 1
        assert [text.get_text() for text in picture.ax.texts] == ["dog 97%"] * 2
        nothing = SaliencyVisualizer(image).draw_all_saliency(instances[:0]).get_image()
        assert np.abs(nothing.astype(int) - 128).max() <= 1

    def test_scale(self):
        assert self.draw(torch.ones(1, 5, *self.SIZE), scale=2.0)[0].shape == (600, 800, 3)

    @pytest.mark.parametrize(
        "output, line",
        [
            ("x_min", ([1, 1], [2, 4])),
            ("y_min", ([1, 3], [2, 2])),
            ("x_max", ([3, 3], [2, 4])),
            ("y_max", ([1, 3], [4, 4])),
        ],
    )
    def test_edge(self, output, line):
        assert edge_line([1, 2, 3, 4], output) == line

    def test_errors(self):
        with pytest.raises(ValueError, match="not 'width'"):
            self.draw(torch.ones(1, 5, 2, 2), "width")
        with pytest.raises(ValueError, match="do not fit"):
            select(make_instances(torch.ones(1, 5, 2, 2), (60, 80)), 0, (80, 60))
