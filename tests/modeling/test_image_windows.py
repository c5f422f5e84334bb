"""Windows that hold a detection's gradient, and ODSmoothGrad in them."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from scipy.stats import spearmanr
from torch.nn import functional as F

from d2_saliency import explainable
from d2_saliency.modeling.image_windows import ImageWindow, energy_window


def maps_with(*pixels):
    """
    Five maps (5, 256, 320) that are 1 in the box 100..120 x 90..110 and have single pixels (map, y,
    x, value).
    """
    maps = torch.zeros(5, 256, 320)
    maps[:, 90:110, 100:120] = 1
    for k, y, x, value in pixels:
        maps[k, y, x] = value
    return maps


BOX = torch.tensor([100.0, 90, 120, 110])


@pytest.mark.parametrize(
    "pixels, expected",
    [
        ((), (32, 64, 160, 160)),  # 90 - 32 = 58 -> 32, 100 - 32 = 68 -> 64; 142 -> 160, 152 -> 160
        (((2, 91, 180, 3.0),), (32, 64, 160, 160)),  # 3 of 403: less than 1 %
        (
            ((2, 91, 180, 5.0),),
            (0, 32, 192, 192),
        ),  # 5 of 405 in one map: a step more, 110 + 64 -> 192, 120 + 64 -> 192
        (((0, 255, 319, 100.0),), (0, 0, 256, 320)),  # the whole image
    ],
)
def test_the_smallest_window_with_99_percent_of_each_map(pixels, expected):
    assert energy_window(maps_with(*pixels), BOX) == ImageWindow(*expected)


def test_maps_of_zero_have_the_smallest_window():
    assert energy_window(torch.zeros(5, 100, 100), torch.tensor([40.0, 40, 50, 50])) == ImageWindow(
        0, 0, 96, 96
    )


def test_a_cut_moves_the_boxes():
    image = torch.arange(3 * 100 * 120).view(3, 100, 120)
    found = Instances(
        (100, 120),
        pred_boxes=Boxes(torch.tensor([[70.0, 40, 90, 60]])),
        pred_classes=torch.tensor([2]),
    )
    part, moved = ImageWindow(32, 64, 96, 120).cut({"image": image, "height": 1, "width": 1}, found)
    assert torch.equal(part["image"], image[:, 32:96, 64:120]) and (
        part["height"],
        part["width"],
    ) == (64, 56)
    assert moved.pred_boxes.tensor.tolist() == [[6, 8, 26, 28]] and moved.image_size == (64, 56)
    assert moved.pred_classes.tolist() == [2] and found.pred_boxes.tensor.tolist() == [
        [70, 40, 90, 60]
    ]


class TestODSmoothGrad:
    def explained(self, model, image, window):
        head = model.saliency_head
        head.num_samples, head.max_instances, head.window = 2, 1, window
        seen, run = [], model.backbone.forward
        model.backbone.forward = lambda x: (seen.append(tuple(x.shape[-2:])), run(x))[1]
        head.fold_norms = False  # whose copy would not tell what it sees
        with torch.no_grad():
            found = model([{"image": image}])[0]["instances"]
        del model.backbone.forward
        return found[found.pred_saliency.explained], seen

    @pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
    def test_a_small_object_in_a_large_image(self, stock_detector, demo_image, name):
        model, scene = explainable(stock_detector(name)), demo_image(1)["image"]
        image = F.pad(scene, (0, 300, 0, 300), value=114.0)
        exact, _ = self.explained(model, image, "off")
        fast, seen = self.explained(model, image, "auto")
        assert fast.num_matched.tolist() == [2]
        # detecting, the noise-free gradient; then the window: to find the detection there, two
        # noise passes
        assert len(seen) == 5 and seen[0] == seen[1] and len(set(seen[2:])) == 1
        assert seen[2][0] * seen[2][1] < 0.5 * seen[0][0] * seen[0][1]
        for a, b in zip(exact.pred_saliency.maps[0], fast.pred_saliency.maps[0]):
            assert spearmanr(a.flatten(), b.flatten()).statistic > 0.95

    def test_a_large_object_is_explained_exactly(self, stock_detector, demo_image):
        model, scene = explainable(stock_detector("faster_rcnn_planted")), demo_image(1)["image"]
        image = scene[:, :160, :160]
        exact, _ = self.explained(model, image, "off")
        fast, _ = self.explained(model, image, "auto")
        assert torch.equal(exact.pred_saliency.maps[0], fast.pred_saliency.maps[0])
