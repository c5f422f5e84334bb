"""The report's files of one image: its thumbnail, and a script with the maps of its detections."""

import base64
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from detectron2.structures import Instances
from PIL import Image

from ..results.maps_file import load_maps
from ..structures import saliency_fields
from ..utils.digest import digest, file_digest
from ..utils.files import atomic_path, inside
from ..utils.regular_files import MAX_IMAGE, open_regular
from .saliency_visualizer import display_maps

THUMBNAIL_SIDE = 320  # pixels of the longer side
QUALITY = 80  # of JPEG
MAX_STATE = 100  # bytes of a first line of ours
KEPT = ("explained", "num_matched", "num_samples", "peaks", "flags", "metrics")  # of a record


def write_image(
    folder: Path, image: Dict[str, Any], detections: List[Dict[str, dict]], map_side: int
) -> Dict[str, Optional[str]]:
    """
    Write ``report/thumbnails/<image>.jpg`` and ``report/data/<image>.js``, unless they are there
    and up to date.

    Args:
        folder: the output folder
        image: its item of :func:`d2_saliency.results.reader.load_results`
        detections: method -> record, for each detection
        map_side: pixels of the longer side of the maps

    Returns:
        dict: "picture" (None if it cannot be read), "thumbnail" and "data", relative to the folder.

    Raises:
        OutputError: the folder cannot be written to.
    """
    files = {
        key: f"report/{key}/{image['name']}.{end}"
        for key, end in (("thumbnails", "jpg"), ("data", "js"))
    }
    has_picture = (folder / image["picture"]).is_file()
    found = {
        "picture": image["picture"] if has_picture else None,
        "thumbnail": files["thumbnails"],
        "data": files["data"],
    }
    state = "// " + digest(_CODE, image, detections, map_side, *_stamps(folder, image, detections))
    if (folder / files["thumbnails"]).is_file() and _first_line(folder / files["data"]) == state:
        return found
    warnings = list(image["warnings"])
    with atomic_path(inside(folder, *files["thumbnails"].split("/"))) as temporary:
        picture = _picture(folder / image["picture"], image, warnings)
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        picture.save(temporary, quality=QUALITY)
    size = fit(image["height"], image["width"], map_side)
    data = {"seconds": image["seconds"], "warnings": warnings, "mapSize": size}
    maps = _read_maps(folder, detections, warnings)
    data["detections"] = [
        {method: _shown(record, maps, size) for method, record in detection.items()}
        for detection in detections
    ]
    # JSON in ASCII is JavaScript, whatever the names in it.
    arguments = f"{json.dumps(image['name'])}, {json.dumps(data, allow_nan=False)}"
    script = f"{state}\nreceiveImage({arguments});\n"
    with atomic_path(inside(folder, *files["data"].split("/"))) as temporary:
        temporary.write_text(script, encoding="ascii")
    return found


def fit(height: int, width: int, side: int) -> Tuple[int, int]:
    """(height, width) reduced so that neither exceeds ``side``."""
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


_CODE = file_digest(__file__)  # another version may write other data


def _stamps(folder: Path, image: Dict[str, Any], detections: List[Dict[str, dict]]) -> List[Any]:
    """Change when the files that a report is made of do."""
    files = [image["picture"], *{record["maps"]: None for d in detections for record in d.values()}]
    stats = [os.stat(folder / file) if (folder / file).is_file() else None for file in files]
    return [[stat.st_mtime_ns, stat.st_size] if stat else None for stat in stats]


def _first_line(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return file.readline(MAX_STATE).decode("ascii").rstrip()
    except (OSError, ValueError):
        return ""


def _picture(path: Path, image: Dict[str, Any], warnings: List[str]) -> Image.Image:
    try:
        with open_regular(path, MAX_IMAGE) as file, Image.open(file) as picture:
            return picture.convert("RGB")
    except OSError as e:
        warnings.append(
            f"The picture cannot be shown ({type(e).__name__}): explain this image again."
        )
        return Image.new(
            "RGB", fit(image["height"], image["width"], THUMBNAIL_SIDE)[::-1], "#888888"
        )


def _read_maps(
    folder: Path, detections: List[Dict[str, dict]], warnings: List[str]
) -> Dict[str, Optional[Instances]]:
    """File of maps -> its detections, None where it cannot be used."""
    indices: Dict[Tuple[str, str], List[int]] = {}
    for record in (record for detection in detections for record in detection.values()):
        indices.setdefault((record["maps"], record["run"]), []).append(record["index"])
    maps: Dict[str, Optional[Instances]] = {}
    for (file, run), used in indices.items():
        try:
            maps[file] = instances = load_maps(folder / file, run)
            if len(instances) != len(used) or sorted(used) != list(range(len(used))):
                raise ValueError("another number of detections")
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as e:
            warnings.append(
                f"The maps {file} cannot be shown ({type(e).__name__}): explain this image again."
            )
            maps[file] = None
    return maps


def _shown(
    record: Dict[str, Any], maps: Dict[str, Optional[Instances]], size: Tuple[int, int]
) -> Dict[str, Any]:
    instances = maps[record["maps"]]
    strip = None
    if record["explained"] and instances is not None:
        strip = map_strip(instances[record["index"]], size)
    return {**{key: record[key] for key in KEPT}, "maps": strip}


def map_strip(detection: Instances, size: Tuple[int, int]) -> str:
    """
    A detection's maps, each of (height, width) ``size``, one below the other: a grey JPEG, 255 =
    maximum.
    """
    shown = display_maps(
        np.concatenate([field.resize(*size)[0] for field in saliency_fields(detection)])
    )
    strip = Image.fromarray(np.rint(shown * 255).astype(np.uint8).reshape(-1, size[1]))
    data = io.BytesIO()
    strip.save(data, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
