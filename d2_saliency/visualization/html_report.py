"""
Writes OUT/index.html and OUT/report/: pictures, detections, their maps and notes, in pages that
open without a network.
"""

import base64
import hashlib
import math
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Union

import jinja2
from markupsafe import Markup

from ..results.reader import load_results
from ..structures import MASK_OUTPUTS, OUTPUTS
from ..utils.files import atomic_path
from .report_image import write_image
from .saliency_visualizer import BLUR, COLOR_MAP, EDGE_COLOR, MAX_OPACITY

TEMPLATES = Path(__file__).parent / "templates"
# Pixels of the longer side of a map. A report of a few images is sharp, one of hundreds is small.
MAP_SIDE, MIN_MAP_SIDE = 512, 128
MAP_PIXELS = 400e6  # of all maps together
# Pixels that a detection's box may differ between methods: a GPU does not repeat itself exactly.
SAME_BOX = 1.0


def write_report(output_dir: Union[str, Path]) -> Path:
    """
    Write ``index.html`` from what :class:`d2_saliency.results.writer.ResultsWriter` left in a
    folder.

    Maps are shown as described at the top of :mod:`.saliency_visualizer`, reduced so that a report
    of 500 images still opens; the exact ones are in ``maps/``. The page itself has what is needed
    to find a detection; the maps of an image are in ``report/data/<image>.js``, read when a person
    opens it. To pass a report on, copy ``index.html`` and ``report/``.

    Returns:
        Path: the report.

    Raises:
        ResultsError: the folder has no readable results.json.
        OutputError: the folder cannot be written to.
    """
    folder = Path(output_dir)
    results = load_results(folder)
    num_maps = sum(
        len(detection["peaks"]) for detection in results["detections"] if detection["explained"]
    )
    side = int(min(max(math.sqrt(MAP_PIXELS / max(num_maps, 1)), MIN_MAP_SIDE), MAP_SIDE))
    images = []
    for image, detections in _detections_by_image(results):
        files = write_image(folder, image, detections, side)
        images.append({**{key: image[key] for key in ("name", "file", "height", "width")}, **files})
        images[-1]["detections"] = [_entry(detection) for detection in detections]
    report = folder / "index.html"
    with atomic_path(report) as temporary:
        # File names may hold bytes that are no text; they must not stop the report.
        temporary.write_text(_page(results, images), encoding="utf-8", errors="replace")
    return report


def _detections_by_image(results: Dict[str, Any]) -> Iterator[tuple]:
    """Each image with its detections; a detection is a dict method -> record."""
    by_image: Dict[str, List[Dict[str, dict]]] = {image["name"]: [] for image in results["images"]}
    for record in results["detections"]:
        detections = by_image[record["image"]]
        twins = [
            d
            for d in detections
            if record["method"] not in d and _same(record, next(iter(d.values())))
        ]
        if twins:
            twins[0][record["method"]] = record
        else:
            detections.append({record["method"]: record})
    for image in results["images"]:
        yield image, by_image[image["name"]]


def _same(record: Dict[str, Any], other: Dict[str, Any]) -> bool:
    keys = ("class_id", "class_name")
    near = all(abs(a - b) <= SAME_BOX for a, b in zip(record["box"], other["box"]))
    return near and all(record[key] == other[key] for key in keys)


def _entry(detection: Dict[str, dict]) -> Dict[str, Any]:
    """Collect what the overview needs of a detection."""
    record = next(iter(detection.values()))
    flags = {method: r["flags"] for method, r in detection.items()}
    return {
        "class": record["class_name"],
        "score": record["score"],
        "box": record["box"],
        "flags": flags,
    }


def _outputs(results: Dict[str, Any]) -> Sequence[str]:
    """The outputs that the maps explain; with MASK_OUTPUT, a detection has one more."""
    with_mask = any(len(detection["peaks"]) > len(OUTPUTS) for detection in results["detections"])
    return (*OUTPUTS, *MASK_OUTPUTS) if with_mask else OUTPUTS


def _page(results: Dict[str, Any], images: List[Dict[str, Any]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True
    )
    runs = results["runs"]
    data = {
        "images": images,
        "methods": [run["method"] for run in runs],
        "runs": {
            run["method"]: {key: run[key] for key in ("class_target", "seed", "metrics")}
            for run in runs
        },
        "command": runs[0]["command"] if runs else "",
        "outputs": _outputs(results),
        "colorMap": COLOR_MAP.tolist(),
        "edgeColor": EDGE_COLOR,
        "opacity": MAX_OPACITY,
    }
    script = "\n".join(
        (TEMPLATES / f"{name}.js").read_text(encoding="utf-8")
        for name in ("overview", "viewer", "stage")
    )
    return environment.get_template("report.html").render(
        runs=runs,
        methods=data["methods"],
        images=images,
        num_detections=sum(len(image["detections"]) for image in images),
        errors=results["errors"],
        data=data,
        edge_color=EDGE_COLOR,
        blur=f"{BLUR:.1%}",
        # Our own texts are not escaped: CSS and JavaScript do not know HTML's entities.
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        # The browser runs the script with this digest, and no other that is in the page.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
