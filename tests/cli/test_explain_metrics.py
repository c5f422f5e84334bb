"""d2-saliency explain --metrics: what each map is worth, in the report."""

import numpy as np
import pytest
import torch

from d2_saliency.results.maps_file import load_maps
from d2_saliency.utils.image_io import read_image
from tests.conftest import ROOT

SCENE = ROOT / "demo" / "images" / "planted_0007.png"
COMMAND = ("--input", SCENE, "--output", "out", "--method", "DRISE", "--max-instances", "1")
DRISE = "MODEL.SALIENCY_HEAD.DRISE."
# Few masks that hide little: a map that shows most of the picture, so that the detection does not
# go.
FEW_MASKS = ("--opts", "INPUT.MIN_SIZE_TEST", "0", f"{DRISE}NUM_MASKS", "5", f"{DRISE}P", "0.9")
FEW_MASKS += (f"{DRISE}ESTIMATOR", "mean")


def test_average_drop_of_the_stock_detector_in_the_explained_picture(tool, stock_detector):
    run = tool(*COMMAND, "--metrics", "average_drop", *FEW_MASKS)
    (record,) = run.results["detections"]
    saliency = load_maps(run.folder / "maps" / "DRISE" / "planted_0007.npz").pred_saliency
    image = torch.as_tensor(read_image(SCENE).transpose(2, 0, 1).copy()).float()
    shown = image * (saliency.resize(*image.shape[-2:])[0, 0] / saliency.peaks[0, 0])
    with torch.no_grad():
        before, after = (
            stock_detector("faster_rcnn_planted")([{"image": x}])[0]["instances"]
            for x in (image, shown)
        )
    assert record["score"] == before.scores[0].item()
    again = (after.pred_classes == before.pred_classes[0]) & (overlap(after, before) > 0.5)
    scores = after.scores[again].tolist()
    assert scores and record["metrics"]["average_drop.drop"] == pytest.approx(
        100 * max(0, record["score"] - max(scores)) / record["score"], abs=0.5
    )
    assert "average_drop.drop" in (run.folder / "report/data/planted_0007.js").read_text()


def overlap(instances, reference):
    a, b = instances.pred_boxes.tensor.numpy(), reference.pred_boxes.tensor[0].numpy()
    sides = np.clip(np.minimum(a[:, 2:], b[2:]) - np.maximum(a[:, :2], b[:2]), 0, None)
    areas = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1]), (b[2] - b[0]) * (b[3] - b[1])
    return torch.as_tensor(sides.prod(1) / (sum(areas) - sides.prod(1)))


@pytest.mark.parametrize(
    "args, message",
    [
        (
            ["--metrics", "pointing_game"],
            "Metric pointing_game needs annotated images: use evaluate, or choose",
        ),
        (["--metrics", "drop"], "There is no metric 'drop'; choose among average_drop"),
        (
            ["--metrics", "--target-box", "1,2,30,40", "--target-class", "0"],
            "--metrics judges the maps of detections",
        ),
    ],
)
def test_one_line_that_says_what_to_do(tool, args, message):
    run = tool(*COMMAND, *args, *FEW_MASKS)
    assert (
        run.status == 2
        and message in run.err
        and run.err.count("\n") == 1
        and not run.folder.exists()
    )
