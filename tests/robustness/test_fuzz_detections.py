"""
Any detections that a model may come up with: a correct result, or one line that names the culprit.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from d2_saliency import build_saliency_head, explainable
from d2_saliency.engine.methods import Method
from d2_saliency.engine.run import explain_images
from d2_saliency.results.maps_file import load_maps
from d2_saliency.results.run_info import run_info
from tests.conftest import demo_cfg
from tests.robustness.conftest import CASES, fuzz

HEIGHT, WIDTH = 20, 28
NAN, INF = float("nan"), float("inf")
METHODS = (
    "Gradient",
    "ODSmoothGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "ODAM",
    "SSGradCAMPlusPlus",
    "LayerCAM",
)
coordinate = st.one_of(
    st.integers(-10, 40).map(lambda v: v + 0.3), st.sampled_from([NAN, INF, -INF, 1e30, -1e30])
)
score = st.one_of(
    st.integers(0, 99).map(lambda v: (v + 0.5) / 100), st.sampled_from([NAN, 0.0, 1.0, INF, -1.0])
)
detections = st.lists(st.tuples(st.tuples(*[coordinate] * 4), score, st.integers(0, 3)), max_size=5)


class Told(nn.Module):
    """
    Detects what it was told, with outputs that have a small gradient to the pixels; ``broken`` says
    how it fails.
    """

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(
            torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 1e-6
        )
        self.layer = nn.Identity()
        self.told, self.broken = [], None

    def forward(self, batched_inputs):
        if self.broken is not None:
            return self.broken(batched_inputs)
        return [{"instances": self.detect(x["image"].float())} for x in batched_inputs]

    def detect(self, image):
        change = (self.layer(image[None])[0] * self.weight).sum()
        boxes, scores, classes = zip(*self.told) if self.told else ((), (), ())
        return Instances(
            tuple(image.shape[-2:]),
            pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4) + change),
            scores=torch.tensor(scores, dtype=torch.float32) + 0.1 * change,
            pred_classes=torch.tensor(classes, dtype=torch.long),
        )


class Explainer:
    class_names = ["dog", "../../cat"]

    def __init__(self):
        cfg = demo_cfg("faster_rcnn_planted")
        head = cfg.MODEL.SALIENCY_HEAD
        head.LAYER, head.SCORE_THRESH, head.SMOOTHGRAD.NUM_SAMPLES = "layer", 0.3, 2
        self.model, self.heads = explainable(Told().eval()), {}
        for head.NAME in METHODS:
            self.heads[head.NAME] = build_saliency_head(cfg)

    def __call__(self, image):
        with torch.no_grad():
            result = self.model([{"image": torch.as_tensor(image.transpose(2, 0, 1).copy())}])[0]
        instances = result["instances"]
        return {"instances": instances[instances.pred_saliency.explained]}


@pytest.fixture(scope="module")
def explainer():
    return Explainer()


@pytest.fixture
def explain(explainer, tmp_path):
    """Function: method -> (results, errors) of a run over one image."""
    path = tmp_path / "x.png"
    Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    ).save(path)
    runs = []

    def run(method):
        runs.append(method)
        description = run_info("explain", str(len(runs)), method, 0, num_samples=2)
        methods = [Method(method, explainer.heads[method], description)]
        explain_images(explainer, [path], methods, tmp_path / "out")
        files = (
            Path(tmp_path / "out" / f"{name}.json").read_text() for name in ("results", "errors")
        )
        results, errors = (json.loads(text, parse_constant=pytest.fail) for text in files)
        return results, errors, tmp_path / "out" / "maps" / method / "x.npz"

    return run


def check_error(errors, *words):
    (error,) = errors
    assert error["file"].endswith("x.png") and error["error"].strip() and "\n" not in error["error"]
    assert not words or any(word in error["error"] for word in words), error["error"]
    CASES["detections with an error"] += 1


@fuzz(short=20, long=600)
@given(told=detections, method=st.sampled_from(METHODS))
def test_any_detections(explainer, explain, told, method):
    explainer.model.told, explainer.model.broken = told, None
    results, errors, maps = explain(method)
    assert errors == []
    visible = [box for box, score, _ in told if 0.3 < score < INF and _is_visible(box)]
    found = results["detections"]
    assert len(found) == len(visible)
    assert all(d["explained"] and math.isfinite(d["score"]) and len(d["peaks"]) == 5 for d in found)
    assert all(peak is not None and peak >= 0 for d in found for peak in d["peaks"])
    saved = load_maps(maps).pred_saliency
    assert len(saved) == len(found) and all(m.isfinite().all() for m in saved.maps)
    CASES["detections explained"] += 1


def _is_visible(box):
    x0, y0, x1, y1 = (min(max(v, 0), size) for v, size in zip(box, (WIDTH, HEIGHT) * 2))
    return all(map(math.isfinite, box)) and x1 > x0 and y1 > y0


def test_ten_thousand_boxes(explainer, explain):
    boxes = [(float(x), 1.0, x + 5.0, 9.0) for x in range(20)] * 500
    explainer.model.told = [(box, 0.5 + i / 20_000, i % 80) for i, box in enumerate(boxes)]
    explainer.model.broken = None
    results, errors, _ = explain("Gradient")
    assert errors == [] and [d["class_id"] for d in results["detections"]] == [
        i % 80 for i in range(9980, 10_000)
    ]


ANSWERS = {  # what a model returns instead -> a word that its error must have
    "None": (lambda x: None, "None"),
    "an empty list": (lambda x: [], "0"),
    "no instances": (lambda x: [{} for _ in x], "instances"),
    "instances that are None": (lambda x: [{"instances": None} for _ in x], "instances"),
    "a tensor": (lambda x: torch.zeros(1), "Tensor"),
    "no boxes": (
        lambda x: [{"instances": Instances((HEIGHT, WIDTH), scores=torch.ones(1))} for _ in x],
        "pred_boxes",
    ),
    "an error": (lambda x: {}["nope"], "nope"),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("method", ["Gradient", "GradCAM", "ODSmoothGrad"])
def test_answers_that_are_no_detections(explainer, explain, answer, method):
    explainer.model.broken, word = ANSWERS[answer]
    results, errors, _ = explain(method)
    assert results["detections"] == []
    check_error(errors, word)
