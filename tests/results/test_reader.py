import json

import pytest

from d2_saliency.results.reader import ResultsError, load_results

IMAGE = {"name": "x", "file": "photos/x.jpg", "height": 60, "width": 80, "warnings": []}


def write(folder, results, errors=None):
    (folder / "results.json").write_text(json.dumps(results))
    if errors is not None:
        (folder / "errors.json").write_text(json.dumps(errors))


def test_folder_of_version_1(tmp_path):
    run = {"command": "explain", "method": "ODAM", "seed": 0, "num_samples": None}
    image, detection = {**IMAGE, "seconds": 1.5}, {"image": "x", "index": 0, "method": "ODAM"}
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
    image, detection = {**IMAGE, "seconds": {}}, {"image": "x", "method": "ODAM", "metrics": {}}
    content = {"schema_version": 2, "runs": [], "images": [image], "detections": [detection]}
    write(tmp_path, content)
    expected = {
        **content,
        "images": [{**image, "picture": "report/pictures/x.jpg"}],
        "detections": [{**detection, "maps": "maps/ODAM/x.npz", "run": ""}],
        "errors": [],
    }
    assert load_results(tmp_path) == expected


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


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", ".", "", "a/b", "..\\x"])
@pytest.mark.parametrize("place", ["name", "image", "method"])
def test_names_that_lead_out_of_the_folder(tmp_path, place, name):
    """
    The report is written beside such names: a folder of somebody else could choose which files are
    overwritten.
    """
    image, detection = {**IMAGE, "seconds": {}}, {"image": "x", "method": "ODAM", "metrics": {}}
    (image if place == "name" else detection)[place] = name
    write(tmp_path, {"schema_version": 2, "runs": [], "images": [image], "detections": [detection]})
    with pytest.raises(ResultsError, match="which leads out of the folder or is no name: explain"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    "content", [[], 3, {"schema_version": 2}, {"schema_version": 2, "runs": [], "images": [3]}]
)
def test_json_of_another_kind(tmp_path, content):
    write(tmp_path, content)
    with pytest.raises(ResultsError, match=r"results\.json' is not what d2_saliency writes"):
        load_results(tmp_path)
