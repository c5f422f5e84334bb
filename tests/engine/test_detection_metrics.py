"""
Metrics in the report: values worked out by hand for a detector that sees a lamp of four pixels.
"""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from PIL import Image

from d2_saliency import add_saliency_config
from d2_saliency.engine.detection_metrics import DetectionMetrics
from d2_saliency.engine.methods import Method
from d2_saliency.engine.run import explain_images
from d2_saliency.evaluation import METRICS
from d2_saliency.results.run_info import run_info
from tests.evaluation.lamp import HEIGHT, WIDTH, explained_lamp, lamp_detector, lit_image

SCORE = 1 / (
    1 + math.exp(-4.0)
)  # of the lit lamp, when each of its four pixels adds 1 to the logit


class LampExplainer:
    class_names, weights = ["lamp"], ""

    def __init__(self):
        self.model = lamp_detector(logit_per_pixel=1.0)

    def preprocess(self, image):
        return {"image": torch.as_tensor(image.transpose(2, 0, 1).copy()).float()}

    def __call__(self, image):
        with torch.no_grad():
            return self.model([self.preprocess(image)])[0]


@pytest.fixture
def options():
    cfg = get_cfg()
    add_saliency_config(cfg)
    options = cfg.TEST.SALIENCY
    options.DELETION_FILL = options.INSERTION_FILL = "black"
    options.NUM_STEPS = 8  # of four pixels each
    return options


def picture():
    return lit_image().permute(1, 2, 0).numpy().astype(np.uint8)


def test_values_of_explained_images(tmp_path, options):
    Image.fromarray(picture()).save(tmp_path / "lit.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "dark.png")
    explainer = LampExplainer()
    measure = DetectionMetrics(explainer, options, ["deletion_insertion", "average_drop"])
    run = run_info("explain", "A: 1", "Gradient", 0, metrics=measure.better)
    paths = [tmp_path / "dark.png", tmp_path / "lit.png"]
    method = Method("Gradient", explainer.model.saliency_head, run)
    assert explain_images(explainer, paths, [method], tmp_path / "out", measure) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["runs"][0]["metrics"] == measure.better and len(results["images"]) == 2
    (found,) = results["detections"]  # the dark lamp is not seen
    # The gradient is the same at the four pixels of the lamp and zero elsewhere: they are the first
    # to go and to come.
    expected = {
        "deletion_insertion.deletion_s1": SCORE / 8 / 2,
        "deletion_insertion.insertion_s1": SCORE * (1 - 1 / 8 / 2),
        "average_drop.drop": 0.0,
        "average_drop.increase": 0.0,
    }
    assert {key: found["metrics"][key] for key in expected} == pytest.approx(expected, abs=1e-5)
    assert set(found["metrics"]) == set(measure.better) and found["score"] == pytest.approx(SCORE)


def test_which_direction_is_better(options):
    better = DetectionMetrics(LampExplainer(), options, ["average_drop"]).better
    assert better == {"average_drop.drop": "lower", "average_drop.increase": "higher"}


def test_by_default_those_of_the_config_that_need_no_annotations(options):
    options.METRICS = ["pointing_game", "iof_thirds", "average_drop", "pointing_game_masks"]
    assert DetectionMetrics(LampExplainer(), options).names == ["average_drop"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("deletion", "There is no metric 'deletion'; choose among"),
        (
            "pointing_game",
            "pointing_game needs annotated images: use evaluate, or choose among .*average_drop",
        ),
    ],
)
def test_metrics_that_cannot_be(options, name, message):
    with pytest.raises(ValueError, match=message):
        DetectionMetrics(LampExplainer(), options, ["average_drop", name])


@pytest.mark.parametrize(
    "name", sorted(set(METRICS) - {"model_randomisation"})
)  # which needs another detector
def test_metrics_say_whether_they_need_annotations(name):
    """Those that say no have a value without any, those that say yes have not."""
    explainer = LampExplainer()
    image = explained_lamp(
        explainer.model, explainer(picture())["instances"].pred_saliency.maps[0], num_draws=2
    )
    (values,) = METRICS[name].function(image)
    assert math.isnan(values[METRICS[name].values[0]]) == bool(METRICS[name].needs)


def test_a_metric_that_the_architecture_does_not_allow_does_not_cost_the_others(options, caplog):
    """Nobody knows which proposals or anchors the lamp's detections come from."""
    measure = DetectionMetrics(LampExplainer(), options, ["model_randomisation", "average_drop"])
    assert measure.names == ["average_drop"] and set(measure.better) == {
        "average_drop.drop",
        "average_drop.increase",
    }
    (message,) = [
        r.getMessage() for r in caplog.records if r.name == "d2_saliency.evaluation.build"
    ]
    assert (
        "Metric model_randomisation is skipped, the others go on: it follows" in message
        and "\n" not in message
    )
    assert "not known for SaliencyToyDetector. Leave it out" in message
    explainer = LampExplainer()
    (found,) = measure(picture(), explainer(picture())["instances"])
    assert found["average_drop.drop"] == pytest.approx(0, abs=1e-5)
    with pytest.raises(
        ValueError, match="model_randomisation follows .*: choose among average_drop, .*stability"
    ):
        DetectionMetrics(LampExplainer(), options, ["model_randomisation"])


def test_results_without_metrics_are_those_of_another_run(options):
    better = DetectionMetrics(LampExplainer(), options, ["average_drop"]).better
    digests = {
        run_info("explain", "A: 1", "ODAM", 0, metrics=metrics)["digest"]
        for metrics in (None, better, {})
    }
    assert len(digests) == 2
