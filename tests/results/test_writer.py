import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from d2_saliency.results.class_names import class_name
from d2_saliency.results.flags import detection_flags, noise_flags
from d2_saliency.results.maps_file import load_maps
from d2_saliency.results.run_info import run_info
from d2_saliency.results.writer import ResultsWriter, finish_results
from d2_saliency.utils.files import OutputError
from tests.results.test_maps_file import make_instances

CONFIG = {
    "command": "explain",
    "config": "A: 1",
    "method": "ODSmoothGrad",
    "seed": 0,
    "num_samples": 20,
}
IMAGE = np.zeros((60, 80, 3), np.uint8)


def add(writer, name="x", digest="d", instances=None, **options):
    instances = make_instances([torch.ones(5, 2, 2)]) if instances is None else instances
    writer.add_image(
        name, digest, f"photos/{name}.jpg", IMAGE, instances, ["dog", "cat"], **options
    )


def read(path):
    return json.loads(path.read_text())


class TestFlags:
    def test_zero_and_not_finite_maps(self):
        maps = torch.ones(5, 2, 2)
        maps[1], maps[4], maps[3, 0, 0] = 0, 0, float("nan")
        instances = make_instances([maps, torch.zeros(5, 0, 0), torch.ones(5, 1, 1)])
        flags = ["zero map: x_min", "zero map: y_max", "map not finite: x_max"]
        assert detection_flags(instances) == [
            flags,
            [],
            [],
        ]  # a map that nobody asked for is not flagged

    def test_gradient_overflow(self):
        instances = make_instances([torch.ones(5, 2, 2), torch.ones(5, 2, 2)])
        instances.num_overflowed = torch.tensor([[0, 3, 0, 0, 1], [0, 0, 0, 0, 0]])
        notes = [
            "gradient overflow: 3 cells of x_min set to 0",
            "gradient overflow: 1 cells of y_max set to 0",
        ]
        assert detection_flags(instances) == [notes, []]

    def test_noise_passes(self):
        instances = make_instances([torch.ones(5, 1, 1)] * 4, num_matched=[20, 10, 9, 0])
        assert detection_flags(instances) == [
            [],
            [],
            ["found again in 9 of 20 noise passes"],
            ["never found again under noise: map of the clean image"],
        ]
        instances.remove("num_samples")  # as in maps that were saved before it was a field
        assert detection_flags(instances) == [[]] * 4

    def test_passes_of_a_detection_that_was_not_explained(self):
        instances = make_instances([torch.zeros(5, 0, 0)], num_matched=[-1], num_samples=-1)
        assert noise_flags(instances) == detection_flags(instances) == [[]]


def test_class_name():
    assert [class_name(1, ["a", "b"]), class_name(2, ["a", "b"]), class_name(0, None)] == [
        "b",
        "class 2",
        "class 0",
    ]


class TestRunInfo:
    def test_what_was_run(self):
        run = run_info(**CONFIG)
        assert {"d2_saliency", "detectron2", "torch", "numpy"} <= set(run["versions"])
        assert (run["command"], run["method"], run["seed"], run["num_samples"]) == (
            "explain",
            "ODSmoothGrad",
            0,
            20,
        )
        json.dumps(run)

    @pytest.mark.parametrize(
        "change", [{"config": "A: 2"}, {"method": "GradCAM"}, {"seed": 1}, {"num_samples": 10}]
    )
    def test_digest_changes_with_what_decides_the_maps(self, change):
        assert run_info(**CONFIG)["digest"] == run_info(**{**CONFIG, "command": "other"})["digest"]
        assert run_info(**CONFIG)["digest"] != run_info(**{**CONFIG, **change})["digest"]

    def test_weights_are_known_by_their_content(self, tmp_path):
        digests = []
        for name, content in (("a.pth", "1"), ("b.pth", "1"), ("a.pth", "2")):
            (tmp_path / name).write_text(content)
            digests.append(run_info(**CONFIG, weights=str(tmp_path / name))["digest"])
        assert digests[0] == digests[1] != digests[2]
        remote = [run_info(**CONFIG, weights=f"detectron2://{name}.pkl")["digest"] for name in "ab"]
        assert remote[0] != remote[1]


