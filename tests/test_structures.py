import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch.nn import functional as F

from d2_saliency import SaliencyMaps


@pytest.mark.parametrize("size", [(26, 34), (7, 9), (40, 11), (13, 17), (1, 1), (200, 3)])
def test_full_image_maps_resize_as_torch_does(size):
    maps = torch.rand(2, 5, 13, 17)
    ours = SaliencyMaps.full_image(maps, (130, 170)).resize(*size)
    expected = F.interpolate(maps, size, mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(ours, expected)


def test_padding_never_shifts_a_map():
    # A 4-cell map of stride 8 covers 32 padded pixels of an image of 24: its cells stay where their
    # pixels are.
    maps = torch.zeros(1, 5, 4, 4)
    maps[:, :, 1, 2] = 1.0
    resized = SaliencyMaps(maps, torch.tensor([[0, 0, 32, 32]]), (24, 24)).resize(24, 24)[0, 0]
    centre = (resized * torch.arange(24.0)[:, None]).sum() / resized.sum()
    assert centre.item() == pytest.approx(1 * 8 + 3.5, abs=1e-4)
    centre = (resized * torch.arange(24.0)).sum() / resized.sum()
    # The cell at 16..24 is cut by the border of the image, so only half of its slope is left on the
    # right.
    assert resized[:, :20].sum() > 0 and resized[11, 19].item() == pytest.approx(
        resized.max().item(), rel=0.1
    )


def test_a_window_is_zero_outside():
    maps = SaliencyMaps(
        torch.ones(1, 5, 2, 2), torch.tensor([[10, 20, 30, 60]]), (100, 100)
    ).resize(100, 100)
    expected = torch.zeros(100, 100)
    expected[20:60, 10:30] = 1
    assert torch.equal(maps[0, 3], expected)


def test_is_an_instances_field():
    image_size = (50, 60)
    maps = SaliencyMaps.full_image(
        torch.arange(3.0).view(3, 1, 1, 1).expand(3, 5, 4, 6), image_size
    )
    instances = Instances(image_size, pred_boxes=Boxes(torch.rand(3, 4)), pred_saliency=maps)
    assert instances[1].pred_saliency.peaks.tolist() == [[1.0] * 5]
    assert instances[-1].pred_saliency.peaks.tolist() == [[2.0] * 5]
    assert instances[torch.tensor([True, False, True])].pred_saliency.peaks[:, 0].tolist() == [
        0.0,
        2.0,
    ]
    assert instances[torch.tensor([2, 0])].pred_saliency.peaks[:, 0].tolist() == [2.0, 0.0]
    assert len(instances[:0].pred_saliency.resize(5, 5)) == 0
    joined = Instances.cat([instances, instances[:1]])
    assert joined.pred_saliency.peaks[:, 0].tolist() == [0.0, 1.0, 2.0, 0.0]
    assert instances.to("cpu").pred_saliency.image_size == image_size


def test_unexplained_detections_have_no_maps():
    maps = SaliencyMaps.unexplained(2, (50, 60))
    assert maps.explained.tolist() == [False, False]
    assert maps.peaks.tolist() == [[0.0] * 5] * 2
    assert maps.resize(5, 6).abs().sum() == 0


def test_refuses_what_is_not_five_maps():
    with pytest.raises(ValueError, match="shape \\(5, h, w\\)"):
        SaliencyMaps(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4), (9, 9))
    with pytest.raises(ValueError, match="1 maps do not fit 2 regions"):
        SaliencyMaps(torch.zeros(1, 5, 2, 2), torch.zeros(2, 4), (9, 9))
