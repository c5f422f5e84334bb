"""The ground truth: a registered data set, and which detection is of which object."""

from functools import cached_property
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances

from ..data.user_data_sets import DatasetError
from ..modeling.matching import match_instances
from .annotations import decode_mask, xyxy


class Truth:
    """
    One annotated object.

    Attributes:
        annotation: the annotation in Detectron2's format, whatever else it has.
        box: (x_min, y_min, x_max, y_max), pixels of the original image.
    """

    def __init__(self, annotation: Dict[str, Any], height: int, width: int):
        self.annotation = annotation
        self.box = xyxy(annotation)
        self._size = height, width

    @cached_property
    def mask(self) -> Optional[np.ndarray]:
        """(H, W) bool; None where the annotation has no mask."""
        return decode_mask(self.annotation.get("segmentation"), *self._size)


def load_dataset(name: str) -> List[Dict[str, Any]]:
    """
    The dicts of a registered data set, each with an "image_id".

    Raises:
        DatasetError: no data set has this name, or its files cannot be read.
    """
    if name not in DatasetCatalog.list():
        known = (
            ", ".join(
                sorted(n for n in DatasetCatalog.list() if n.split("_")[0] == name.split("_")[0])
            )
            or "none"
        )
        raise DatasetError(
            f"There is no data set '{name}': name its files with --coco-json and --image-root, the "
            "module that registers it with --import, or another one in DATASETS.TEST (registered "
            f"names that begin alike: {known})."
        )
    try:
        records = DatasetCatalog.get(name)
    except OSError as e:
        reason = f"'{e.filename}': {e.strerror}" if e.filename else str(e)
        raise DatasetError(
            f"The data set '{name}' cannot be read ({reason}). Detectron2 looks for its built-in "
            "data sets in the folder $DETECTRON2_DATASETS (else ./datasets)."
        ) from e
    except (ValueError, KeyError, AssertionError) as e:  # Detectron2's loaders raise these
        raise DatasetError(
            f"The annotations of the data set '{name}' are damaged ({type(e).__name__}: {e})."
        ) from e
    return [{"image_id": i, **record} for i, record in enumerate(records)]


def match_to_truth(
    found: Instances, annotations: Sequence[Dict[str, Any]], iou_thresh: float
) -> List[Optional[Truth]]:
    """
    The object that each of N detections is of: same class, IoU above ``iou_thresh``, one to one,
        best total IoU.

    Args:
        found: detections in coordinates of the original image.
        annotations: from :func:`objects_of`, once :func:`check_objects` has seen them.

    Returns:
        list: N items, None where there is no such object.
    """
    boxes = torch.tensor([xyxy(a) for a in annotations], dtype=torch.float32).reshape(-1, 4)
    classes = torch.tensor([int(a["category_id"]) for a in annotations], dtype=torch.long)
    truth = Instances(found.image_size, pred_boxes=Boxes(boxes), pred_classes=classes)
    result: List[Optional[Truth]] = [None] * len(found)
    for i, j in zip(*(index.tolist() for index in match_instances(found, truth, iou_thresh))):
        result[i] = Truth(annotations[j], *found.image_size)
    return result