class TestResults:
    def test_records(self, tmp_path):
        writer = ResultsWriter(tmp_path, run_info(**CONFIG))
        maps = torch.full((5, 2, 2), 0.5)
        maps[2] = 0
        instances = make_instances([maps, torch.zeros(5, 0, 0)], num_matched=[13, 0])
        metrics = [{"deletion": 0.25, "insertion": float("nan")}]
        add(writer, instances=instances, seconds=1.5, warnings=["small"], metrics=metrics)
        results = writer.finish()
        assert results == read(tmp_path / "results.json")
        assert read(tmp_path / "errors.json") == []
        assert results["schema_version"] == 2 and results["runs"] == [run_info(**CONFIG)]
        assert results["images"] == [
            dict(
                name="x",
                file="photos/x.jpg",
                height=60,
                width=80,
                seconds={"ODSmoothGrad": 1.5},
                warnings=["small"],
            )
        ]
        first, second = results["detections"]
        assert first["score"] == pytest.approx(0.9)
        assert {key: value for key, value in first.items() if key != "score"} == {
            "image": "x",
            "index": 0,
            "class_id": 0,
            "class_name": "dog",
            "box": [0, 1, 2, 3],
            "method": "ODSmoothGrad",
            "explained": True,
            "num_matched": 13,
            "num_samples": 20,
            "peaks": [0.5, 0.5, 0, 0.5, 0.5],
            "flags": ["zero map: y_min"],
            "metrics": {"deletion": 0.25, "insertion": None},
        }
        assert (second["class_name"], second["explained"], second["flags"]) == ("cat", False, [])
        assert torch.equal(
            load_maps(tmp_path / "maps/ODSmoothGrad/x.npz").pred_saliency.maps[0], maps
        )

    def test_values_that_are_not_finite_are_still_json(self, tmp_path):
        writer = ResultsWriter(tmp_path, run_info(**CONFIG))
        add(writer, instances=make_instances([torch.full((5, 1, 1), float("inf"))]))
        assert writer.finish()["detections"][0]["peaks"] == [None] * 5

    def test_picture_is_rgb_and_reduced(self, tmp_path):
        writer = ResultsWriter(tmp_path, run_info(**CONFIG))
        image = np.full((60, 2048, 3), (255, 0, 0), np.uint8)  # blue
        writer.add_image("x", "d", "x.jpg", image, make_instances([]))
        with Image.open(tmp_path / "report/pictures/x.jpg") as picture:
            assert picture.size == (1024, 30)
            assert np.abs(np.array(picture.getpixel((9, 9))) - (0, 0, 255)).max() < 5

    def test_errors(self, tmp_path):
        writer = ResultsWriter(tmp_path, run_info(**CONFIG))
        writer.add_error("bad", "bad\udcff.jpg", "damaged")
        assert writer.finish()["images"] == []
        error = {
            "name": "bad",
            "file": "bad\udcff.jpg",
            "methods": ["ODSmoothGrad"],
            "error": "damaged",
        }
        assert read(tmp_path / "errors.json") == [error]

    def test_only_the_named_images_in_their_order(self, tmp_path, caplog):
        writer = ResultsWriter(tmp_path, run_info(**CONFIG))
        for name in ("a", "b", "c"):
            add(writer, name)
        assert [image["name"] for image in writer.finish(["c", "a"])["images"]] == ["c", "a"]
        assert [image["name"] for image in writer.finish()["images"]] == ["a", "b", "c"]
        assert not caplog.records

    def test_records_of_another_config_are_left_out_and_counted(self, tmp_path, caplog):
        add(ResultsWriter(tmp_path, run_info(**{**CONFIG, "seed": 1})), "old")
        writer = ResultsWriter(tmp_path, run_info(**CONFIG))
        add(writer, "new")
        with caplog.at_level(logging.WARNING):
            assert [image["name"] for image in writer.finish()["images"]] == ["new"]
        assert "1 images without a record of this run" in caplog.text

    def test_unwritable_output_fails_at_once(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="file"):
            ResultsWriter(tmp_path / "file", run_info(**CONFIG))


class TestSeveralMethods:
    @pytest.fixture()
    def writers(self, tmp_path):
        return [
            ResultsWriter(tmp_path, run_info(**{**CONFIG, "method": name}))
            for name in ("GradCAM", "ODAM")
        ]

    def test_one_record_for_each_detection_and_method(self, tmp_path, writers):
        for seconds, writer in enumerate(writers):
            for name in "ab":
                maps = torch.full((5, 2, 2), 1.0 + seconds)
                add(
                    writer,
                    name,
                    instances=make_instances([maps]),
                    seconds=seconds,
                    warnings=["small", str(seconds)],
                )
        results = finish_results(writers)
        assert [run["method"] for run in results["runs"]] == ["GradCAM", "ODAM"]
        pairs = [(detection["image"], detection["method"]) for detection in results["detections"]]
        assert pairs == [("a", "GradCAM"), ("a", "ODAM"), ("b", "GradCAM"), ("b", "ODAM")]
        assert [image["seconds"] for image in results["images"]] == [{"GradCAM": 0, "ODAM": 1}] * 2
        assert results["images"][0]["warnings"] == ["small", "0", "1"]
        for peak, method in ((1, "GradCAM"), (2, "ODAM")):
            assert load_maps(tmp_path / "maps" / method / "b.npz").pred_saliency.peaks.tolist() == [
                [peak] * 5
            ]

    def test_an_image_that_one_method_cannot_explain_is_shown_with_the_others(
        self, tmp_path, writers
    ):
        add(writers[0], "a")
        writers[1].add_error("a", "a.jpg", "no gradient")
        for writer in writers:
            writer.add_error("b", "b.jpg", "damaged")
        results = finish_results(writers, ["a", "b"])
        assert [image["name"] for image in results["images"]] == ["a"]
        assert [(e["name"], e["methods"]) for e in read(tmp_path / "errors.json")] == [
            ("a", ["ODAM"]),
            ("b", ["GradCAM", "ODAM"]),
        ]

    def test_what_one_method_has_done_is_not_done_again_beside_another(self, tmp_path, writers):
        add(writers[0], "a", digest="d")
        assert writers[0].is_done("a", "d") and not writers[1].is_done("a", "d")


