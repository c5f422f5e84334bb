"""demo/demo.py as a person uses it."""

import importlib.util
import logging
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from detectron2.utils.logger import setup_logger

from tests.conftest import ROOT

SCENE = ROOT / "demo" / "images" / "planted_0007.png"
FAST = ("--method", "ODAM", "--max-instances", "2")


@pytest.fixture
def demo(monkeypatch, tmp_path, capsys):
    """Function: command line -> exit status, stderr; ``log``: stdout. Runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "demo")
    spec = importlib.util.spec_from_file_location("demo", ROOT / "demo" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        setup_logger.cache_clear()  # its handler writes to the sys.stdout of its first call
        monkeypatch.setattr(sys, "argv", ["demo.py", *map(str, args)])
        try:
            status = module.main()
        except SystemExit as e:  # argparse
            status = e.code
        run.log, err = capsys.readouterr()
        return status, err

    run.module = module
    yield run
    setup_logger.cache_clear()
    logging.getLogger("d2_saliency").handlers.clear()


@pytest.fixture
def window(monkeypatch):
    """
    In the place of OpenCV's window: the pictures shown; Esc is pressed at the ``escape_after``-th
    of them.
    """
    window = SimpleNamespace(shown=[], escape_after=None)
    monkeypatch.setattr(cv2, "namedWindow", lambda *args: None, raising=False)
    monkeypatch.setattr(
        cv2, "imshow", lambda name, picture: window.shown.append(picture), raising=False
    )
    monkeypatch.setattr(
        cv2,
        "waitKey",
        lambda wait: 27 if len(window.shown) == window.escape_after else 32,
        raising=False,
    )
    return window


def test_panels_and_maps_of_images(demo, tmp_path):
    scene = cv2.imread(str(SCENE))
    status, err = demo("--input", SCENE, "--output", "panels", *FAST)
    assert status == 0 and "explaining:" in err and "1/1" in err  # a progress bar
    panels = cv2.imread("panels/planted_0007.png")
    assert (
        panels.shape[1] > 6 * 256 and panels.shape[0] > 2 * 256
    )  # two detections below each other
    assert demo("--input", SCENE, "--output", "maps", "--map", "class", *FAST)[0] == 0
    picture = cv2.imread("maps/planted_0007.png")
    assert picture.shape == scene.shape
    changed = np.abs(picture.astype(int) - scene).max(-1) > 30
    assert 0.005 < changed.mean() < 0.6  # heat and boxes, and the photo is still there
    assert np.abs(picture[:40, :40].astype(int) - scene[:40, :40]).max() <= 1


def test_damaged_image_costs_one_image(demo, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    status, err = demo("--input", "a.png", SCENE, "--output", "out", "--map", "y_min", *FAST)
    assert status == 1 and "'a.png' is not an image" in demo.log and "Traceback" not in demo.log
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["planted_0007.png"]


@pytest.mark.parametrize("output", ["out.avi", "out.mp4", "folder"])
def test_video(demo, output):
    scene = cv2.resize(cv2.imread(str(SCENE)), (284, 292))
    writer = cv2.VideoWriter("in.avi", cv2.VideoWriter_fourcc(*"MJPG"), 5, (284, 292))
    for _ in range(2):
        writer.write(scene)
    writer.release()
    assert demo("--video-input", "in.avi", "--output", output, *FAST)[0] == 0
    video = cv2.VideoCapture(output if "." in output else f"{output}/video.mp4")
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2 and video.get(cv2.CAP_PROP_FPS) == 5
    _, frame = video.read()
    assert frame.shape == scene.shape and np.abs(frame.astype(int) - scene).max() > 100


class Camera:
    """
    Stands in for cv2.VideoCapture: gives the frames of a list, then none, as a camera that is
    unplugged.
    """

    def __init__(self, frames, is_opened=True):
        self.frames, self.is_opened, self.sources, self.released = (
            list(frames),
            is_opened,
            [],
            False,
        )

    def __call__(self, source):
        self.sources.append(source)
        return self

    def isOpened(self):
        return self.is_opened

    def get(self, what):
        return {cv2.CAP_PROP_FRAME_COUNT: -1.0, cv2.CAP_PROP_FPS: 0.0}[
            what
        ]  # what a camera does not know

    def read(self):
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    scene = cv2.resize(cv2.imread(str(SCENE)), (284, 292))
    camera = Camera([scene, scene[:, ::-1].copy(), scene])
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    return camera


def test_webcam_in_a_window(demo, camera, window):
    scenes = list(camera.frames)
    assert demo("--webcam", "--map", "class", *FAST)[0] == 0
    assert camera.sources == [0] and camera.released
    assert [picture.shape for picture in window.shown] == [scene.shape for scene in scenes]
    for picture, scene in zip(window.shown, scenes):  # each frame explained, not one of them thrice
        unchanged = np.abs(picture.astype(int) - scene).max(-1) <= 8
        assert 0.4 < unchanged.mean() < 0.995


def test_webcam_until_escape(demo, camera, window):
    window.escape_after = 1
    assert demo("--webcam", *FAST)[0] == 0
    assert len(window.shown) == 1 and len(camera.frames) == 2 and camera.released


def test_webcam_to_a_file(demo, camera, monkeypatch, tmp_path):
    assert demo("--webcam", "--output", "out.avi", *FAST)[0] == 0
    monkeypatch.undo()  # of the camera
    video = cv2.VideoCapture(str(tmp_path / "out.avi"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and video.get(cv2.CAP_PROP_FPS) == 25


def test_webcam_without_a_picture(demo, camera, window):
    camera.frames.clear()
    status, err = demo("--webcam", *FAST)
    assert status == 2 and "demo: The camera or video has no picture" in err and camera.released


def test_webcam_that_is_not_there(demo, camera):
    camera.is_opened = False
    status, err = demo("--webcam", "--output", "out.mp4")
    assert status == 2 and err == "demo: The webcam cannot be opened: is it connected?\n"


@pytest.mark.parametrize(
    "args, message",
    [
        (["--video-input", "no.mp4"], "The video 'no.mp4' does not exist: check the path."),
        (
            ["--video-input", str(ROOT / "setup.py"), "--output", "x.mp4"],
            "cannot be opened: save it as .mp4.",
        ),
        (["--input", "no.png", "--output", "out"], "'no.png' does not exist"),
        (["--method", "Nope", "--output", "out"], "There is no saliency method 'Nope'"),
    ],
)
def test_one_line_that_says_what_to_do(demo, args, message):
    status, err = demo(*args)
    assert status == 2 and err.startswith("demo: ") and message in err and err.count("\n") == 1


def test_no_window(demo, monkeypatch):
    def no_display(*args):
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", no_display, raising=False)
    status, err = demo(*FAST)
    assert status == 2 and "save them with --output FOLDER" in err


def test_window_until_escape(demo, window):
    window.escape_after = 2
    assert demo("--map", "class", *FAST)[0] == 0
    assert len(window.shown) == 2
