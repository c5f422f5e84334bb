"""SaliencyEvaluator in Detectron2's own machinery."""

import json
import logging
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
    print_csv_format,
)
from detectron2.structures import pairwise_iou
from pycocotools import mask as coco_mask

from d2_saliency import add_saliency_config, explainable
from d2_saliency.evaluation import MetricSettings, SaliencyEvaluator, mean_with_interval
from d2_saliency.evaluation.regions import energy_share
from d2_saliency.keys import KEYS
from d2_saliency.modeling.saliency_heads import ODAM
from tests.conftest import demo_cfg
from tests.evaluation.conftest import NAME
from tests.evaluation.lamp import lamp_detector

FEW = MetricSettings(num_steps=2, batch_size=4)


@pytest.fixture
def model(stock_detector):
    model = explainable(stock_detector("faster_rcnn_planted"))
    model.saliency_head = ODAM(max_instances=1, score_thresh=0.5)
    return model


@pytest.fixture
def loader(scenes):
    cfg = demo_cfg("faster_rcnn_planted")
    return build_detection_test_loader(scenes, mapper=DatasetMapper(cfg, is_train=False))


def test_every_default_metric_in_stock_inference(model, loader, tmp_path):
    evaluator = SaliencyEvaluator(NAME, model, output_dir=tmp_path / "out", settings=FEW)
    results = inference_on_dataset(model, loader, evaluator)
    assert results["saliency"]["images"] == 4 and results["saliency"]["failed"] == 0
    assert (
        0 < results["saliency"]["matched"] < results["saliency"]["detections"]
    )  # one scene has no annotations
    assert [len(r["detections"]) > 0 for r in evaluator.records] == [True, True, True, False]
    assert (
        results["deletion_insertion"]["insertion_s1"] > results["deletion_insertion"]["deletion_s1"]
    )
    for metric in set(results) - {"saliency"}:
        counts = {v for k, v in results[metric].items() if k.endswith("-count")}
        needs_truth = metric in ("pointing_game", "pointing_game_masks", "iof_thirds")
        assert counts == {results["saliency"]["matched" if needs_truth else "detections"]}
    written = json.loads((tmp_path / "out" / "ODAM" / "metrics.json").read_text())
    assert written["metrics"]["average_drop"]["drop"]["mean"] == results["average_drop"]["drop"]
    assert len(list((tmp_path / "out" / "records" / "ODAM").glob("*.json"))) == 4


def test_the_numbers_are_those_of_the_function_on_the_maps(model, loader, scenes):
    results = inference_on_dataset(
        model, loader, SaliencyEvaluator(NAME, model, ["pointing_game_masks"])
    )
    shares = []
    for inputs, scene in zip(loader, scenes):
        with torch.no_grad():
            found = model(inputs)[0]["instances"]
        found = found[found.pred_saliency.explained & (found.scores > 0.6)]
        maps = found.pred_saliency.resize(scene["height"], scene["width"]).numpy()
        for annotation in scene["annotations"]:
            box = type(found.pred_boxes)(torch.tensor([annotation["bbox"]]))
            iou = pairwise_iou(found.pred_boxes, box)[:, 0] * (
                found.pred_classes == annotation["category_id"]
            )
            if len(iou) and iou.max() > 0.7:
                mask = coco_mask.decode(annotation["segmentation"]).astype(bool)
                shares.append(energy_share(maps[iou.argmax()][0], mask))
    expected = mean_with_interval(shares)
    values = results["pointing_game_masks"]
    assert len(shares) > 1 and values["energy-count"] == len(shares)
    assert values["energy"] == pytest.approx(np.mean(shares)) and values[
        "energy-low"
    ] == pytest.approx(expected.low)


def test_beside_another_evaluator_and_in_csv(model, loader, caplog):
    others = [OtherEvaluator(), SaliencyEvaluator(NAME, model, ["pointing_game"])]
    results = inference_on_dataset(model, loader, DatasetEvaluators(others))
    assert results["bbox"] == {"AP": 1.0} and 0 <= results["pointing_game"]["hit"] <= 1
    logging.getLogger("detectron2").propagate = True
    with caplog.at_level(logging.INFO):
        print_csv_format(results)
    assert "copypaste: hit,energy" in caplog.text  # intervals and counts are not in the table


class OtherEvaluator(DatasetEvaluator):
    def evaluate(self):
        return {"bbox": {"AP": 1.0}}


def test_no_detections_at_all_give_nan_and_count_0(model, loader):
    evaluator = SaliencyEvaluator(NAME, model, ["pointing_game", "average_drop"], score_thresh=1.0)
    results = inference_on_dataset(model, loader, evaluator)
    assert results["saliency"]["detections"] == 0 and results["pointing_game"]["hit-count"] == 0
    assert math.isnan(results["pointing_game"]["hit"]) and math.isnan(
        results["average_drop"]["drop-low"]
    )


def test_a_data_set_without_masks_skips_mask_metrics_and_says_so(model, scenes, caplog):
    for record in scenes:
        record["annotations"] = [{**a, "segmentation": []} for a in record["annotations"]]
    evaluator = SaliencyEvaluator(
        NAME, model, ["pointing_game", "pointing_game_masks", "iof_thirds", "cause_energy"]
    )
    assert evaluator.metrics == ["pointing_game", "cause_energy"]
    assert (
        "Metric iof_thirds is skipped: the annotations of 'saliency_test_scenes' have no masks."
        in caplog.text
    )


def test_an_unknown_architecture_skips_what_follows_proposals_and_says_so(scenes, caplog):
    evaluator = SaliencyEvaluator(NAME, lamp_detector(), ["model_randomisation", "average_drop"])
    assert evaluator.metrics == ["average_drop"]
    assert "Metric model_randomisation is skipped, the others go on" in caplog.text
    with pytest.raises(
        ValueError, match="Metric model_randomisation follows .*: choose among average_drop"
    ):
        SaliencyEvaluator(NAME, lamp_detector(), ["model_randomisation"])


