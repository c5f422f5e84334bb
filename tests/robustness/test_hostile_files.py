"""
Files of others that would leave a mark if their code ran, and names that would lead out of the
output folder.
"""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_saliency.results.maps_file import load_maps
from d2_saliency.results.reader import ResultsError
from d2_saliency.utils.image_files import output_names
from d2_saliency.utils.image_io import ImageError, read_image
from d2_saliency.visualization import write_report
from tests.cli.conftest import tool  # noqa: F401
from tests.conftest import ROOT

DEMO = ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"
SCENE = ROOT / "demo" / "images" / "planted_0007.png"
FAST = ("--input", SCENE, "--output", "out", "--method", "Gradient", "--max-instances", "1")


@pytest.fixture
def mark(tmp_path):
    """A file that is there if code of a file ran."""
    return tmp_path / "mark"


class TestConfigs:
    @pytest.fixture
    def tag(self, mark):
        return f"VERSION: 2\nSEED: !!python/object/apply:os.mkdir ['{mark}']"

    def test_yaml_tags(self, tool, mark, tag, tmp_path):  # noqa: F811
        (tmp_path / "tag.yaml").write_text(tag)
        (tmp_path / "based.yaml").write_text("_BASE_: tag.yaml\n")
        for name in ("tag.yaml", "based.yaml"):
            run = tool(*FAST, "--config-file", name)
            assert (
                run.status == 2
                and f"The config '{name}' (or its _BASE_) has a YAML tag that runs code" in run.err
            )
            assert "--trust-config" in run.err and run.err.count("\n") == 1
        assert not mark.exists()
        tool(*FAST, "--config-file", "tag.yaml", "--trust-config")
        assert mark.exists()

    def test_lazy_configs(self, tool, mark, tmp_path):  # noqa: F811
        (tmp_path / "x.py").write_text(f"open({str(mark)!r}, 'w')\n")
        run = tool(*FAST, "--config-file", "x.py")
        assert (
            run.status == 2
            and "is Python code, which opening it would run" in run.err
            and not mark.exists()
        )
        tool(*FAST, "--config-file", "x.py", "--trust-config")
        assert mark.exists()


class Mark:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["x.pth", "x.pkl"])
def test_weights(tool, mark, tmp_path, name):  # noqa: F811
    model = torch.load(ROOT / "demo/weights/faster_rcnn_planted.pth", weights_only=True)["model"]
    content = {
        "model": {k: v.numpy() for k, v in model.items()},
        "__author__": "x",
        "epoch": Mark(mark),
    }
    with open(tmp_path / name, "wb") as file:
        torch.save(content, file) if name == "x.pth" else pickle.dump(content, file)
    command = (*FAST, "--config-file", DEMO)
    run = tool(*command, "--opts", "MODEL.WEIGHTS", name)
    assert (
        run.status == 2
        and f"The weights '{name}' hold a Python object (" in run.err
        and not mark.exists()
    )
    assert "can run any code; if you trust the file, allow that with --trust-weights" in run.err
    trusted = tool(*command, "--trust-weights", "--opts", "MODEL.WEIGHTS", name)
    assert trusted.status == 0 and mark.exists() and len(trusted.results["detections"]) == 1


def test_images(monkeypatch, mark, tmp_path):
    """
    EPS is a program, for which Pillow starts Ghostscript; it is found by its content, whatever the
    suffix.
    """
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {mark}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="x.jpg' is not an image that can be read"):
        read_image(tmp_path / "x.jpg")
    assert not mark.exists()
    with pytest.raises(Exception), Image.open(tmp_path / "x.jpg") as image:  # noqa: B017
        image.load()
    assert mark.exists()


def test_maps(mark, tmp_path):
    arrays = {
        name: np.zeros((0, 5))
        for name in ("values", "peaks", "regions", "boxes", "scores", "classes")
    }
    np.savez(tmp_path / "x.npz", **arrays, shapes=np.array([Mark(mark)], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_maps(tmp_path / "x.npz")
    assert not mark.exists()


def test_reports_of_folders_of_others(tmp_path):
    image = {
        "name": "../../../mark",
        "file": "x.jpg",
        "height": 2,
        "width": 2,
        "seconds": {},
        "warnings": [],
    }
    content = {"schema_version": 2, "runs": [], "images": [image], "detections": []}
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="names '../../../mark', which leads out of the folder"):
        write_report(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "results.json"]


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "..jpg",
            "...jpg",
            ".. .jpg",
            "a\n..jpg",
            "~.jpg",
            "con.jpg",
            "maps.jpg",
            "x" * 200 + ".jpg",
            "é😀.jpg",
        ],
    )
    def test_everything_is_written_into_the_output_folder(self, tool, tmp_path, name):  # noqa: F811
        (tmp_path / "in").mkdir()
        Image.new("RGB", (16, 16)).save(tmp_path / "in" / "x.png")
        (tmp_path / "in" / "x.png").rename(tmp_path / "in" / name)
        before = set(tmp_path.rglob("*"))
        run = tool("--input", f"in/{name}", *FAST[2:], "--opts", "INPUT.MIN_SIZE_TEST", "0")
        assert run.status == 0 and run.errors == []
        new = set(tmp_path.rglob("*")) - before
        assert new and all((tmp_path / "out") in (path, *path.parents) for path in new)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=90)
        )
    )
    def test_names_are_of_one_level(self, stems):
        names = output_names([f"{stem}.jpg" for stem in stems])
        assert len({name.lower() for name in names}) == len(names)
        for name in names:
            assert (
                os.path.basename(name) == name
                and name not in ("", ".", "..")
                and not name.startswith((".", "-", "~"))
            )
            assert name.isascii() and len(name) <= 255 - len(".12345678.tmp.json")
