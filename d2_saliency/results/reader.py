"""Reads the output folder of a run, whichever version of d2_saliency wrote it."""

import json
from pathlib import Path
from typing import Any, Dict, Union

from ..utils.regular_files import MAX_JSON, read_regular
from .shapes import RESULTS, is_file_name, misfit
from .writer import SCHEMA_VERSION


class ResultsError(ValueError):
    """
    A folder without usable results; the message is one line that names the file and says what to
    do.
    """


def load_results(output_dir: Union[str, Path]) -> Dict[str, Any]:
    """
    Read what results.json and errors.json say, in the form of the present schema (see
    :mod:`.results`).

    Paths are added, relative to the folder: "picture" to each image, and "maps" to each detection,
    the file that :func:`d2_saliency.results.maps_file.load_maps` reads; and "run" to each
    detection, the digest of the run that made it.

    Returns:
        dict: "schema_version", "runs", "images", "detections" and "errors".

    Raises:
        ResultsError: there is no readable results.json, a newer version wrote it, or it names files
            outside of the folder: it may be of somebody else.
    """
    folder = Path(output_dir)
    results = _read_json(folder / "results.json")
    errors = _read_json(folder / "errors.json") if (folder / "errors.json").exists() else []
    try:
        results = _in_present_form(folder, {**results, "errors": errors})
    except (KeyError, TypeError, AttributeError) as e:
        raise _not_ours(folder, f"{type(e).__name__}: {e}") from e
    where = misfit(results, RESULTS)
    if where is not None:
        raise _not_ours(folder, where)
    _check_names(folder, results)
    return results


def _not_ours(folder: Path, where: str) -> ResultsError:
    return ResultsError(
        f"{str(folder / 'results.json')!r} is not what d2_saliency writes ({where}): explain the "
        "images again."
    )


def _in_present_form(folder: Path, results: Dict[str, Any]) -> Dict[str, Any]:
    version = results.get("schema_version")
    if version == 1:
        _upgrade_from_1(results)
    elif version == SCHEMA_VERSION:
        for run in results["runs"]:
            run.setdefault("metrics", {})  # folders of before they were measured
        for image in results["images"]:
            image["picture"] = f"report/pictures/{image['name']}.jpg"
        for detection in results["detections"]:
            detection["maps"] = f"maps/{detection['method']}/{detection['image']}.npz"
    else:
        raise ResultsError(
            f"{str(folder / 'results.json')!r} has schema version {version}, this d2_saliency "
            "reads 1 to "
            f"{SCHEMA_VERSION}: install the version that wrote it."
        )
    digests = {run["method"]: str(run.get("digest", "")) for run in results["runs"]}
    for detection in results["detections"]:
        detection["run"] = digests.get(detection["method"], "")
    return results


def _check_names(folder: Path, results: Dict[str, Any]) -> None:
    images = [image["name"] for image in results["images"]]
    methods = {run["method"] for run in results["runs"]}
    for name in (*images, *methods):
        if not is_file_name(name):
            raise ResultsError(
                f"{str(folder / 'results.json')!r} names {name!r}, which leads out of the folder "
                "or is no name: explain the images again."
            )
    known = set(images)
    if len(known) < len(images):
        raise _not_ours(folder, "an image is there twice")
    for i, detection in enumerate(results["detections"]):
        if detection["image"] not in known or detection["method"] not in methods:
            raise _not_ours(folder, f"detections[{i}]: its image or method is not there")


def _upgrade_from_1(results: Dict[str, Any]) -> None:
    """Version 1: one method a folder, so no folders for methods."""
    run = results.pop("run")
    results["schema_version"], results["runs"] = (
        SCHEMA_VERSION,
        [{"class_target": None, "metrics": {}, **run}],
    )
    for image in results["images"]:
        image["seconds"] = {run["method"]: image["seconds"]}
        image["picture"] = f"{image['name']}/image.jpg"
    for detection in results["detections"]:
        detection["metrics"] = {}
        detection["maps"] = f"maps/{detection['image']}.npz"
    for error in results["errors"]:
        error["methods"] = [run["method"]]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_regular(path, MAX_JSON))
    except (OSError, ValueError, RecursionError) as e:
        raise ResultsError(
            f"No report without a readable {str(path)!r} ({e}): explain some images first."
        ) from e