class TestResume:
    @pytest.fixture()
    def photo(self, tmp_path):
        (tmp_path / "x.jpg").write_text("a photo")
        return tmp_path / "x.jpg"

    def writer(self, tmp_path, **change):
        return ResultsWriter(tmp_path / "out", run_info(**{**CONFIG, **change}))

    def test_done_after_the_record(self, tmp_path, photo):
        writer = self.writer(tmp_path)
        digest = writer.records.input_digest(photo)
        assert not writer.is_done("x", digest)
        add(writer, digest=digest)
        again = self.writer(tmp_path)
        assert again.is_done("x", again.records.input_digest(photo)) and not again.is_done(
            "y", digest
        )
        assert [image["name"] for image in again.finish()["images"]] == ["x"]

    @pytest.mark.parametrize("step", ["writer.save_maps", "record_store.write_json"])
    def test_not_done_when_killed_between_steps(self, tmp_path, photo, monkeypatch, step):
        def killed(*args):
            raise KeyboardInterrupt

        writer = self.writer(tmp_path)
        digest = writer.records.input_digest(photo)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(f"d2_saliency.results.{step}", killed)
            add(writer, digest=digest)
        assert not writer.is_done("x", digest)
        assert writer.finish()["images"] == []

    def test_another_config_or_another_photo_is_not_done(self, tmp_path, photo):
        writer = self.writer(tmp_path)
        add(writer, digest=writer.records.input_digest(photo))
        other = self.writer(tmp_path, method="GradCAM")
        assert not other.is_done("x", other.records.input_digest(photo))
        photo.write_text("A photo")  # of the same size
        assert not writer.is_done("x", writer.records.input_digest(photo))

    def test_failed_or_damaged_is_not_done(self, tmp_path, photo):
        writer = self.writer(tmp_path)
        digest = writer.records.input_digest(photo)
        writer.add_error("x", photo, "out of memory")
        assert not writer.is_done("x", digest)
        add(writer, digest=digest)
        assert (
            writer.is_done("x", digest)
            and writer.finish()["images"]
            and read(tmp_path / "out/errors.json") == []
        )
        (tmp_path / "out/records/ODSmoothGrad/x.json").write_text('{"detec')
        assert not writer.is_done("x", digest)
        add(writer, digest=digest)
        (tmp_path / "out/maps/ODSmoothGrad/x.npz").unlink()
        assert not writer.is_done("x", digest)

    @pytest.mark.parametrize("damage", ["truncated", "another", "missing", "a link"])
    @pytest.mark.parametrize(
        "file", ["maps/ODSmoothGrad/x.npz", "report/pictures/x.jpg", "x/ODSmoothGrad/0_dog.png"]
    )
    def test_a_damaged_file_is_not_done(self, tmp_path, photo, file, damage):
        writer = self.writer(tmp_path)
        digest = writer.records.input_digest(photo)
        panel, path = tmp_path / "out/x/ODSmoothGrad/0_dog.png", tmp_path / "out" / file
        panel.parent.mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(panel)
        add(writer, digest=digest)
        assert writer.is_done("x", digest)
        content = path.read_bytes()
        if damage == "truncated":
            path.write_bytes(content[:-9])
        elif damage == "another":  # of the same size
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            path.rename(tmp_path / "elsewhere")
            if damage == "a link":
                path.symlink_to(tmp_path / "elsewhere")
        assert not writer.is_done("x", digest)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        assert writer.is_done("x", digest)

    def test_a_panel_too_many_is_not_done(self, tmp_path, photo):
        writer = self.writer(tmp_path)
        digest = writer.records.input_digest(photo)
        add(writer, digest=digest)
        (tmp_path / "out/x/ODSmoothGrad").mkdir(parents=True)
        (tmp_path / "out/x/ODSmoothGrad/0_cat.png").touch()
        assert not writer.is_done("x", digest)

    def test_missing_photo_has_a_digest_and_is_never_done(self, tmp_path):
        writer = self.writer(tmp_path)
        assert not writer.is_done("x", writer.records.input_digest(tmp_path / "nope.jpg"))
