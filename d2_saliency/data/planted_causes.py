"""The planted-cause splits in Detectron2's catalogues, and the truth that belongs to them.

Scenes are drawn on first use into a cache folder, because the stock ``DatasetMapper`` reads files:
``$D2_SALIENCY_CACHE`` (else ``$XDG_CACHE_HOME/d2_saliency``, else ``~/.cache/d2_saliency``), in
there ``planted/<GENERATOR_VERSION>/<split>``. A file that is there is never drawn again, so a
stopped run goes on where it was.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

import cv2
import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from .planted_scene import CLASSES, SHORTCUT_CLASS, PlantedScene, planted_scene

__all__ = [
    "SPLITS",
    "cache_dir",
    "edge_strips",
    "load_planted_split",
    "register_planted_causes",
    "split_scene",
]

# Raise this when the same seed gives other pixels. Old caches are then left alone.
GENERATOR_VERSION = "v1"


class Split(NamedTuple):
    seed: int
    size: int  # scenes
    shortcut: bool
    fade: bool


# A shortcut split has the seed of the plain one: the same scenes, plus the marks.
SPLITS = {
    "planted_train": Split(seed=1, size=1600, shortcut=False, fade=False),
    "planted_val": Split(seed=2, size=300, shortcut=False, fade=False),
    "planted_shortcut_train": Split(seed=1, size=1600, shortcut=True, fade=True),
    "planted_shortcut_val": Split(seed=2, size=300, shortcut=True, fade=False),
}


def split_scene(name: str, index: int) -> PlantedScene:
    """Scene ``index`` of a split, drawn anew; it depends on the split's seed and ``index`` only."""
    split = SPLITS[name]
    return planted_scene((split.seed, index), shortcut=split.shortcut, fade=split.fade)


def register_planted_causes() -> None:
    """Register the four splits; calling it again changes nothing."""
    for name, split in SPLITS.items():
        if name not in DatasetCatalog:
            DatasetCatalog.register(name, partial(load_planted_split, name))
        metadata = MetadataCatalog.get(name)
        metadata.set(thing_classes=list(CLASSES), evaluator_type="coco")
        if split.shortcut:
            metadata.set(shortcut_class=SHORTCUT_CLASS)


def cache_dir() -> Path:
    """Folder of all planted-cause splits of this generator version."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(os.environ.get("D2_SALIENCY_CACHE") or user_cache / "d2_saliency")
    return root / "planted" / GENERATOR_VERSION


def load_planted_split(name: str) -> List[Dict]:
    """
    Detectron2 dicts of a split, drawn first where not yet cached; annotations as in
    `planted_scene`.
    """
    folder = cache_dir() / name
    index_file = folder / "annotations.json"
    if index_file.exists():
        records = json.loads(index_file.read_text())
    else:
        records = [_materialise(name, index, folder) for index in range(SPLITS[name].size)]
        _write_atomically(index_file, json.dumps(records).encode())
    for record in records:
        record["file_name"] = str(folder / record["file_name"])
        for annotation in record["annotations"]:
            annotation["bbox_mode"] = BoxMode(annotation["bbox_mode"])
    return records


def edge_strips(box: Sequence[float], height: int, width: int) -> np.ndarray:
    """Pixels that can tell where each edge of a box is.

    Args:
        box: x_min, y_min, x_max, y_max in absolute pixels.

    Returns:
        (4, height, width) bool, in the order x_min, y_min, x_max, y_max: pixels whose centre is
        within ``max(2 px, 0.1 * side)`` of the edge, on either side of it and along its whole
        length. ``side`` is the box's width for the two x edges and its height for the two y edges.
    """
    x_min, y_min, x_max, y_max = (float(v) for v in box)
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    reach_x, reach_y = max(2.0, 0.1 * (x_max - x_min)), max(2.0, 0.1 * (y_max - y_min))
    along_x, along_y = (x >= x_min) & (x <= x_max), (y >= y_min) & (y <= y_max)
    strips = np.zeros((4, height, width), dtype=bool)
    for k, edge in ((0, x_min), (2, x_max)):
        strips[k] = along_y[:, None] & (np.abs(x - edge) <= reach_x)[None, :]
    for k, edge in ((1, y_min), (3, y_max)):
        strips[k] = (np.abs(y - edge) <= reach_y)[:, None] & along_x[None, :]
    return strips


def _materialise(name: str, index: int, folder: Path) -> Dict:
    """Draw one scene into ``folder`` unless it is there; returns its record with a relative
    ``file_name``.

    The record is written after the image, so a record on disk stands for a finished image.
    """
    stem = f"{index:05d}"
    record_file = folder / f"{stem}.json"
    if record_file.exists():
        return json.loads(record_file.read_text())
    scene = split_scene(name, index)
    height, width = scene.image.shape[:2]
    record = {
        "file_name": f"{stem}.png",
        "height": height,
        "width": width,
        "image_id": index,
        "annotations": scene.annotations,
    }
    _write_atomically(folder / f"{stem}.png", cv2.imencode(".png", scene.image)[1].tobytes())
    _write_atomically(record_file, json.dumps(record).encode())
    return record


def _write_atomically(path: Path, data: bytes) -> None:
    """Write to a name of this process, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
