import os
import zipfile

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency.results.maps_file import MapsError, load_maps, save_maps
from d2_saliency.structures import SaliencyMaps
from d2_saliency.utils.files import OutputError, atomic_path, check_writable, write_json


def make_instances(maps, image_size=(60, 80), num_matched=None, num_samples=20):
    """One detection per map, all with different boxes, scores, classes and regions."""
    n = len(maps)
    instances = Instances(image_size)
    instances.pred_boxes = Boxes(torch.arange(4.0 * n).view(n, 4))
    instances.scores = torch.linspace(0.9, 0.5, n)
    instances.pred_classes = torch.arange(n)
    instances.pred_saliency = SaliencyMaps(maps, torch.arange(4.0 * n).view(n, 4) + 1, (30, 40))
    if num_matched is not None:
        instances.num_matched = torch.tensor(num_matched)
        instances.num_samples = torch.full_like(instances.num_matched, num_samples)
    return instances


def round_trip(tmp_path, instances):
    save_maps(tmp_path / "maps" / "x.npz", instances)
    return load_maps(tmp_path / "maps" / "x.npz")


class TestRun:
    def test_maps_of_another_run_are_refused(self, tmp_path):
        path = tmp_path / "x.npz"
        save_maps(path, make_instances([torch.ones(5, 2, 2)]), "a" * 16)
        assert len(load_maps(path)) == len(load_maps(path, "a" * 16)) == 1
        with pytest.raises(MapsError, match="x.npz' are of a run with other settings: explain"):
            load_maps(path, "b" * 16)

    def test_a_file_of_before_does_not_say(self, tmp_path):
        save_maps(tmp_path / "x.npz", make_instances([torch.ones(5, 2, 2)]))
        with np.load(tmp_path / "x.npz") as content:
            arrays = {name: content[name] for name in content.files if name != "run"}
        np.savez(tmp_path / "old.npz", **arrays)
        assert len(load_maps(tmp_path / "old.npz", "b" * 16)) == 1


class TestMaps:
    def test_tiny_values_survive(self, tmp_path):
        ramp = torch.linspace(0.1, 1, 60).view(5, 3, 4)
        for peak in (1e-9, 1e-30, 1.0, 1e6, 1e30):
            loaded = round_trip(tmp_path, make_instances([ramp * peak])).pred_saliency
            assert torch.allclose(loaded.maps[0], ramp * peak, rtol=5e-4, atol=0)
            assert torch.equal(loaded.peaks, (ramp * peak).amax((1, 2))[None])

    def test_each_map_is_scaled_by_itself(self, tmp_path):
        maps = torch.ones(5, 2, 2) * torch.tensor([1e-9, 1.0, 1e5, 0.0, 3e-7])[:, None, None]
        assert torch.equal(round_trip(tmp_path, make_instances([maps])).pred_saliency.maps[0], maps)

    def test_windows_of_different_sizes_and_unexplained_detections(self, tmp_path):
        maps = [torch.rand(5, 3, 4), torch.zeros(5, 0, 0), torch.rand(5, 1, 1), torch.rand(5, 8, 2)]
        saved = make_instances(maps, num_matched=[3, 0, 20, 7])
        loaded = round_trip(tmp_path, saved)
        assert loaded.image_size == (60, 80)
        assert torch.equal(loaded.pred_boxes.tensor, saved.pred_boxes.tensor)
        assert torch.equal(loaded.scores, saved.scores)
        assert torch.equal(loaded.pred_classes, saved.pred_classes)
        assert loaded.num_matched.tolist() == [3, 0, 20, 7]
        assert loaded.num_samples.tolist() == [20] * 4
        assert loaded.pred_saliency.image_size == (30, 40)
        assert torch.equal(loaded.pred_saliency.regions, saved.pred_saliency.regions)
        assert loaded.pred_saliency.explained.tolist() == [True, False, True, True]
        for one, other in zip(loaded.pred_saliency.maps, maps):
            assert one.shape == other.shape and one.dtype == torch.float32
            assert torch.allclose(one, other, rtol=5e-4, atol=1e-6)

    def test_maps_of_masks(self, tmp_path):
        saved = make_instances([torch.rand(5, 3, 4), torch.zeros(5, 0, 0)])
        assert not round_trip(tmp_path, saved).has("pred_mask_saliency")
        maps = [torch.rand(1, 7, 2) * 1e-9, torch.zeros(1, 0, 0)]
        saved.pred_mask_saliency = SaliencyMaps(
            maps, torch.arange(8.0).view(2, 4), (30, 40), ("mask",)
        )
        loaded = round_trip(tmp_path, saved)
        mask = loaded.pred_mask_saliency
        assert (mask.outputs, mask.image_size, mask.explained.tolist()) == (
            ("mask",),
            (30, 40),
            [True, False],
        )
        assert torch.equal(mask.regions, saved.pred_mask_saliency.regions)
        assert torch.allclose(mask.maps[0], maps[0], rtol=5e-4, atol=0)
        assert torch.allclose(
            loaded.pred_saliency.maps[0], saved.pred_saliency.maps[0], rtol=5e-4, atol=1e-6
        )

    def test_files_of_before_do_not_say_how_many_noise_passes_there_were(self, tmp_path):
        saved = make_instances([torch.rand(5, 3, 4)], num_matched=[3])
        saved.remove("num_samples")
        loaded = round_trip(tmp_path, saved)
        assert loaded.num_matched.tolist() == [3] and not loaded.has("num_samples")

    def test_no_detections(self, tmp_path):
        loaded = round_trip(tmp_path, make_instances([]))
        assert len(loaded) == 0 and loaded.pred_saliency.peaks.shape == (0, 5)
        assert not loaded.has("num_matched")

    def test_nothing_is_pickled(self, tmp_path):
        save_maps(tmp_path / "x.npz", make_instances([torch.rand(5, 3, 4), torch.rand(5, 1, 1)]))
        with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
            assert {name: file[name].dtype.kind for name in file.files}["values"] == "f"
            assert file["values"].dtype == np.float16 and len(file["values"]) == 65
            kinds = {name: file[name].dtype.kind for name in file.files}
            assert kinds.pop("run") == "U" and set(kinds.values()) <= set("fi")

    def test_infinite_values_do_not_damage_the_other_maps(self, tmp_path):
        maps = torch.ones(5, 2, 2)
        maps[0, 0, 0], maps[1, 0, 0] = float("inf"), float("nan")
        loaded = round_trip(tmp_path, make_instances([maps])).pred_saliency
        assert torch.equal(loaded.maps[0][2:], maps[2:])
        assert not loaded.peaks[0, :2].isfinite().any()