def test_wrong_arguments(model, scenes, stock_detector):
    with pytest.raises(
        ValueError, match="no metric 'insertion'; choose among average_drop, cause_energy"
    ):
        SaliencyEvaluator(NAME, model, ["insertion"])
    with pytest.raises(
        ValueError,
        match=r"GeneralizedRCNN does not explain its detections: pass explainable\(model\)",
    ):
        SaliencyEvaluator(NAME, stock_detector("faster_rcnn_planted"))
    with pytest.raises(ValueError, match="There is no data set 'nope'"):
        SaliencyEvaluator("nope", model)
    with pytest.raises(
        ValueError, match="DELETION_FILL is 'white'; choose one of black, mean, blur"
    ):
        MetricSettings(deletion_fill="white")
    with pytest.raises(ValueError, match="no metric 'pointing'; .* Did you mean pointing_game"):
        SaliencyEvaluator(NAME, model, ["pointing"])


EVALUATION_KEYS = [name for name in KEYS if name.startswith("TEST.SALIENCY.")]


@pytest.mark.parametrize("name", EVALUATION_KEYS)
def test_values_are_refused_by_config_and_by_hand(model, scenes, name):
    key, argument = KEYS[name], name.split(".")[-1].lower()
    value = "no such choice" if key.choices else key.high + 1 if key.is_number else None
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.TEST.SALIENCY[name.split(".")[-1]] = value
    with pytest.raises(ValueError, match=f"^{name} (is|has) .*; "):
        SaliencyEvaluator(cfg, NAME, model)
    settings = argument in {field.name for field in fields(MetricSettings)}
    with pytest.raises(ValueError, match=f"^{name} (is|has) .*; "):
        if settings:
            MetricSettings(**{argument: value})
        else:
            SaliencyEvaluator(NAME, model, **{argument: value})


def test_defaults_are_those_of_the_keys(model, scenes):
    cfg = get_cfg()
    add_saliency_config(cfg)
    by_config, by_hand = SaliencyEvaluator(cfg, NAME, model), SaliencyEvaluator(NAME, model)
    for name in ("metrics", "score_thresh", "iou_thresh", "settings"):
        assert getattr(by_config, name) == getattr(by_hand, name)


def test_from_config(model, scenes):
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.TEST.SALIENCY.METRICS = ["pointing_game"]
    cfg.TEST.SALIENCY.NUM_STEPS = 7
    evaluator = SaliencyEvaluator(cfg, NAME, model)
    assert evaluator.metrics == ["pointing_game"] and evaluator.settings.num_steps == 7
    assert (
        SaliencyEvaluator(demo_cfg("faster_rcnn_planted"), NAME, model).metrics
        == SaliencyEvaluator(NAME, model).metrics
    )


class TestResume:
    def run(self, model, loader, tmp_path, digest, **options):
        evaluator = SaliencyEvaluator(
            NAME, model, ["pointing_game"], tmp_path / "out", run_digest=digest, **options
        )
        remaining = evaluator.resume(evaluator.dataset_dicts)
        by_id = {x["image_id"]: x for (x,) in loader}
        for record in remaining:
            inputs = [by_id[record["image_id"]]]
            with torch.no_grad():
                evaluator.process(inputs, model(inputs))
        return [r["image_id"] for r in remaining], evaluator.evaluate()

    def test_only_what_is_missing_is_measured_and_the_numbers_are_the_same(
        self, model, loader, tmp_path
    ):
        ids, first = self.run(model, loader, tmp_path, "a")
        assert ids == [0, 1, 2, 3]
        (tmp_path / "out" / "records" / "ODAM" / "2.json").unlink()
        ids, second = self.run(model, loader, tmp_path, "a")
        assert ids == [2] and second == first

    def test_other_settings_other_annotations_and_errors_are_measured_again(
        self, model, loader, scenes, tmp_path
    ):
        self.run(model, loader, tmp_path, "a")
        assert self.run(model, loader, tmp_path, "b")[0] == [0, 1, 2, 3]
        scenes[0]["annotations"] = scenes[0]["annotations"][1:]
        assert self.run(model, loader, tmp_path, "b")[0] == [0]
        evaluator = SaliencyEvaluator(
            NAME, model, ["pointing_game"], tmp_path / "out", run_digest="b"
        )
        evaluator.add_error(scenes[3], "Out of memory")
        assert self.run(model, loader, tmp_path, "b")[0] == [3]

    def test_another_method_and_folders_of_before(self, model, loader, tmp_path):
        """Records were in <method>/records/<image>.json: they are left alone, and not read."""
        old = tmp_path / "out" / "ODAM" / "records" / "0.json"
        old.parent.mkdir(parents=True)
        old.write_text('{"digest": "x", "record": {"detections": []}}')
        assert self.run(model, loader, tmp_path, "a")[0] == [0, 1, 2, 3]
        assert self.run(model, loader, tmp_path, "a", method="other")[0] == [0, 1, 2, 3]
        assert self.run(model, loader, tmp_path, "a", method="ODAM")[0] == []
        assert {p.parent.name for p in (tmp_path / "out").glob("*/metrics.json")} == {
            "ODAM",
            "other",
        }
        assert old.is_file()


def test_failed_images_are_counted(model, scenes):
    evaluator = SaliencyEvaluator(NAME, model, ["pointing_game"])
    evaluator.add_error(scenes[1], "damaged")
    results = evaluator.evaluate()
    assert results["saliency"]["failed"] == results["saliency"]["images"] == 1
