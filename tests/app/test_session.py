"""Does the web app's work for a visitor, without a web."""

import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from d2_saliency.results.maps_file import load_maps
from d2_saliency.utils.image_io import ImageError, read_image
from tests.conftest import ROOT

SCENE = ROOT / "demo" / "images" / "planted_0007.png"
KEY = ("faster_rcnn_planted", "ODAM", "score")


@pytest.fixture(scope="module")
def app():
    from d2_saliency.app import session

    return session


@pytest.fixture(scope="module")
def detector(app):
    return app.Detector(ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml")


@pytest.fixture
def session(app):
    return app.Session("scene.png", read_image(SCENE))


def bomb(path, width=60_000, height=60_000):
    """A PNG of a few bytes that says it has 3.6 thousand million pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )


class TestUpload:
    def test_photo(self, app):
        assert np.array_equal(app.read_upload(str(SCENE)), read_image(SCENE))

    @pytest.mark.parametrize("size", [(39, 40_000), (3000, 1500), (1024, 2), (1025, 1)], ids=str)
    def test_large_photos_are_kept_as_large_as_they_are_shown(self, app, tmp_path, size):
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "x.png")
        image = app.read_upload(str(tmp_path / "x.png"))
        ratio = 1024 / max(size)
        assert image.shape == (*(max(1, round(side * ratio)) for side in size[::-1]), 3)
        assert (image == (30, 20, 10)).all()

    @pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000), (8_000, 5_001)], ids=str)
    def test_more_pixels_than_allowed(self, app, tmp_path, size):
        bomb(tmp_path / "x.png", *size)
        with pytest.raises(ImageError, match="more than 40 million pixels: make it smaller"):
            app.read_upload(str(tmp_path / "x.png"))

    def test_more_bytes_than_allowed(self, app, tmp_path, monkeypatch):
        monkeypatch.setattr(app, "MAX_BYTES", 2**20)
        (tmp_path / "x.png").write_bytes(b"x" * (2**20 + 1))
        with pytest.raises(ImageError, match="larger than 1 MB"):
            app.read_upload(str(tmp_path / "x.png"))

    def test_what_is_not_an_image(self, app, tmp_path):
        path = tmp_path / "x.png"
        svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
        for content in (svg.encode(), b"", b"GIF89a", SCENE.read_bytes()[:3000]):
            path.write_bytes(content)
            with pytest.raises(ImageError) as error:
                app.read_upload(str(path))
            assert str(error.value).startswith("The file ") and str(tmp_path) not in str(
                error.value
            )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("photo.png", SCENE.read_bytes())
        with pytest.raises(ImageError, match="not an image"):
            app.read_upload(str(path))


class TestDrawnBox:
    def test_corners_in_any_order(self, app):
        assert app.read_box([0.75, 0.25, 0.5, 0.5], (40, 80)) == (40, 10, 60, 20)
        assert app.read_box([-1, 0.5, 2, 7], (40, 80)) == (0, 20, 80, 40)

    @pytest.mark.parametrize(
        "sent",
        [
            "",
            None,
            [1, 2, 3],
            ["a", 1, 1, 1],
            [float("nan"), 0, 1, 1],
            {},
            [[1], 2, 3, 4],
            [10**400, 0, 1, 1],
        ],
    )
    def test_what_is_not_a_box(self, app, sent):
        with pytest.raises(ValueError, match="This is not a box"):
            app.read_box(sent, (40, 80))


class TestExplain:
    def test_list_and_maps_are_of_the_same_detections(self, app, detector, session):
        found = app.detect(detector, session, KEY[0], lambda: None)
        explained = app.explain(detector, session, KEY, lambda: None)
        assert len(found) == len(explained) > 1
        assert torch.equal(found.pred_boxes.tensor, explained.pred_boxes.tensor)
        assert explained.pred_saliency.explained.all()

    def test_nothing_is_computed_twice(self, app, detector, session):
        passes = []
        for _ in range(2):
            app.explain(detector, session, KEY, lambda: passes.append(1))
        assert len(passes) == 1

    def test_cancelled_work_leaves_the_detector_as_it_was(self, app, detector, session):
        passes = []

        def stop_at_the_second():
            passes.append(1)
            if len(passes) == 2:
                raise app.Cancelled

        with pytest.raises(app.Cancelled):
            app.explain(detector, session, (KEY[0], "ODSmoothGrad", "score"), stop_at_the_second)
        assert not session.explained and len(passes) == 2
        assert (
            not detector.lock.locked() and not detector.explainer.model.backbone._forward_pre_hooks
        )
        assert len(app.explain(detector, session, KEY, lambda: None)) > 1 and len(passes) == 2

    def test_work_stops_between_two_backward_passes(self, app, detector, session):
        """
        Gradient runs the model forward once or twice, and backward five times for each detection.
        """
        passes = []

        def stop_at_the_sixth():
            passes.append(torch.is_grad_enabled())
            if len(passes) == 6:
                raise app.Cancelled

        with pytest.raises(app.Cancelled):
            app.explain(detector, session, (KEY[0], "Gradient", "score"), stop_at_the_sixth)
        assert len(passes) == 6 and not session.explained and not detector.lock.locked()
        assert not detector.explainer.model.backbone._forward_hooks

    def test_box_that_is_named(self, app, detector, session):
        found = app.detect(detector, session, KEY[0], lambda: None)
        box, names = found.pred_boxes.tensor[0].tolist(), detector.explainer.class_names
        right, wrong = (
            app.explain_box(detector, session, KEY, box, names[k], lambda: None)
            for k in (int(found.pred_classes[0]), (int(found.pred_classes[0]) + 1) % len(names))
        )
        assert bool(right.detected[0]) and not bool(wrong.detected[0])
        assert float(right.scores[0]) > 0.5 > float(wrong.scores[0])
        assert min(wrong.pred_saliency.peaks[0].tolist()) > 0

    def test_bundle(self, app, detector, session, tmp_path):
        app.explain(detector, session, KEY, lambda: None)
        path = app.write_bundle({KEY[0]: detector}, session, tmp_path)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "out")
        folder = tmp_path / "out" / "faster_rcnn_planted_score"
        assert (folder / "index.html").is_file() and len(list(folder.glob("image/ODAM/*.png"))) > 1
        saved = load_maps(folder / "maps" / "ODAM" / "image.npz")
        assert torch.equal(saved.pred_boxes.tensor, session.explained[KEY].pred_boxes.tensor)
