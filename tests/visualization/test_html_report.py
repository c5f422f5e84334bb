import base64
import html
import io
import json
import re

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from d2_saliency.results.reader import ResultsError
from d2_saliency.results.run_info import run_info
from d2_saliency.results.writer import ResultsWriter, finish_results
from d2_saliency.structures import SaliencyMaps
from d2_saliency.visualization import write_report

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"
IMAGE = np.full((60, 80, 3), 128, np.uint8)


def make_instances(maps):
    instances = Instances(IMAGE.shape[:2])
    instances.pred_boxes = Boxes(torch.tensor([[10.0, 20.0, 50.0, 40.0]] * len(maps)).view(-1, 4))
    instances.scores = torch.full((len(maps),), 0.97)
    instances.pred_classes = torch.zeros(len(maps), dtype=torch.int64)
    instances.pred_saliency = SaliencyMaps(
        maps, torch.tensor([[0, 0, 80, 60]] * len(maps)), (60, 80)
    )
    instances.num_matched = torch.full((len(maps),), 13)
    instances.num_samples = torch.full((len(maps),), 20)
    return instances


@pytest.fixture()
def writer(tmp_path):
    return ResultsWriter(
        tmp_path, run_info(f"explain {EVIL}", "A: 1", "ODSmoothGrad", 0, EVIL, num_samples=20)
    )


def add(writer, maps, name="x", file="photos/x.jpg", class_name="dog"):
    writer.add_image(name, "d", file, IMAGE, make_instances(maps), [class_name], 1.5)


def report(*writers):
    """Text of the report, and for each image what its page and its script say of it."""
    finish_results(writers)
    folder = writers[0].output_dir
    text = write_report(folder).read_text(encoding="utf-8")
    (page,) = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', text)
    images = [
        {"overview": image["detections"], **image, **read_script(folder / image["data"])}
        for image in json.loads(page)["images"]
    ]
    return text, images


def read_script(path):
    """The second argument of the only call, receiveImage(name, data)."""
    comment, call = path.read_text(encoding="ascii").splitlines()
    assert comment.startswith("// ")
    name, data = json.loads(re.sub(r"^receiveImage\((.*)\);$", r"[\1]", call))
    assert name == path.stem
    return data


def decode(uri):
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


class TestContent:
    def test_picture_detections_and_maps(self, writer):
        maps = torch.zeros(5, 60, 80)
        for k in range(4):  # the last one is zero
            maps[k, 12 * k : 12 * k + 12] = 10.0 ** (-3 * k)
        add(writer, [maps, torch.zeros(5, 0, 0)])
        text, (data,) = report(writer)
        assert (data["file"], data["width"], data["height"]) == ("photos/x.jpg", 80, 60)
        assert data["seconds"] == {"ODSmoothGrad": 1.5} and data["mapSize"] == [60, 80]
        for key in ("picture", "thumbnail"):
            with Image.open(writer.output_dir / data[key]) as picture:
                assert (
                    picture.size == (80, 60)
                    and np.abs(np.asarray(picture).astype(int) - 128).max() < 3
                )
        assert (data["overview"][0]["class"], data["overview"][0]["box"]) == (
            "dog",
            [10, 20, 50, 40],
        )
        assert data["overview"][0]["flags"] == {"ODSmoothGrad": ["zero map: y_max"]}
        first, second = (detection["ODSmoothGrad"] for detection in data["detections"])
        assert (first["num_matched"], first["num_samples"], first["flags"]) == (
            13,
            20,
            ["zero map: y_max"],
        )
        assert second["maps"] is None and not second["explained"]
        strips = decode(first["maps"]).reshape(5, 60, 80)
        for k in range(5):
            inside = np.zeros(60, bool)
            inside[12 * k + 2 : 12 * k + 10] = k < 4
            outside = np.ones(60, bool)
            outside[max(12 * k - 8, 0) : 12 * k + 20] = k == 4
            assert not inside.any() or strips[k, inside].min() > 240
            assert strips[k, outside].max() < 12

    def test_map_of_the_mask_is_a_sixth(self, writer):
        instances = make_instances([torch.ones(5, 60, 80)])
        mask = torch.zeros(1, 1, 60, 80)
        mask[..., :30, :] = 3.0
        instances.pred_mask_saliency = SaliencyMaps(
            mask, torch.tensor([[0, 0, 80, 60]]), (60, 80), ("mask",)
        )
        writer.add_image("x", "d", "photos/x.jpg", IMAGE, instances, ["dog"])
        text, (data,) = report(writer)
        assert (
            '"outputs": ["class", "x_min", "y_min", "x_max", "y_max", "mask"]' in text
            and "1&ndash;6 maps" in text
        )
        detection = data["detections"][0]["ODSmoothGrad"]
        assert detection["peaks"] == [1, 1, 1, 1, 1, 3]
        strips = decode(detection["maps"]).reshape(6, 60, 80)
        assert strips[:5].min() > 250 and strips[5, :26].min() > 240 and strips[5, 34:].max() < 12

    def test_command_errors_and_counts(self, writer):
        writer.add_error("bad", "photos/bad.jpg", "'photos/bad.jpg' is damaged: copy it again.")
        add(writer, [torch.ones(5, 1, 1)])
        text = html.unescape(report(writer)[0])
        for part in (
            "explain <",
            "1 image, 1 detection,",
            "1 image failed",
            "'photos/bad.jpg' is damaged",
            "ODSmoothGrad",
        ):
            assert part in text or part.replace("<", "") in text

    def test_methods_side_by_side(self, writer, tmp_path):
        other = ResultsWriter(tmp_path, run_info("explain", "A: 1", "ODAM", 0))
        add(writer, [torch.ones(5, 1, 1), torch.ones(5, 1, 1)])
        apart = make_instances([torch.ones(5, 1, 1), torch.ones(5, 1, 1)])
        apart.pred_boxes.tensor[0] += 0.5  # the same detection; the other one is not
        apart.pred_boxes.tensor[1] += 5
        other.add_image(
            "x", "d", "photos/x.jpg", IMAGE, apart, ["dog"], 2.5, metrics=[{"deletion": 0.25}, {}]
        )
        (data,) = report(writer, other)[1]
        assert [[*detection] for detection in data["detections"]] == [
            ["ODSmoothGrad", "ODAM"],
            ["ODSmoothGrad"],
            ["ODAM"],
        ]
        assert data["detections"][0]["ODAM"]["metrics"] == {"deletion": 0.25}
        assert data["seconds"] == {"ODSmoothGrad": 1.5, "ODAM": 2.5}

    def test_folder_of_version_1(self, writer):
        add(writer, [torch.ones(5, 1, 1)])
        results, folder = writer.finish(), writer.output_dir
        (folder / "maps/ODSmoothGrad/x.npz").rename(folder / "maps/x.npz")
        (folder / "x").mkdir()
        (folder / "report/pictures/x.jpg").rename(folder / "x/image.jpg")
        results["images"][0]["seconds"] = 1.5
        results["detections"][0].pop("metrics")
        old = {
            "schema_version": 1,
            "run": results["runs"][0],
            **{k: results[k] for k in ("images", "detections")},
        }
        (folder / "results.json").write_text(json.dumps(old))
        write_report(folder)
        data = read_script(folder / "report/data/x.js")
        assert data["warnings"] == [] and data["detections"][0]["ODSmoothGrad"]["maps"].startswith(
            "data:image/jpeg"
        )

    def test_no_images_and_no_detections(self, writer):
        assert report(writer)[1] == []
        add(writer, [])
        assert report(writer)[1][0]["detections"] == []


