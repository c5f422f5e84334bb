"""Annotations in each of their forms, and which detection is of which object."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools import mask as coco_mask

from d2_saliency.evaluation.annotations import decode_mask, objects_of
from d2_saliency.evaluation.ground_truth import DatasetError, load_dataset, match_to_truth


def annotation(box, category=0, mode=BoxMode.XYXY_ABS, **more):
    return {"bbox": box, "bbox_mode": mode, "category_id": category, **more}


def found(boxes, classes):
    return Instances(
        (20, 20), pred_boxes=Boxes(torch.tensor(boxes).float()), pred_classes=torch.tensor(classes)
    )


def test_masks_in_all_three_forms():
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:3, 2:6] = True
    polygon = [[2.0, 1, 6, 1, 6, 3, 2, 3]]
    compressed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    runs = np.flatnonzero(
        np.diff(mask.T.flatten().astype(int), prepend=0, append=0)
    )  # column by column
    counts = np.diff(np.concatenate([[0], runs, [48]])).tolist()
    for form in (polygon, compressed, {"size": [6, 8], "counts": counts}):
        assert np.array_equal(decode_mask(form, 6, 8), mask)
    assert decode_mask(None, 6, 8) is None and decode_mask([], 6, 8) is None


def test_match_needs_class_and_overlap_and_is_one_to_one():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 10], [10, 10, 20, 20]]
    objects = [
        annotation([0, 0, 10, 10], mode=BoxMode.XYWH_ABS),
        annotation([10, 10, 20, 17], category=0),  # IoU 0.7: not above it
    ]
    truth = match_to_truth(found(boxes, [0, 0, 1, 0]), objects, iou_thresh=0.7)
    assert [t and t.box for t in truth] == [[0, 0, 10, 10], None, None, None]
    assert match_to_truth(found(boxes, [0, 0, 1, 0]), [], iou_thresh=0.7) == [None] * 4


def test_crowds_are_no_objects():
    record = {"annotations": [annotation([0, 0, 1, 1], iscrowd=1), annotation([0, 0, 2, 2])]}
    assert [a["bbox"][2] for a in objects_of(record)] == [2] and objects_of({}) == []


def test_unknown_data_set():
    with pytest.raises(
        DatasetError, match="no data set 'planted_vla'.*planted_shortcut_val.*planted_val"
    ):
        load_dataset("planted_vla")


def test_missing_and_damaged_annotations(tmp_path):
    name = "ground_truth_test"
    path = tmp_path / "instances.json"
    register_coco_instances(name, {}, str(path), str(tmp_path))
    try:
        with pytest.raises(
            DatasetError, match=f"'{name}' cannot be read.*instances.json.*No such file"
        ):
            load_dataset(name)
        path.write_text('{"images": [')
        with pytest.raises(DatasetError, match=f"'{name}' are damaged"):
            load_dataset(name)
    finally:
        DatasetCatalog.remove(name)
