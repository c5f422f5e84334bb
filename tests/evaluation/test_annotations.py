"""Annotations of any kind of number and array; those that cannot be used cost their image alone."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.evaluation import inference_on_dataset
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from d2_saliency import DefaultExplainer
from d2_saliency.engine.evaluate import evaluate_dataset
from d2_saliency.evaluation import SaliencyEvaluator
from d2_saliency.evaluation.annotations import (
    AnnotationError,
    annotated_keys,
    annotations_text,
    check_objects,
    decode_mask,
    xyxy,
)
from d2_saliency.modeling.saliency_heads import ODAM
from tests.conftest import demo_cfg
from tests.evaluation.conftest import NAME

BOX = [2, 3, 10, 8]
RIGHT = {"bbox": BOX, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
ARRAYS = [np.array, np.float32, torch.tensor, lambda v: torch.tensor(v).half()]


@pytest.mark.parametrize("array", [tuple, *ARRAYS])
def test_arrays_are_as_good_as_lists(array):
    annotation = {**RIGHT, "bbox": array(BOX), "keypoints": array([1, 2, 2]), "n": array([])}
    check_objects({"annotations": [annotation]})
    assert xyxy(annotation) == [2, 3, 12, 11]
    keys = annotated_keys([{"annotations": [annotation]}])
    assert keys == {"bbox", "bbox_mode", "category_id", "keypoints"}


@pytest.mark.parametrize("number", [1, 1.0, np.int64(1), np.float32(1), torch.tensor(1)])
def test_numbers_of_any_kind_are_classes(number):
    check_objects({"annotations": [{**RIGHT, "category_id": number}]})


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("bbox", [0, 0, math.nan, 1], r"annotation 1: bbox is \[0, 0, nan, 1\], not four finite"),
        ("bbox", np.array([0, 0, np.inf, 1]), "annotation 1: bbox is array.*not four finite"),
        ("bbox", [1, 2, 3], r"bbox is \[1, 2, 3\], not four finite numbers"),
        ("bbox", "abcd", "bbox is 'abcd', not four"),
        ("bbox", None, "bbox is None, not four"),
        ("bbox_mode", "xywh", "bbox_mode is 'xywh', not a BoxMode"),
        ("category_id", "dog", "annotation 1: category_id is 'dog', not the number of a class"),
        ("category_id", "1", "category_id is '1', not the number of a class"),
        ("category_id", 0.5, "category_id is 0.5, not the number"),
        ("category_id", -1, "category_id is -1, not the number"),
        ("category_id", None, "category_id is None, not the number"),
        ("category_id", np.array([1, 2]), "category_id is array"),
    ],
)
def test_what_is_wrong_is_named(field, value, message):
    with pytest.raises(AnnotationError, match=message):
        check_objects({"annotations": [RIGHT, {**RIGHT, field: value}]})
    with pytest.raises(AnnotationError, match=f"annotation 0 has no {field}: give it"):
        check_objects({"annotations": [{k: v for k, v in RIGHT.items() if k != field}]})
    check_objects({"annotations": [{**RIGHT, field: value, "iscrowd": 1}]})  # no object


def test_masks_as_arrays():
    mask = np.zeros((20, 30), bool)
    mask[3:11, 2:12] = True
    runs = np.flatnonzero(np.diff(mask.T.flatten().astype(int), prepend=0, append=0))
    counts = np.diff(np.concatenate([[0], runs, [mask.size]]))
    polygon = np.array([[2, 3], [12, 3], [12, 11], [2, 11]], float)
    compressed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    forms = [mask, mask.astype(np.uint8), torch.from_numpy(mask), [polygon], polygon[None]]
    for form in [*forms, compressed, {"size": [20, 30], "counts": counts}]:
        assert np.array_equal(decode_mask(form, 20, 30), mask)
    for nothing in (None, [], np.array([]), {}):
        assert decode_mask(nothing, 20, 30) is None
    for wrong in ("text", [["a", "b"]], {"size": [20, 30]}, mask[:5]):
        with pytest.raises(AnnotationError, match="neither polygons, RLE nor an array of 20x30"):
            decode_mask(wrong, 20, 30)


def test_text_for_digests_has_large_arrays():
    first, second = ({"annotations": [{"mask": np.zeros((100, 100))}]} for _ in range(2))
    assert annotations_text(first) == annotations_text(second)
    second["annotations"][0]["mask"][50, 50] = 1
    assert annotations_text(first) != annotations_text(second)
    assert annotations_text({}) == "null" and annotations_text({"annotations": [{"x": b"1"}]})


@pytest.fixture
def explainer():
    explainer = DefaultExplainer(demo_cfg("faster_rcnn_planted"))
    explainer.model.saliency_head = ODAM(max_instances=2, score_thresh=0.5)
    return explainer


def judged(explainer, stock, scenes):
    evaluator = SaliencyEvaluator(NAME, explainer.model, ["pointing_game", "pointing_game_masks"])
    if stock:
        mapper = DatasetMapper(demo_cfg("faster_rcnn_planted"), is_train=False)
        loader = build_detection_test_loader(scenes, mapper=mapper)
        return inference_on_dataset(explainer.model, loader, evaluator), evaluator.records
    return evaluate_dataset(explainer, evaluator), evaluator.records


def test_a_data_set_of_arrays_has_the_same_metrics(explainer, scenes):
    expected = judged(explainer, False, scenes)
    for scene in scenes:
        for a in scene["annotations"]:
            a["bbox"], a["category_id"] = np.array(a["bbox"]), np.int64(a["category_id"])
            a["segmentation"] = coco_mask.decode(a["segmentation"])
            a["keypoints"] = torch.zeros(3)
    assert json.dumps(judged(explainer, False, scenes)) == json.dumps(expected)


@pytest.mark.parametrize("stock", [True, False])
def test_an_image_that_cannot_be_judged_fails_alone(explainer, scenes, caplog, stock):
    objects = scenes[2]["annotations"]
    scenes[2]["annotations"] = [{**objects[0], "category_id": "dog"}, *objects[1:]]
    scenes[0]["annotations"] = [{**a, "segmentation": "x"} for a in scenes[0]["annotations"]]
    results, records = judged(explainer, stock, scenes)
    assert results["saliency"]["images"] == 4 and results["saliency"]["failed"] == 2
    said = "annotation 0: category_id is 'dog', not the number of a class, from 0."
    assert records[2]["error"] == said and "neither polygons" in records[0]["error"]
    assert f"Image 2 ('{scenes[2]['file_name']}'): {said}" in caplog.text
