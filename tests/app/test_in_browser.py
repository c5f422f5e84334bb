"""The web app as visitors use it, in a real browser."""

import base64
import io
import re
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[web]'")

SCENES = sorted((ROOT / "demo" / "images").glob("*.png"))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a server of this test listens."""
    patch, folder = pytest.MonkeyPatch(), tmp_path_factory.mktemp("gradio")
    patch.setenv("GRADIO_TEMP_DIR", str(folder))
    from d2_saliency.app import serve as app
    from d2_saliency.app.events import Events

    events = Events(folder)
    page = app.build(events)
    options = dict(prevent_thread_lock=True, quiet=True)
    _, url, _ = app.launch(page, events.uploads, "127.0.0.1", None, **options)
    yield url
    page.close()
    patch.undo()


@pytest.fixture
def visit(browse, address):
    """Function: a new visitor's page, with the first bundled image and its detections."""

    def open_page(*size):
        page = browse(*size)
        page.set_default_timeout(60_000)
        page.goto(address)
        page.locator("#detections label").nth(1).wait_for()
        return page

    return open_page


def figures(page, count):
    page.locator("#maps img").nth(count - 1).wait_for()
    assert page.locator("#maps img").count() == count
    sources = [image.get_attribute("src") for image in page.locator("#maps img").all()]
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
        for source in sources
    ]


def choose(page, dropdown, value):
    page.locator(f"#{dropdown} input").click()
    page.get_by_role("option", name=value, exact=True).click()


def labels(page):
    return page.locator("#detections label").all_inner_texts()


def test_uploaded_photo_from_file_to_bundle(visit, tmp_path):
    page = visit()
    photo = tmp_path / "my <img src=x onerror=alert(1)> photo.jpg"
    Image.open(SCENES[3]).convert("RGB").save(photo, quality=95)
    before = labels(page)
    page.locator("input[type=file]").first.set_input_files(photo)
    page.locator("#detections label").nth(len(before)).wait_for()  # this scene has more objects
    assert len(labels(page)) == 4
    page.locator("#detections label").nth(1).click()
    (panel,) = figures(page, 1)
    assert panel.shape[1] > 6 * 200
    choose(page, "other", "GradCAM")
    both = figures(page, 2)
    assert np.array_equal(both[0], panel) and np.abs(both[1].astype(int) - panel).max() > 100
    assert page.locator("#maps figcaption").all_inner_texts() == ["ODAM", "GradCAM"]
    with page.expect_download() as download:
        page.locator("#download").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
    for part in ("index.html", "maps/ODAM/image.npz", "maps/GradCAM/image.npz", "results.json"):
        assert f"faster_rcnn_planted_score/{part}" in names


