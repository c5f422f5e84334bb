"""OUT/index.html: pictures, detections, their maps and notes in one file that opens without a network."""

import base64
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple, Union

import jinja2
import numpy as np
from detectron2.structures import Instances
from PIL import Image

from d2_saliency.engine.bundle import atomic_path, load_maps
from d2_saliency.structures import OUTPUTS
from d2_saliency.visualization.saliency_visualizer import (
    BLUR,
    COLOR_MAP,
    EDGE_COLOR,
    MAX_OPACITY,
    display_maps,
)

# Pixels of the longer side. A report of a few images is sharp, one of hundreds still opens: see _side().
PICTURE_SIDE, MIN_PICTURE_SIDE, THUMBNAIL_SIDE = 1024, 320, 72
MAP_SIDE, MIN_MAP_SIDE = 512, 128
PICTURE_PIXELS = 200e6  # of all pictures together, about 30 MB of HTML
MAP_PIXELS = 400e6  # of all maps together, about 40 MB


class ReportError(ValueError):
    """There is nothing to make a report of; the message is one line that names the file and says what to do."""


def write_report(output_dir: Union[str, Path]) -> Path:
    """
    Write ``index.html`` from what :class:`d2_saliency.engine.results.ResultsWriter` left in a folder.

    Maps are shown as described at the top of :mod:`.saliency_visualizer`, reduced so that a report of 500
    images still opens; the exact ones are in ``maps/``. Each image's data is read when a person opens it.

    Returns:
        Path: the report.

    Raises:
        ReportError: the folder has no readable results.json.
        OutputError: the folder cannot be written to.
    """
    folder = Path(output_dir)
    results = _read_json(folder / "results.json")
    errors = _read_json(folder / "errors.json") if (folder / "errors.json").exists() else []
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
    )
    page = environment.get_template("report.html").generate(
        run=results["run"],
        num_images=len(results["images"]),
        num_detections=len(results["detections"]),
        errors=errors,
        images=_images(folder, results),
        settings={"outputs": OUTPUTS, "colorMap": COLOR_MAP.tolist(), "opacity": MAX_OPACITY},
        edge_color=EDGE_COLOR,
        blur=f"{BLUR:.1%}",
    )
    report = folder / "index.html"
    with atomic_path(report) as temporary:
        # File names may hold bytes that are no text; they must not stop the report.
        with open(temporary, "w", encoding="utf-8", errors="replace") as file:
            file.writelines(page)  # image by image: memory does not grow with the report
    return report


def _images(folder: Path, results: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
    """What the template needs of each image: its place in the list, and ``data`` for the script."""
    by_image: Dict[str, List[dict]] = {image["name"]: [] for image in results["images"]}
    for detection in results["detections"]:
        by_image[detection["image"]].append(detection)
    num_maps = len(OUTPUTS) * sum(detection["explained"] for detection in results["detections"])
    picture_side = _side(PICTURE_PIXELS, len(by_image), MIN_PICTURE_SIDE, PICTURE_SIDE)
    map_side = _side(MAP_PIXELS, num_maps, MIN_MAP_SIDE, MAP_SIDE)
    for image in results["images"]:
        detections, warnings = by_image[image["name"]], list(image["warnings"])
        picture = _picture(folder, image, warnings)
        size = _fit(image["height"], image["width"], map_side)
        strips = _map_strips(folder, image["name"], detections, size, warnings)
        shown = picture.copy()
        shown.thumbnail((picture_side, picture_side))
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        yield {
            "file": image["file"],
            "thumbnail": _data_uri(picture),
            "num_detections": len(detections),
            "num_flagged": sum(bool(detection["flags"]) for detection in detections),
            "data": {
                **{key: image[key] for key in ("file", "height", "width", "seconds")},
                "warnings": warnings,
                "picture": _data_uri(shown),
                "mapSize": size,
                "detections": [{**d, "maps": strip} for d, strip in zip(detections, strips)],
            },
        }


def _picture(folder: Path, image: Dict[str, Any], warnings: List[str]) -> Image.Image:
    try:
        with Image.open(folder / image["name"] / "image.jpg") as picture:
            return picture.convert("RGB")
    except OSError as e:
        warnings.append(f"The picture cannot be shown ({type(e).__name__}): explain this image again.")
        return Image.new("RGB", _fit(image["height"], image["width"], PICTURE_SIDE)[::-1], "#888888")


def _map_strips(
    folder: Path, name: str, detections: List[dict], size: Tuple[int, int], warnings: List[str]
) -> List[Union[str, None]]:
    """
    For each detection, its five maps one below the other in one grey JPEG, 255 = maximum; None without maps.
    """
    try:
        instances = load_maps(folder / "maps" / f"{name}.npz")
        if len(instances) != len(detections):
            raise ValueError("another number of detections")
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as e:
        warnings.append(f"The maps cannot be shown ({type(e).__name__}): explain this image again.")
        return [None] * len(detections)
    return [_map_strip(instances[i], size) if d["explained"] else None for i, d in enumerate(detections)]


def _map_strip(detection: Instances, size: Tuple[int, int]) -> str:
    shown = display_maps(detection.pred_saliency.resize(*size)[0].numpy())
    return _data_uri(Image.fromarray(np.rint(shown * 255).astype(np.uint8).reshape(-1, size[1])))


def _side(pixels: float, count: int, smallest: int, largest: int) -> int:
    """Longer side of ``count`` pictures that share a number of pixels."""
    return int(min(max(math.sqrt(pixels / max(count, 1)), smallest), largest))


def _fit(height: int, width: int, side: int) -> Tuple[int, int]:
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _data_uri(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ReportError(f"No report without a readable {str(path)!r} ({e}): explain some images first.") from e
