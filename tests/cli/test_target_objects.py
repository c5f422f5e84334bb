"""d2-saliency explain --target-box --target-class: objects that the user names."""

from tests.conftest import ROOT

SCENE = ROOT / "demo" / "images" / "planted_0009.png"
FAST = ("--input", SCENE, "--output", "out", "--method", "ODAM")


def test_objects_in_place_of_the_detections(tool):
    found = tool(*FAST, "--max-instances", "1").results["detections"][0]
    box = ",".join(str(v) for v in found["box"])
    targets = (
        "--target-box",
        box,
        "--target-class",
        found["class_name"],
        "--target-box",
        "5,5,40,40",
    )
    run = tool(*FAST, *targets, "--target-class", "0")
    assert run.status == 0 and run.errors == []
    first, second = run.results["detections"]
    assert (
        first["flags"] == ["asked for, detected too"] and first["class_name"] == found["class_name"]
    )
    assert (
        "asked for, not detected" in second["flags"]
        and second["box"] == [5, 5, 40, 40]
        and second["class_id"] == 0
    )
    assert "asked for, not detected" in (run.folder / "index.html").read_text()


def test_other_objects_are_another_run(tool):
    target = ("--target-class", "1", "--target-box")
    boxes = [
        tool(*FAST, *target, b).results["detections"][0]["box"]
        for b in ("5,5,40,40", "5,5,40,50", "5,5,40,50")
    ]
    assert boxes == [[5, 5, 40, 40], [5, 5, 40, 50], [5, 5, 40, 50]]
    assert len(tool(*FAST).results["detections"]) > 1


def test_mistakes_are_said(tool):
    run = tool(*FAST, "--target-box", "5,5,40")
    assert (
        run.status == 2
        and "argument --target-box: invalid box, four numbers with commas between them" in run.err
    )
    run = tool(*FAST, "--target-box", "5,5,40,40")
    assert run.status == 2 and "as many --target-box as --target-class" in run.err
    run = tool(*FAST, "--target-box", "5,5,40,40", "--target-class", "dog")
    assert run.status == 2 and "There is no class 'dog'. The classes are:" in run.err
    run = tool(*FAST, "--target-box", "900,5,940,40", "--target-class", "0")
    assert run.status == 1 and "has no area inside of the image" in run.errors[0]["error"]
