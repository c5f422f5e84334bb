import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from d2_saliency.structures import SaliencyMaps
from d2_saliency.visualization import draw_panel, save_panels

CYAN, WARNING = (0, 229, 255), (179, 60, 0)


def make_instances(maps, height, width, box=(0.25, 0.25, 0.75, 0.75)):
    """Detections that all have the same box, given as shares of the image."""
    instances = Instances((height, width))
    instances.pred_boxes = Boxes(
        torch.tensor([box] * len(maps)).view(-1, 4) * torch.tensor([width, height] * 2)
    )
    instances.scores = torch.full((len(maps),), 0.97)
    instances.pred_classes = torch.arange(len(maps))
    instances.pred_saliency = SaliencyMaps(
        maps, torch.tensor([[0, 0, width, height]] * len(maps)), (height, width)
    )
    return instances


def draw(maps, height=300, width=300, **options):
    return draw_panel(
        np.full((height, width, 3), 128, np.uint8),
        make_instances([maps], height, width),
        0,
        **options,
    )


def cells(panel):
    """The six columns of a panel of wide enough pictures."""
    return np.split(panel[:, 8:], 6, axis=1)


def count(picture, color):
    return int((np.abs(picture.astype(int) - color).max(-1) < 3).sum())


class TestDrawPanel:
    def test_edge_in_the_panel_of_its_coordinate(self):
        panel = draw(torch.ones(5, 4, 4))
        assert panel.dtype == np.uint8 and panel.shape[2] == 3
        for k, cell in enumerate(cells(panel)):
            ys, xs = np.nonzero(np.abs(cell.astype(int) - CYAN).max(-1) < 3)
            if k < 2:  # image and class: no edge
                assert len(ys) == 0
            else:  # the 300 pixels of the picture begin below 8 pixels of margin and 22 of text
                expected = {2: (75, None), 3: (None, 105), 4: (225, None), 5: (None, 255)}[k]
                for values, at in zip((xs, ys), expected):
                    assert (
                        (np.ptp(values) > 100) if at is None else (np.abs(values - at) <= 2).all()
                    )

    def test_maps_are_where_they_belong(self):
        maps = torch.zeros(5, 300, 300)
        for k in range(5):
            maps[k, 20 * k : 20 * k + 20, 250:] = 10.0 ** (-3 * k)
        for k, cell in enumerate(cells(draw(maps))[1:]):
            red_minus_blue = cell[30:330, 280].astype(int) @ [1, 0, -1]
            assert np.abs(np.flatnonzero(red_minus_blue > 100).mean() - (20 * k + 9.5)) < 1

    def test_map_of_the_mask_comes_last(self):
        instances = make_instances([torch.zeros(5, 300, 300)], 300, 300)
        mask = torch.zeros(1, 1, 300, 300)
        mask[..., 40:60, 250:] = 1e-6
        instances.pred_mask_saliency = SaliencyMaps(
            mask, torch.tensor([[0, 0, 300, 300]]), (300, 300), ("mask",)
        )
        columns = np.split(
            draw_panel(np.full((300, 300, 3), 128, np.uint8), instances, 0)[:, 8:], 7, axis=1
        )
        assert [count(cell, WARNING) > 500 for cell in columns] == [False, *[True] * 5, False]
        red_minus_blue = columns[6][30:330, 280].astype(int) @ [1, 0, -1]
        assert np.abs(np.flatnonzero(red_minus_blue > 100).mean() - 49.5) < 1
        assert count(columns[6], CYAN) == 0

    def test_zero_map_is_crossed_out_not_stretched(self):
        maps = torch.ones(5, 3, 3)
        maps[2] = 0
        marked = [count(cell, WARNING) for cell in cells(draw(maps))]
        assert marked[3] > 500 and sum(marked) == marked[3]

    def test_few_noise_passes_are_noted(self):
        instances = make_instances([torch.ones(5, 1, 1)] * 3, 300, 300)
        instances.num_matched, instances.num_samples = (
            torch.tensor([10, 9, 0]),
            torch.tensor([20] * 3),
        )
        image = np.full((300, 300, 3), 128, np.uint8)
        inked = [count(draw_panel(image, instances, i)[330:], WARNING) for i in range(3)]
        assert inked[0] == 0 < min(inked[1:])
        instances.remove("num_samples")
        assert count(draw_panel(image, instances, 1)[330:], WARNING) == 0

    def test_detection_without_maps(self):
        marked = [count(cell, WARNING) for cell in cells(draw(torch.zeros(5, 0, 0)))]
        assert marked[0] == 0 and min(marked[1:]) > 500

    def test_map_that_is_resized_already(self):
        maps = torch.rand(5, 300, 300)
        assert np.abs(draw(maps).astype(int) - draw(maps, resized_map=maps)).max() <= 1

    def test_photo_keeps_its_colours(self):
        image = np.full((300, 300, 3), (255, 0, 0), np.uint8)  # BGR
        panel = draw_panel(image, make_instances([torch.ones(5, 1, 1)], 300, 300), 0)
        assert panel[40, 20].tolist() == [0, 0, 255]

    @pytest.mark.parametrize(
        "height, width",
        [(1, 1), (3000, 4000), (20, 1000), (1000, 20), (2, 5000), (5000, 2)],
        ids=str,
    )
    def test_any_size(self, height, width):
        panel = draw(torch.rand(5, 6, 8), height, width)
        assert panel.shape[0] < 500 and 1200 < panel.shape[1] < 2300

    @pytest.mark.parametrize(
        "box", [(0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.5, 0.5), (-0.5, -0.5, 2.0, 2.0)]
    )
    def test_any_box(self, box):
        image = np.zeros((40, 30, 3), np.uint8)
        draw_panel(image, make_instances([torch.rand(5, 6, 8)], 40, 30, box), 0)

    def test_long_or_foreign_class_name(self):
        names = ["a very long name of a class " * 9], ["狗\n\u202e🐶"], [""]
        assert len({draw(torch.ones(5, 1, 1), class_names=name).shape for name in names}) == 1

    def test_image_of_another_size(self):
        with pytest.raises(ValueError, match="do not fit"):
            draw_panel(
                np.zeros((4, 5, 3), np.uint8), make_instances([torch.ones(5, 1, 1)], 5, 4), 0
            )


def test_save_panels(tmp_path):
    instances = make_instances(
        [torch.ones(5, 1, 1), torch.zeros(5, 0, 0), torch.ones(5, 1, 1)], 30, 30
    )
    save_panels(tmp_path / "x", np.zeros((30, 30, 3), np.uint8), instances, ["../a b", "b"])
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        "0_a_b.png",
        "2_class_2.png",
    ]
    with Image.open(tmp_path / "x" / "0_a_b.png") as panel:
        assert panel.width > 6 * 256
    save_panels(tmp_path / "x", np.zeros((30, 30, 3), np.uint8), instances[2:])
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["0_class_2.png"]
