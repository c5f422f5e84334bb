"""Annotations in Detectron2's format, of whichever kinds of numbers and arrays; checks of them."""

import json
import math
from typing import Any, Dict, Iterable, List, Optional, Set

import numpy as np
from detectron2.structures import BoxMode, polygons_to_bitmask
from pycocotools import mask as coco_mask

from ..utils.text import one_line


class AnnotationError(ValueError):
    """An annotation that cannot be used; the message says which field, and what is wrong."""


def objects_of(record: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The annotations of an image that are single objects: crowds are not."""
    return [a for a in record.get("annotations") or [] if not a.get("iscrowd", 0)]


def check_objects(record: Dict[str, Any]) -> None:
    """
    Raises:
        AnnotationError: an object has no box of finite numbers or no number of a class.
    """
    for i, annotation in enumerate(record.get("annotations") or []):
        if annotation.get("iscrowd", 0):
            continue
        for field, is_right, needed in (
            ("bbox", _is_box, "four finite numbers"),
            ("bbox_mode", _is_mode, "a BoxMode"),
            ("category_id", _is_class, "the number of a class, from 0"),
        ):
            if field not in annotation:
                raise AnnotationError(f"annotation {i} has no {field}: give it {needed}")
            if not is_right(annotation[field]):
                shown = one_line(ValueError(repr(annotation[field])[:80]))
                raise AnnotationError(f"annotation {i}: {field} is {shown}, not {needed}")


def annotated_keys(records: Iterable[Dict[str, Any]]) -> Set[str]:
    """List what at least some objects of a data set's images are annotated with."""
    return {
        key
        for record in records
        for annotation in objects_of(record)
        for key, value in annotation.items()
        if _is_there(value)
    }


def annotations_text(record: Dict[str, Any]) -> str:
    """All that an image is annotated with, large arrays included, for digests."""
    return json.dumps(record.get("annotations"), default=_as_json, skipkeys=True)


def xyxy(annotation: Dict[str, Any]) -> List[float]:
    """The box of an annotation as x_min, y_min, x_max, y_max."""
    box = [float(number) for number in annotation["bbox"]]
    return list(map(float, BoxMode.convert(box, annotation["bbox_mode"], BoxMode.XYXY_ABS)))


def decode_mask(segmentation, height: int, width: int) -> Optional[np.ndarray]:
    """
    A mask in one of COCO's three forms (polygons, RLE, compressed RLE), or an array (H, W), as
    (H, W) bool; None where there is none.

    Raises:
        AnnotationError: it is in no such form.
    """
    if not _is_there(segmentation):
        return None
    try:
        if isinstance(segmentation, dict):
            if not isinstance(segmentation["counts"], (str, bytes)):
                runs = {**segmentation, "counts": [int(n) for n in segmentation["counts"]]}
                segmentation = coco_mask.frPyObjects(runs, *segmentation["size"])
            return coco_mask.decode(segmentation).astype(bool)
        if getattr(segmentation, "shape", None) == (height, width):
            return np.asarray(segmentation).astype(bool)
        if np.asarray(segmentation[0]).dtype == bool:
            raise ValueError("of another size")
        polygons = [np.asarray(p, dtype=np.float64).reshape(-1) for p in segmentation]
        return polygons_to_bitmask(polygons, height, width)
    except Exception as e:  # pycocotools raises what it likes
        raise AnnotationError(
            f"a mask is neither polygons, RLE nor an array of {height}x{width} "
            f"({type(e).__name__}: {one_line(e)})"
        ) from e


def _is_there(value: Any) -> bool:
    """Not None, and not empty; of an array the truth value would be ambiguous."""
    try:
        return value is not None and len(value) > 0
    except TypeError:  # a number, or an array of no dimension
        return True


def _is_box(value: Any) -> bool:
    try:
        return len(value) in (4, 5) and all(math.isfinite(float(number)) for number in value)
    except (TypeError, ValueError):
        return False


def _is_mode(value: Any) -> bool:
    return isinstance(value, int) and value in list(BoxMode)


def _is_class(value: Any) -> bool:
    try:
        return not isinstance(value, str) and float(value).is_integer() and value >= 0
    except (TypeError, ValueError):
        return False


def _as_json(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)