class TestAtomicity:
    def test_interrupted_write_leaves_the_old_file_and_no_other(self, tmp_path):
        (tmp_path / "x.json").write_text("old")
        with pytest.raises(KeyboardInterrupt):
            with atomic_path(tmp_path / "x.json") as temporary:
                temporary.write_text("half")
                raise KeyboardInterrupt
        assert os.listdir(tmp_path) == ["x.json"] and (tmp_path / "x.json").read_text() == "old"

    def test_killed_before_the_file_is_put_in_place(self, tmp_path, monkeypatch):
        (tmp_path / "x.json").write_text("old")
        monkeypatch.setattr(
            os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left"))
        )
        with pytest.raises(OutputError, match="No space left"):
            write_json(tmp_path / "x.json", [])
        assert os.listdir(tmp_path) == ["x.json"] and (tmp_path / "x.json").read_text() == "old"

    def test_interrupted_npz(self, tmp_path, monkeypatch):
        def write_half(path, **arrays):
            path.write_bytes(b"PK")
            raise MemoryError

        monkeypatch.setattr(np, "savez_compressed", write_half)
        with pytest.raises(MemoryError):
            save_maps(tmp_path / "x.npz", make_instances([torch.rand(5, 2, 2)]))
        assert os.listdir(tmp_path) == []

    def test_saved_file_is_complete(self, tmp_path):
        save_maps(tmp_path / "x.npz", make_instances([torch.rand(5, 2, 2)]))
        assert (
            os.listdir(tmp_path) == ["x.npz"]
            and zipfile.ZipFile(tmp_path / "x.npz").testzip() is None
        )

    def test_not_a_number_is_refused_before_writing(self, tmp_path):
        with pytest.raises(ValueError):
            write_json(tmp_path / "x.json", [float("nan")])
        assert os.listdir(tmp_path) == []


class TestUnwritableOutput:
    @pytest.mark.parametrize(
        "write", [check_writable, lambda folder: write_json(folder / "x.json", [])]
    )
    def test_message_names_the_folder(self, tmp_path, write):
        (tmp_path / "file").touch()  # not even root can make a folder in a file
        with pytest.raises(OutputError) as error:
            write(tmp_path / "file" / "out")
        message = str(error.value)
        assert (
            repr(str(tmp_path / "file" / "out")) in message
            and "choose another" in message
            and "\n" not in message
        )
