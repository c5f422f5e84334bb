"""
The same seed gives the same maps bit for bit on a CPU, whatever the batch size and the number of
processes.
"""

import os
from functools import partial

import pytest
import torch

from d2_saliency import build_saliency_head, explainable
from d2_saliency.testing import ToyDetector
from tests.conftest import demo_cfg
from tests.robustness.conftest import in_child

DETECTORS = ("faster_rcnn_planted", "retinanet_planted")
BATCHED = {
    "DRISE": "DRISE",
    "ODSmoothGrad": "SMOOTHGRAD",
    "SmoothGradCAMPlusPlus": "SMOOTHGRAD",
    "IntegratedGradients": "INTEGRATED_GRADIENTS",
}


def head(method, batch_size, seed=0):
    cfg = demo_cfg("faster_rcnn_planted")
    options = [
        ("NAME", method),
        ("MAX_INSTANCES", 1),
        ("SEED", seed),
        ("SMOOTHGRAD.NUM_SAMPLES", 3),
    ]
    options += [
        ("INTEGRATED_GRADIENTS.NUM_STEPS", 3),
        ("DRISE.NUM_MASKS", 6),
        (f"{BATCHED[method]}.BATCH_SIZE", batch_size),
    ]
    cfg.merge_from_list(
        [text for key, value in options for text in (f"MODEL.SALIENCY_HEAD.{key}", value)]
    )
    return build_saliency_head(cfg)


def maps_of(model, image):
    with torch.no_grad():
        found = model([{"image": image}])[0]["instances"]
    return found[found.pred_saliency.explained].pred_saliency.maps


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("method", BATCHED)
def test_batch_size(stock_detector, demo_image, name, method):
    model = explainable(stock_detector(name))
    image = demo_image(1)["image"][:, :160, :192].contiguous()
    results = []
    for batch_size in (1, 2, 3):
        model.saliency_head = head(method, batch_size)
        results.append(maps_of(model, image))
    model.saliency_head = head(method, 1, seed=1)
    other = maps_of(model, image)
    assert len(results[0]) == 1 and results[0][0].amax() > 0
    for result in results[1:]:
        assert torch.equal(result[0], results[0][0])
    assert method == "IntegratedGradients" or not torch.equal(other[0], results[0][0])


def test_what_ran_before_does_not_count(stock_detector, demo_image):
    """
    Nor does the global random state: a process that explains the second image alone gives the same
    maps.
    """
    model = explainable(stock_detector("retinanet_planted"))
    model.saliency_head = head("ODSmoothGrad", 2)
    first, second = (demo_image(i)["image"][:, :160, :192].contiguous() for i in (1, 2))
    alone = maps_of(model, second)
    torch.manual_seed(5)
    maps_of(model, first)
    after = maps_of(model, second)
    assert len(alone) == len(after) == 1 and torch.equal(alone[0], after[0])


def test_number_of_processes(tmp_path):
    """One process with both images, and two with one each, all with as many threads."""

    def explain(name, indices):
        model = explainable(ToyDetector.random())
        model.saliency_head.score_thresh = 0.0
        images = (
            torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(i)) * 255 for i in indices
        )
        torch.save([torch.stack(maps_of(model, image)) for image in images], tmp_path / name)

    children = [
        in_child(partial(explain, *job))
        for job in (("both", [3, 4]), ("first", [3]), ("second", [4]))
    ]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    both, first, second = (torch.load(tmp_path / name) for name in ("both", "first", "second"))
    assert (
        torch.equal(both[0], first[0])
        and torch.equal(both[1], second[0])
        and not torch.equal(both[0], both[1])
    )
