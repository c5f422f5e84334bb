import copy
import json

import pytest

from d2_saliency.results.reader import ResultsError, load_results

IMAGE = {"name": "x", "file": "photos/x.jpg", "height": 60, "width": 80, "warnings": []}

DETECTION = {
    "image": "x",
    "index": 0,
    "class_id": 1,
    "class_name": "dog",
    "score": 0.9,
    "box": [1, 2, 3.5, 4],
    "method": "ODAM",
    "explained": True,
    "num_matched": None,
    "num_samples": None,
    "peaks": [1.0, None],
    "flags": [],
    "metrics": {},
}
RUN = {"command": "", "method": "ODAM", "class_target": None, "seed": 0, "metrics": {}}
RESULTS = {
    "schema_version": 2,
    "runs": [RUN],
    "images": [{**IMAGE, "seconds": {}}],
    "detections": [DETECTION],
}


def write(folder, results, errors=None):
    (folder / "results.json").write_text(json.dumps(results))
    if errors is not None:
        (folder / "errors.json").write_text(json.dumps(errors))


def test_folder_of_version_1(tmp_path):
    run = {"command": "explain", "method": "ODAM", "seed": 0, "num_samples": None}
    image, detection = (
        {**IMAGE, "seconds": 1.5},
        {k: v for k, v in DETECTION.items() if k != "metrics"},
    )
    errors = [{"name": "bad", "file": "bad.jpg", "error": "damaged"}]
    write(
        tmp_path,
        {"schema_version": 1, "run": run, "images": [image], "detections": [detection]},
        errors,
    )
    assert load_results(tmp_path) == {
        "schema_version": 2,
        "runs": [{**run, "class_target": None, "metrics": {}}],
        "images": [{**IMAGE, "seconds": {"ODAM": 1.5}, "picture": "x/image.jpg"}],
        "detections": [{**detection, "metrics": {}, "maps": "maps/x.npz", "run": ""}],
        "errors": [{**errors[0], "methods": ["ODAM"]}],
    }


def test_present_version(tmp_path):
    write(tmp_path, RESULTS)
    assert load_results(tmp_path) == {
        **RESULTS,
        "images": [{**RESULTS["images"][0], "picture": "report/pictures/x.jpg"}],
        "detections": [{**DETECTION, "maps": "maps/ODAM/x.npz", "run": ""}],
        "errors": [],
    }


@pytest.mark.parametrize("version", [3, None])
def test_version_that_is_not_known(tmp_path, version):
    write(tmp_path, {"schema_version": version})
    with pytest.raises(
        ResultsError, match=rf"schema version {version}, this d2_saliency reads 1 to 2: install"
    ):
        load_results(tmp_path)


@pytest.mark.parametrize("content", [None, "{half", "\xff"])
def test_folder_without_results(tmp_path, content):
    if content:
        (tmp_path / "results.json").write_text(content, encoding="latin-1")
    with pytest.raises(ResultsError, match=r"results\.json.*explain some images first"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "..", ".", "", "a/b", "..\\x", "x\0", "x" * 999, "\ud800"]
)
@pytest.mark.parametrize("place", ["name", "method"])
def test_names_that_lead_out_of_the_folder(tmp_path, place, name):
    """
    The report is written beside such names: a folder of somebody else could choose which files are
    overwritten.
    """
    content = copy.deepcopy(RESULTS)
    if place != "method":
        content["images"][0]["name"] = content["detections"][0]["image"] = name
    else:
        content["runs"][0]["method"] = content["detections"][0]["method"] = name
    write(tmp_path, content)
    with pytest.raises(ResultsError, match="which leads out of the folder or is no name: explain"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    "content", [[], 3, {"schema_version": 2}, {"schema_version": 2, "runs": [], "images": [3]}]
)
def test_json_of_another_kind(tmp_path, content):
    write(tmp_path, content)
    with pytest.raises(ResultsError, match=r"results\.json' is not what d2_saliency writes"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    "change, where",
    [
        ({"detections": [{**DETECTION, "box": [1, 2, 3]}]}, r"detections\[0\].box"),
        ({"detections": [{**DETECTION, "score": float("nan")}]}, r"detections\[0\].score"),
        ({"detections": [{**DETECTION, "index": 10**400}]}, r"detections\[0\].index"),
        ({"detections": [{**DETECTION, "metrics": {"a": "b"}}]}, r"detections\[0\].metrics.'a'"),
        ({"detections": [{**DETECTION, "image": "y"}]}, "its image or method is not there"),
        ({"images": RESULTS["images"] * 2}, "an image is there twice"),
        ({"images": [{**RESULTS["images"][0], "height": 0}]}, r"images\[0\].height"),
        ({"runs": [{"method": "ODAM", "metrics": {}}]}, r"runs\[0\].command"),
        ({"runs": {}}, "runs|TypeError|AttributeError"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, where):
    write(tmp_path, {**RESULTS, **change})
    with pytest.raises(ResultsError, match=rf"is not what d2_saliency writes \(.*{where}"):
        load_results(tmp_path)


def test_errors_of_another_kind_and_endless_nesting(tmp_path):
    write(tmp_path, RESULTS, errors=[{"name": 3}])
    with pytest.raises(ResultsError, match="is not what d2_saliency writes"):
        load_results(tmp_path)
    (tmp_path / "results.json").write_text("[" * 100_000)
    with pytest.raises(ResultsError, match="results.json"):
        load_results(tmp_path)