def shown(page):
    """
    The picture as it is now: RGB, (H, W, 3), and a function from shares of its sides to the mouse's
    position.
    """
    element = page.locator("#picture img")
    source, box = element.get_attribute("src"), element.bounding_box()
    picture = np.asarray(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB"))
    height, width = picture.shape[:2]
    scale = min(box["width"] / width, box["height"] / height)  # it is in the middle of its element
    left, top = (
        box[key] + (box[side] - n * scale) / 2
        for key, side, n in zip("xy", ("width", "height"), (width, height))
    )
    return picture, lambda x, y: (left + x * width * scale, top + y * height * scale)


def drag(page, *places):
    """
    Press the mouse at the first place, move it over the others, release it at the last; wait for
    the new picture.
    """
    source = page.locator("#picture img").get_attribute("src")
    _, position = shown(page)
    page.mouse.move(*position(*places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*position(*place))
    page.mouse.up()
    page.wait_for_function(
        "source => document.querySelector('#picture img').src !== source", arg=source
    )


def test_click_in_the_picture(visit):
    page = visit()
    _, position = shown(page)
    page.mouse.click(*position(0.73, 0.77))  # planted_0007 has an object there
    figures(page, 1)
    assert "triangle" in page.locator("#detections label:has(input:checked)").inner_text()


def test_dragged_box(visit):
    page = visit()
    drag(page, (0.2, 0.2), (0.4, 0.3))
    drag(
        page, (0.3, 0.6), (0.9, 0.9), (0.1, 0.25)
    )  # takes the first one's place; from any corner, by any way
    picture, _ = shown(page)
    y, x = np.nonzero(
        (np.abs(picture.astype(int) - (255, 145, 0)) < 20).all(-1)
    )  # where it is orange
    height, width = picture.shape[:2]
    assert np.allclose(np.array([x.min(), x.max()]) / width, (0.1, 0.3), atol=0.01)
    assert np.allclose(np.array([y.min(), y.max()]) / height, (0.25, 0.6), atol=0.01)
    assert page.locator("#detections input:checked").count() == 0  # a drag is no click
    choose(page, "label", "disc")
    page.locator("#why-not").click()
    (panel,) = figures(page, 1)
    assert panel.shape[1] > 6 * 200
    assert page.locator("#maps figcaption").inner_text() == "ODAM: disc, not detected"


def test_why_not_without_a_box(visit):
    page = visit()
    page.locator("#why-not").click()
    page.get_by_text(
        "Drag a box in the picture, from corner to corner, and choose a class.", exact=True
    ).wait_for()


def test_refused_uploads_are_told(visit, tmp_path):
    page = visit()
    with zipfile.ZipFile(tmp_path / "zip.jpg", "w") as archive:
        archive.write(SCENES[0], "photo.png")
    (tmp_path / "svg.png").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")  # 12 kB
    for name, message in (
        ("svg.png", "The file is not an image that can be read: save it as JPEG or PNG."),
        ("bomb.png", "The image has more than 40 million pixels: make it smaller first."),
        ("zip.jpg", "The file is not an image that can be read: save it as JPEG or PNG."),
    ):
        page.locator("input[type=file]").first.set_input_files(tmp_path / name)
        toast = page.locator(".toast-wrap").get_by_text(message)
        toast.wait_for()
        page.locator(".toast-close").first.click()
        toast.wait_for(state="detached")
    assert len(labels(page)) == 2  # what was there before


@pytest.mark.parametrize("size, status", [(10 * 2**20, 200), (20 * 2**20 + 1, 413)])
def test_size_of_uploads_is_limited(address, size, status):
    """By the server, before the file is written and read."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(
        address + "gradio_api/upload", head + bytes(size) + b"\r\n--x--\r\n", headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request) as answer:
            assert answer.status == status
    except urllib.error.HTTPError as e:
        assert e.code == status


def test_visitors_do_not_see_each_other(visit):
    one, other = visit(), visit()
    other.locator("#bundled button.thumbnail-item, #bundled .thumbnail-lg").nth(3).click()
    other.locator("#detections label").nth(3).wait_for()
    one.locator("#detections label").nth(0).click()
    (mine,) = figures(one, 1)
    assert len(labels(one)) == 2 and other.locator("#maps img").count() == 0
    other.locator("#detections label").nth(0).click()
    (theirs,) = figures(other, 1)
    assert mine.shape != theirs.shape or np.abs(mine.astype(int) - theirs).max() > 100


def test_cancelled(visit):
    page = visit()
    choose(page, "method", "ODSmoothGrad")
    page.locator("#detections label").nth(0).click()
    page.get_by_text(re.compile(r"\d passes of the model \(ODSmoothGrad\)")).first.wait_for()
    page.locator("#cancel").click()
    choose(page, "method", "ODAM")
    figures(page, 1)
    assert page.locator("#maps figcaption").inner_text() == "ODAM"


def test_narrow_window(visit):
    page = visit(400, 800)
    page.locator("#detections label").nth(1).click()
    figures(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize(
    "route", ["gradio_api/file=", "file=", "file/", "static/", "assets/", "gradio_api/file/"]
)
@pytest.mark.parametrize(
    "path",
    [
        "{root}/setup.py",
        "../setup.py",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "setup.py",
    ],
)
def test_no_file_of_the_server_is_readable(address, route, path):
    url = address + route + path.format(root=ROOT)
    try:
        with urllib.request.urlopen(url) as answer:
            content = answer.read()
    except urllib.error.HTTPError as e:
        assert e.code in (400, 403, 404, 405)
        return
    assert b"root:" not in content and b"find_packages" not in content
