"""Images whose identifiers repeat, as tiles and merged data sets have them: none is lost."""

import json

import pytest
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.evaluation import inference_on_dataset

from d2_saliency import DefaultExplainer
from d2_saliency.engine.evaluate import evaluate_dataset
from d2_saliency.evaluation import SaliencyEvaluator
from d2_saliency.evaluation.comparison import shared_detections
from d2_saliency.evaluation.ground_truth import DatasetError
from d2_saliency.modeling.saliency_heads import ODAM
from tests.conftest import demo_cfg
from tests.evaluation.conftest import NAME


@pytest.fixture
def explainer():
    explainer = DefaultExplainer(demo_cfg("faster_rcnn_planted"))
    explainer.model.saliency_head = ODAM(max_instances=2, score_thresh=0.5)
    return explainer


def stock(explainer, scenes, evaluator):
    mapper = DatasetMapper(demo_cfg("faster_rcnn_planted"), is_train=False)
    loader = build_detection_test_loader(scenes, mapper=mapper)
    return inference_on_dataset(explainer.model, loader, evaluator)


def ours(explainer, scenes, evaluator):
    return evaluate_dataset(explainer, evaluator)


def without_ids(records):
    return [{k: v for k, v in record.items() if k != "image_id"} for record in records]


@pytest.mark.parametrize("run, ids", [(stock, [0, 0, 0, 0]), (ours, [1, "1", 2, 2])])
def test_repeated_identifiers_change_nothing(explainer, scenes, tmp_path, ids, run):
    def evaluated(folder):
        evaluator = SaliencyEvaluator(NAME, explainer.model, ["pointing_game"], folder)
        return evaluator, run(explainer, scenes, evaluator)

    right, expected = evaluated(tmp_path / "right")
    for scene, image_id in zip(scenes, ids):
        scene["image_id"] = image_id
    evaluator, results = evaluated(tmp_path / "out")
    assert results["saliency"]["images"] == 4 and results == expected
    assert without_ids(evaluator.records) == without_ids(right.records)
    assert [record["image_id"] for record in evaluator.records] == ids
    written = [json.loads(p.read_text()) for p in (tmp_path / "out" / "records").glob("*/*.json")]
    assert {r["file_name"] for r in written} == {s["file_name"] for s in scenes}
    assert evaluator.resume(evaluator.dataset_dicts) == []
    shared = shared_detections({"a": evaluator.records, "b": evaluator.records})
    assert len(shared["a"]) == expected["saliency"]["detections"]


def test_what_cannot_be_told_apart_is_refused(explainer, scenes):
    for scene in scenes[1:3]:
        scene.update(image_id=7, file_name="tile.png")
    message = f"'{NAME}' has 2 images with the image_id 7 and the file_name 'tile.png': give each"
    with pytest.raises(DatasetError, match=message):
        SaliencyEvaluator(NAME, explainer.model)


def test_images_of_another_data_set_are_named(explainer, scenes):
    scenes[1]["image_id"] = scenes[0]["image_id"]
    evaluator = SaliencyEvaluator(NAME, explainer.model, ["pointing_game"])
    with pytest.raises(ValueError, match=f"'{NAME}' has no image with the image_id 9, and none"):
        evaluator.process([{"image_id": 9}], [{}])
    with pytest.raises(ValueError, match="has 2 images with the image_id 0.* file ''"):
        evaluator.process([{"image_id": 0}], [{}])
