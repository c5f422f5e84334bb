"""A detector of the user, explained and evaluated at the command line."""

import json

import pytest

from d2_saliency.methods import METHODS
from tests.cli.own_detector import OWN_DATA, truth


def overlap(a, b):
    sides = [max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


@pytest.mark.parametrize("words", OWN_DATA.values(), ids=OWN_DATA)
def test_explained_with_the_right_names(in_project, trained, words):
    run = in_project("explain", "--input", "pictures", *words)
    assert run.status == 0, run.err
    found = [(d["image"], d["class_name"], d["box"]) for d in run.results["detections"]]
    objects = list(truth(trained))
    assert {name for _, name, _ in objects} == {"round", "cross"}
    for image, name, box in objects:
        names = [n for i, n, b in found if i == image and overlap(b, box) > 0.5]
        assert names == [name]
    numbers = {(d["class_id"], d["class_name"]) for d in run.results["detections"]}
    assert numbers == {(0, "cross"), (1, "round")}


def test_evaluated_in_each_way_with_the_same_numbers(in_project, trained):
    metrics = ("--metrics", "pointing_game", "--max-instances", "5")
    numbers = {}
    for name, words in OWN_DATA.items():
        run = in_project("evaluate", *words, *metrics)
        assert run.status == 0, run.err
        data_set = "shapes" if name == "coco" else "my_shapes"
        path = run.folder / "inference" / data_set / "ODAM" / "metrics.json"
        numbers[name] = json.loads(path.read_text())
        assert numbers[name].pop("dataset") == data_set
    counts = numbers["coco"]["counts"]
    assert counts["images"] == 4 and counts["matched"] == len(list(truth(trained)))
    assert numbers["coco"] == numbers["import"] == numbers["module"]
    assert numbers["coco"]["metrics"]["pointing_game"]["hit"]["mean"] > 0.5


def test_names_alone(in_project):
    words = ("--input", "pictures/0.png", "--class-names")
    for names in (["one", "two"], ["eins", "zwei"]):
        run = in_project("explain", *words, *names)
        assert run.status == 0
        assert all(d["class_name"] == names[d["class_id"]] for d in run.results["detections"])


@pytest.mark.parametrize(
    "command, words, message",
    [
        ("explain", ["--coco-json", "no.json"], "--coco-json 'no.json' cannot be read (No such"),
        ("explain", ["--coco-json", "train.py"], "--coco-json 'train.py' is not valid JSON"),
        ("explain", ["--image-root", "pictures"], "--image-root says where the images of"),
        ("evaluate", ["--import", "nowhere.py"], "--import nowhere.py: FileNotFoundError: there"),
        ("evaluate", [], "There is no data set 'my_shapes': name its files with --coco-json and"),
        ("explain", ["--device", "gpu"], "No model can be built from the config"),
    ],
)
def test_one_line_that_says_what_to_do(in_project, command, words, message):
    run = in_project(command, *words)
    assert run.status == 2 and message in run.err and run.err.count("\n") == 1


def test_a_method_of_the_user_is_listed_and_used(in_project, trained):
    (trained / "register_method.py").write_text(
        "from d2_saliency import SALIENCY_HEAD_REGISTRY\n"
        "from d2_saliency.modeling.saliency_heads import ODAM\n"
        "@SALIENCY_HEAD_REGISTRY.register()\n"
        "class MyMethod(ODAM):\n"
        '    """What it does."""\n'
    )
    words = ("--import", "register_method.py", "--input", "pictures/0.png")
    listed = in_project("explain", *words, "--list-methods")
    lines = [line.split(maxsplit=1) for line in listed.out.splitlines()]
    assert lines[-1] == ["MyMethod", "What it does."] and len(lines) == len(METHODS) + 1
    found = {
        method: in_project("explain", *words, method=method).results["detections"]
        for method in ("MyMethod", "ODAM")
    }
    assert found["MyMethod"] and [{**d, "method": "ODAM"} for d in found["MyMethod"]] == [
        *found["ODAM"]
    ]
