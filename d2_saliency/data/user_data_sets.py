"""Registers data sets that a command names: a COCO annotation file, or names of classes alone."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from ..utils.digest import digest
from ..utils.regular_files import MAX_JSON, read_regular
from ..utils.text import one_line

# The keys that Detectron2's loader reads of each item.
NEEDED = {
    "images": ("id", "file_name", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
}


class DatasetError(ValueError):
    """The data set cannot be used; the message is one line that names it and says what to do."""


def register_coco_json(json_file: str, image_root: Optional[str] = None) -> str:
    """
    Register annotations in COCO's format with Detectron2, with the names of their classes.

    Category ids may have gaps: class k is the category with the k-th smallest id, as in training
    with ``register_coco_instances``. Calling it again with the same files changes nothing.

    Args:
        json_file: the annotations.
        image_root: folder of the images; None: that of the file.

    Returns:
        str: name of the data set, that of the file without its suffix; followed by a digest where
            another data set has this name.

    Raises:
        DatasetError: the file or folder does not exist, the file is not in COCO's format, or none
            of its images is in ``image_root``.
    """
    content = _read(json_file)
    root = str(Path(json_file).parent) if image_root is None else image_root
    if image_root is not None:
        _check_images(image_root, content["images"])
    names = [c["name"] for c in sorted(content["categories"], key=lambda c: c["id"])]
    source = {"json_file": json_file, "image_root": root, "thing_classes": names}
    name = Path(json_file).stem
    if name in DatasetCatalog.list() and not _is_from(name, source):
        name = f"{name}_{digest(source)}"
    if name not in DatasetCatalog.list():
        register_coco_instances(name, {"thing_classes": names}, json_file, root)
    return name


def register_class_names(names: Sequence[str]) -> str:
    """Register names of classes as the metadata of a data set without images, and return its name.

    Different names give different data sets, so a run that was made with other names does not
    count as done.
    """
    name = f"classes_{digest(list(names))}"
    MetadataCatalog.get(name).thing_classes = list(names)
    return name


def _is_from(name: str, source: Dict[str, Any]) -> bool:
    metadata = MetadataCatalog.get(name)
    return all(metadata.get(key) == value for key, value in source.items())


def _check_images(image_root: str, images: List[Dict[str, Any]]) -> None:
    if not Path(image_root).is_dir():
        raise DatasetError(f"--image-root {image_root!r} is no folder: check the path.")
    if images and not any((Path(image_root) / image["file_name"]).exists() for image in images):
        raise DatasetError(
            f"--image-root {image_root!r} has none of the images of --coco-json, "
            f"{images[0]['file_name']!r} for one: check the path."
        )


def _read(json_file: str) -> Dict[str, Any]:
    """The content of a COCO file, once everything that will be read of it is seen to be there."""
    shown = f"--coco-json {json_file!r}"
    try:
        content = json.loads(read_regular(json_file, MAX_JSON))
    except OSError as e:
        raise DatasetError(f"{shown} cannot be read ({e.strerror}): check the path.") from e
    except (ValueError, RecursionError) as e:
        raise DatasetError(f"{shown} is not valid JSON: {one_line(e)}") from e
    if not isinstance(content, dict):
        raise DatasetError(f"{shown} is not in COCO's format: it is no object with 'images'.")
    for part, keys in NEEDED.items():
        items = content.get(part)
        if part == "annotations" and items is None:  # images alone, as of COCO's test sets
            continue
        if not isinstance(items, list) or (part == "categories" and not items):
            raise DatasetError(f"{shown} is not in COCO's format: it has no list '{part}'.")
        for i, item in enumerate(items):
            missing = [key for key in keys if not isinstance(item, dict) or key not in item]
            if missing:
                raise DatasetError(
                    f"{shown} is not in COCO's format: {part}[{i}] has no '{missing[0]}'."
                )
    # Of images with one id Detectron2's loader keeps the last, and gives it all annotations.
    for image_id, number in Counter(repr(image["id"]) for image in content["images"]).items():
        if number > 1:
            raise DatasetError(
                f"{shown} has {number} images with the id {image_id}: give each an id of its own."
            )
    return content
