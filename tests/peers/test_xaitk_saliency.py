"""
D-RISE against xaitk-saliency's: the same map from the same masks, boxes, class vectors and
objectness.

Its IoU is that of pixel indices, in which a box from 0 to 9 is 10 pixels wide ("+ 1"); Detectron2's
is continuous. Taking 1 off its lower right corners gives both the same IoU, so the maps must then
be equal.
"""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency.modeling.raw_outputs import RawOutputs
from d2_saliency.modeling.saliency_heads.d_rise.estimators import OcclusionSums, mean_map
from d2_saliency.modeling.saliency_heads.d_rise.occlusions import grid_occlusions, random_grids
from d2_saliency.modeling.saliency_heads.d_rise.weights import output_weights

scoring = pytest.importorskip("xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring")
SIZE, NUM_MASKS, NUM_OUTPUTS, NUM_CLASSES = (48, 64), 40, 6, 4


@pytest.fixture
def outputs():
    """
    Boxes (N, R, 4), class vectors (N, R, K) and objectness (N, R) of R outputs under each of N
    masks.
    """
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(NUM_MASKS, NUM_OUTPUTS, 2, generator=generator) * 30
    side = 4 + torch.rand(NUM_MASKS, NUM_OUTPUTS, 2, generator=generator) * 14
    vectors = torch.rand(NUM_MASKS, NUM_OUTPUTS, NUM_CLASSES, generator=generator)
    return (
        torch.cat([corner, corner + side], dim=2),
        vectors,
        torch.rand(NUM_MASKS, NUM_OUTPUTS, generator=generator),
    )


def ours(masks, outputs):
    boxes, vectors, objectness = outputs
    targets = Instances(SIZE, pred_boxes=Boxes(boxes[0, :3]), pred_classes=vectors[0, :3].argmax(1))
    targets.class_vectors = vectors[0, :3]
    weights = [
        output_weights(targets, RawOutputs(b[:, None], v, o))
        for b, v, o in zip(boxes, vectors, objectness)
    ]
    return mean_map([OcclusionSums.zeros(3, SIZE).add(masks, torch.stack(weights))])[:, 0]


def theirs(masks, outputs, off):
    boxes, vectors, objectness = outputs
    boxes = boxes - torch.tensor([0.0, 0, off, off])
    detections = torch.cat([boxes, objectness[..., None], vectors], dim=2).double().numpy()
    return scoring.DRISEScoring().generate(detections[0, :3], detections, masks.double().numpy())


def test_same_map(outputs):
    masks = grid_occlusions(*random_grids(NUM_MASKS, 6, 0.5, 1), SIZE)
    mine = ours(masks, outputs)
    expected = theirs(masks, outputs, off=1)  # divided by its maximum
    np.testing.assert_allclose(
        (mine / mine.amax((1, 2), keepdim=True)).numpy(), expected, atol=1e-5
    )
    assert np.ptp(expected, axis=(1, 2)).min() > 0.2  # not flat
    assert np.abs(theirs(masks, outputs, off=0) - expected).max() > 1e-3  # what the "+ 1" is worth


def test_same_masks_in_the_mean():
    """
    Their generator draws other bits; the masks of both are as bright on average, and as smooth.
    """
    rise = pytest.importorskip("xaitk_saliency.impls.perturb_image.rise")
    peer = torch.from_numpy(
        rise.RISEGrid(n=600, s=6, p1=0.3, seed=0, threads=0).perturb(np.zeros((*SIZE, 3), np.uint8))
    )
    mine = grid_occlusions(*random_grids(600, 6, 0.3, 0), SIZE)
    for statistic in (
        lambda m: m.mean(),
        lambda m: m.std(0).mean(),
        lambda m: m.diff(dim=2).abs().mean(),
    ):
        assert statistic(mine).item() == pytest.approx(statistic(peer).item(), rel=0.05)
