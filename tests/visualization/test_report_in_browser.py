"""The report as a person uses it: opened from disk in a real browser."""

import shutil

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency.results.run_info import run_info
from d2_saliency.results.writer import ResultsWriter, finish_results
from d2_saliency.structures import OUTPUTS, SaliencyMaps
from d2_saliency.visualization import write_report

EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil=1'>"
HEIGHT, WIDTH = 120, 160
BETTER = {
    "deletion_insertion.deletion": "lower",
    "deletion_insertion.insertion": "higher",
    "average_drop.drop": "lower",
}
VALUES = (
    (0.125, 0.5, 30.0),
    (0.25, 0.75, float("nan")),
)  # of the two methods, for the second detection


def detections(peaks, method, classes=(0, 1)):
    """Two detections; map k of the second is bright in the k-th fifth from the left."""
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_boxes = Boxes(
        torch.tensor([[10.0, 20.0, 60.0, 90.0], [90.0, 40.0, 122.0, 64.0]])
    )
    instances.scores = torch.tensor([0.95, 0.6])
    instances.pred_classes = torch.tensor(classes)
    maps = torch.zeros(2, 5, HEIGHT, WIDTH)
    for k in range(5):
        maps[1, k, :, 32 * k : 32 * k + 32] = peaks
    maps[0, :4] = torch.rand(4, HEIGHT, WIDTH)  # the last one is a zero map
    instances.pred_saliency = SaliencyMaps.full_image(maps, (HEIGHT, WIDTH))
    if method == "ODSmoothGrad":
        instances.num_matched = torch.tensor([20, 13])
        instances.num_samples = torch.tensor([20, 20])
    return instances


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of two images, two methods and hostile names."""
    tmp_path = tmp_path_factory.mktemp("report")
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    names = ["dog", EVIL, "cat"]
    writers = [
        ResultsWriter(
            tmp_path, run_info(f"explain_net.py {EVIL}", "A: 1", *options, metrics=BETTER)
        )
        for options in (("ODSmoothGrad", 0, "", 20), ("ODAM", 0))
    ]
    for peak, values, writer in zip((1.0, 3.0), VALUES, writers):
        metrics = [{}, dict(zip(BETTER, values))]
        found = detections(peak, writer.method)
        writer.add_image("a", "d", f"photos/{EVIL}.jpg", image, found, names, 1.5, metrics=metrics)
        found = detections(peak, writer.method, (2, 2))
        writer.add_image("b", "d", "photos/b.jpg", image, found, names, 1.5)
    writers[1].add_error("c", f"{EVIL}.png", EVIL)
    finish_results(writers)
    write_report(tmp_path)
    return tmp_path


@pytest.fixture
def page(folder, browse):
    page = browse()
    page.goto((folder / "index.html").as_uri())
    return page


def open_second(page):
    page.locator("#grid li").nth(0).locator(".chips button").nth(1).click()
    page.locator("#maps canvas").nth(9).wait_for()


def bright_columns(page, canvas):
    """First and last column, as shares of the width, where a map on the stage is opaque."""
    return canvas.evaluate(
        """canvas => {
            const {width, height} = canvas, context = canvas.getContext("2d");
           const row = context.getImageData(0, height >> 1, width, 1).data;
            const opaque = [...Array(width).keys()].filter(x => row[4 * x + 3] > 128);
            return [opaque[0] / width, (opaque[opaque.length - 1] + 1) / width];
        }"""
    )


def test_click_on_the_second_detection_shows_its_five_maps(page):
    open_second(page)
    rows = page.locator("#maps tr[data-method]")
    assert rows.count() == 2 and page.locator("#label").text_content() == EVIL
    for peak, row in zip(("1", "3"), rows.all()):
        texts = row.locator("button").all_inner_texts()
        assert [text.split() for text in texts] == [[output, "peak", peak] for output in OUTPUTS]
    for k in range(5):  # from the thumbnail to the large picture, of both methods
        rows.nth(1).locator("button").nth(k).click()
        heat = page.locator("#stage canvas.heat")
        assert heat.count() == 2
        for canvas in heat.all():
            assert (
                np.abs(np.array(bright_columns(page, canvas)) - [k / 5, (k + 1) / 5]).max() < 0.02
            )
        assert (
            page.locator("#stage .chosen").first.get_attribute("class")
            == f"box chosen {OUTPUTS[k]}"
        )


def test_keyboard(page):
    open_second(page)
    position = page.locator("#position")
    page.keyboard.press("3")
    assert page.locator("#stage figcaption").first.text_content() == "ODSmoothGrad: y_min"
    page.keyboard.press("ArrowRight")  # on to the next image
    page.locator("#file", has_text="b.jpg").wait_for()
    assert position.text_content() == "detection 1 of 2"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.locator("#label", has_text="dog").wait_for()
    assert position.text_content() == "detection 1 of 2" and page.locator("#previous").is_disabled()
    page.keyboard.press("Escape")
    assert page.locator("#overview").is_visible() and page.locator("#viewer").is_hidden()


def test_opacity_and_swipe(page):
    open_second(page)
    heat = page.locator("#stage canvas.heat").first
    page.locator("#opacity").focus()
    before = float(heat.evaluate("canvas => canvas.style.opacity"))
    page.keyboard.press("ArrowLeft")  # moves the slider, not to another detection
    assert float(heat.evaluate("canvas => canvas.style.opacity")) == pytest.approx(before - 0.01)
    assert page.locator("#position").text_content() == "detection 2 of 2"
    picture = page.locator("#stage .picture").first.bounding_box()
    handle = page.locator("#stage .divider").first.bounding_box()
    page.mouse.move(handle["x"] + 12, handle["y"] + 50)
    page.mouse.down()
    page.mouse.move(picture["x"] + 0.25 * picture["width"], handle["y"] + 50)
    page.mouse.up()
    share = heat.evaluate("canvas => canvas.style.clipPath").split()[-1].rstrip("%)")
    assert abs(float(share) - 25) <= 1 and page.locator("#swipe").input_value() == "25"


def test_zoom_shows_the_box_and_its_edge(page):
    open_second(page)
    page.keyboard.press("2")
    page.keyboard.press("z")
    picture = page.locator("#stage .picture").first.bounding_box()
    box = page.locator("#stage .chosen").first.bounding_box()
    assert box["width"] / picture["width"] == pytest.approx(
        1 / 1.8, abs=0.02
    )  # of the whole picture it is 0.2
    for start, length in (("x", "width"), ("y", "height")):
        assert box[start] + box[length] / 2 == pytest.approx(
            picture[start] + picture[length] / 2, abs=2
        )


def test_filters(page):
    def shown():
        return [
            chip.split(" ")[0]
            for chip in page.locator("#grid .chips button:visible").all_text_contents()
        ]

    assert len(shown()) == 4
    page.locator("#by-class").select_option("dog")
    assert shown() == ["dog"] and page.locator("#grid li:visible").count() == 1
    page.locator("#filters button[type=reset]").click()
    page.locator("#by-score").fill("90")
    assert shown() == ["dog", "cat"]
    assert page.locator("#count").text_content() == "2 of 4 detections in 2 of 2 images"
    page.locator("#filters button[type=reset]").click()
    page.locator("#by-flag").select_option("zero map")
    assert shown() == ["dog", "cat"]
    page.locator("#by-flag").select_option("-")
    assert len(shown()) == 2
    page.locator("#by-file").fill("B.JP")
    assert shown() == ["cat"]
    page.locator("#grid .chips button:visible").click()
    page.locator("#viewer").wait_for()
    assert page.locator("#next").is_disabled()  # the arrows follow the filter


def test_zero_map_and_notes(page):
    page.locator("#grid .chips button").nth(0).click()
    page.locator("#maps canvas").nth(9).wait_for()
    assert (
        page.locator("#maps tr[data-method] button").nth(4).inner_text().split("\n")[-1]
        == "zero map"
    )
    page.keyboard.press("5")
    assert page.locator("#stage .heat").count() == 0 and page.locator("#stage .zero").count() == 2
    assert "found again in 20 of 20 noise passes" in page.locator("#per-method").inner_text()


def test_metrics_of_the_methods_side_by_side(page):
    open_second(page)
    rows = page.locator("#metrics tr")
    texts = [[cell.inner_text() for cell in row.locator("th, td").all()] for row in rows.all()]
    assert texts == [
        ["What the maps are worth", "ODSmoothGrad", "ODAM"],
        ["deletion insertion"],
        ["deletion ↓", "0.125", "0.25"],
        ["insertion ↑", "0.5", "0.75"],
        ["average drop"],
        ["drop ↓", "30", "not defined"],
    ]
    assert page.locator("#metrics .best").all_inner_texts() == [
        "0.125",
        "0.75",
    ]  # with one value, nothing is best
    page.keyboard.press("ArrowLeft")  # on to a detection of which nothing was measured
    page.locator("#label", has_text="dog").wait_for()
    page.locator("#maps canvas").nth(9).wait_for()
    assert rows.count() == 0


def test_stability_and_command(page):
    open_second(page)
    assert "found again in 13 of 20 noise passes" in page.locator("#per-method").inner_text()
    assert page.locator("meter").get_attribute("value") == "13"
    assert page.locator("#command").text_content() == f"explain_net.py {EVIL}"


def test_one_method_can_be_hidden(page):
    open_second(page)
    page.locator("#maps button.method").nth(0).click()
    assert page.locator("#stage figcaption").all_inner_texts() == ["ODAM: class"]
    page.locator("#maps button.method").nth(1).click()  # the last one stays
    assert page.locator("#stage figure").count() == 1


def test_hostile_names_do_nothing(page):
    assert (
        EVIL in page.locator("#grid").inner_text() and EVIL in page.locator("#errors").inner_text()
    )
    open_second(page)
    assert page.evaluate("window.evil") is None


def test_narrow_window(folder, browse):
    page = browse(400, 800)
    page.goto((folder / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    open_second(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_link_to_a_detection_and_back(folder, browse):
    page = browse()
    page.goto((folder / "index.html").as_uri() + "#2/1")
    page.locator("#maps canvas").nth(9).wait_for()
    assert page.locator("#file").text_content() == "b.jpg"
    page.locator("#back").click()
    page.locator("#grid li").nth(1).wait_for()


def test_missing_data_is_said(folder, browse, tmp_path):
    folder = shutil.copytree(folder, tmp_path / "copy")  # moved, a report works all the same
    (folder / "report/data/b.js").unlink()
    page = browse()
    page.goto((folder / "index.html").as_uri())
    page.evaluate("location.hash = '2/1'")
    page.locator(
        "#warnings", has_text="report/data/b.js is missing: make the report again"
    ).wait_for()
    browse.troubles.clear()  # the browser logs the missing file


INJECTED = "<script>window.evil = 1</script><details open ontoggle='window.evil = 2'></details>"


def test_scripts_that_are_not_ours_do_not_run(folder, browse, tmp_path):
    """Even if they should ever get into the page."""
    shutil.copytree(folder, tmp_path / "copy")
    report = tmp_path / "copy" / "index.html"
    report.write_text(report.read_text().replace("<header", INJECTED + "<header", 1))
    page = browse()
    page.goto(report.as_uri())
    open_second(page)  # the page's own, and report/data/*.js
    assert page.evaluate("window.evil") is None
    refused = [text for text in browse.troubles if "Content Security Policy" in text]
    assert len(refused) == 2 and browse.troubles == refused
    browse.troubles.clear()
