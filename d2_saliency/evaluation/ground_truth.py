"""The ground truth: the annotations of a data set, and which detection is of which object."""

from functools import cached_property
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, BoxMode, Instances, polygons_to_bitmask
from pycocotools import mask as coco_mask

from ..data.user_data_sets import DatasetError
from ..modeling.matching import match_instances


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


def xyxy(annotation: Dict[str, Any]) -> List[float]:
    return list(
        map(
            float,
            BoxMode.convert(list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS),
        )
    )


def decode_mask(segmentation, height: int, width: int) -> Optional[np.ndarray]:
    """A mask in one of COCO's three forms (polygons, RLE, compressed RLE) as (H, W) bool."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, *segmentation["size"])
        return coco_mask.decode(segmentation).astype(bool)
    return polygons_to_bitmask(
        [np.asarray(p, dtype=np.float64) for p in segmentation], height, width
    )


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


def objects_of(record: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The annotations of an image that are single objects: crowds are not."""
    return [a for a in record.get("annotations", []) if not a.get("iscrowd", 0)]


def annotated_keys(records: Iterable[Dict[str, Any]]) -> Set[str]:
    """
    List the keys that objects of a data set's images are annotated with, some of them at least.
    """
    return {key for record in records for a in objects_of(record) for key in a if a[key]}


def match_to_truth(
    found: Instances, annotations: Sequence[Dict[str, Any]], iou_thresh: float
) -> List[Optional[Truth]]:
    """
    The object that each of N detections is of: same class, IoU above ``iou_thresh``, one to one,
        best total IoU.

    Args:
        found: detections in coordinates of the original image.
        annotations: from :func:`objects_of`.

    Returns:
        list: N items, None where there is no such object.
    """
    boxes = torch.tensor([xyxy(a) for a in annotations], dtype=torch.float32).reshape(-1, 4)
    classes = torch.tensor([a["category_id"] for a in annotations], dtype=torch.long)
    truth = Instances(found.image_size, pred_boxes=Boxes(boxes), pred_classes=classes)
    result: List[Optional[Truth]] = [None] * len(found)
    for i, j in zip(*(index.tolist() for index in match_instances(found, truth, iou_thresh))):
        result[i] = Truth(annotations[j], *found.image_size)
    return result