class TestSafety:
    def test_everything_from_outside_is_escaped(self, writer):
        add(writer, [torch.ones(5, 1, 1)], file=f"{EVIL}.jpg", class_name=EVIL)
        writer.add_error("bad", f"{EVIL}.png", EVIL)
        text, (data,) = report(writer)
        assert "alert('x')" not in text and "<img src=x" not in text
        assert data["file"] == f"{EVIL}.jpg" and data["overview"][0]["class"] == EVIL

    def test_needs_no_network(self, writer):
        add(writer, [torch.ones(5, 1, 1)])
        text, _ = report(writer)
        assert not re.search(r"https?://|//cdn|@import|<link|<iframe", text)
        assert not re.findall(r'(?:src|href)="([^"#][^"]*)"', text)
        assert "default-src 'none'" in text

    def test_file_name_that_is_no_text(self, writer):
        add(writer, [torch.ones(5, 1, 1)], file="\udcff.jpg")
        writer.add_error("bad", "\udcff.png", "damaged")
        text, (data,) = report(writer)
        assert data["file"] == "\udcff.jpg" and "?.png" in text


class TestRobustness:
    def test_missing_maps_and_picture_are_reported(self, writer):
        add(writer, [torch.ones(5, 1, 1)])
        (writer.output_dir / "maps/ODSmoothGrad/x.npz").write_bytes(b"PK half a file")
        (writer.output_dir / "report/pictures/x.jpg").unlink()
        (data,) = report(writer)[1]
        assert data["detections"][0]["ODSmoothGrad"]["maps"] is None and data["picture"] is None
        assert [warning[:20] for warning in data["warnings"]] == [
            "The picture cannot b",
            "The maps maps/ODSmoo",
        ]

    def test_report_is_written_anew(self, writer):
        add(writer, [torch.ones(5, 1, 1)], "a")
        report(writer)
        add(writer, [torch.ones(5, 1, 1)], "b")
        assert len(report(writer)[1]) == 2

    def test_only_what_changed_is_written_again(self, writer):
        add(writer, [torch.ones(5, 1, 1)], "a")
        add(writer, [torch.ones(5, 1, 1)], "b")
        report(writer)
        files = {name: writer.output_dir / f"report/data/{name}.js" for name in "ab"}
        stamps = {name: file.stat().st_mtime_ns for name, file in files.items()}
        add(writer, [torch.eye(4).expand(5, 4, 4)], "b")
        report(writer)
        assert [files[name].stat().st_mtime_ns == stamps[name] for name in "ab"] == [True, False]

    def test_many_images_stay_small(self, writer, monkeypatch):
        monkeypatch.setattr("d2_saliency.visualization.html_report.MIN_MAP_SIDE", 8)
        monkeypatch.setattr("d2_saliency.visualization.html_report.MAP_PIXELS", 3 * 5 * 20**2)
        for name in "abc":
            add(writer, [torch.rand(5, 60, 80)], name)
        assert [data["mapSize"] for data in report(writer)[1]] == [[15, 20]] * 3

    @pytest.mark.parametrize("content", [None, "{half"])
    def test_folder_without_results(self, tmp_path, content):
        if content:
            (tmp_path / "results.json").write_text(content)
        with pytest.raises(ResultsError, match=r"results\.json.*explain some images first"):
            write_report(tmp_path)
        assert not (tmp_path / "index.html").exists()
