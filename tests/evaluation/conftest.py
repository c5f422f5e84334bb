"""
A small registered data set: planted scenes, one without annotations, and a black image in which
nothing is found.
"""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2_saliency.data.planted_causes import split_scene
from d2_saliency.data.planted_scene import CLASSES

NAME = "saliency_test_scenes"


@pytest.fixture
def scenes(tmp_path):
    """Name of a registered data set of four images; its records are ``scenes.records``."""
    images = [split_scene("planted_val", k) for k in (0, 1, 2)]
    drawn = [(s.image, s.annotations) for s in images] + [(np.zeros((240, 250, 3), np.uint8), [])]
    drawn[1] = (drawn[1][0], [])
    records = []
    for k, (image, annotations) in enumerate(drawn):
        path = tmp_path / f"scene_{k}.png"
        cv2.imwrite(str(path), image)
        size = {"height": image.shape[0], "width": image.shape[1]}
        records.append({"file_name": str(path), "image_id": k, **size, "annotations": annotations})
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).thing_classes = list(CLASSES)
    yield records
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)
