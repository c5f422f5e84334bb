"""
The wheel alone, in a fresh virtual environment that has Detectron2: the installed command line
works outside of the checkout.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

from d2_saliency.results.maps_file import load_maps
from tests.conftest import ROOT

SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", ".gitignore")
FOLDERS = ("d2_saliency", "configs", "demo")


def run(*words, cwd):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clean_tree(tmp_path_factory):
    """A copy of what git has; building must leave the checkout alone."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        shutil.copy(ROOT / name, tree)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


@pytest.fixture(scope="module")
def wheel(clean_tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    stale = clean_tree / "build" / "lib" / "d2_saliency" / "gone.py"  # of an earlier build
    stale.parent.mkdir(parents=True)
    stale.touch()
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    run(*build, "--wheel-dir", folder, cwd=clean_tree)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Folder of a virtual environment with the wheel, and all else from the environment here."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--no-deps", "--no-index"]
    run(*pip, wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # They come after its own packages, and the .pth there, of an editable install, is not read.
    others = [p for p in sys.path if Path(p).is_dir() and not (Path(p) / "d2_saliency").is_dir()]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    return folder


@pytest.fixture
def installed(environment, tmp_path):
    """Function: words -> what the command prints, in a folder that is not the checkout."""

    def call(program, *words):
        return run(environment / "bin" / program, *words, cwd=tmp_path)

    return call


def test_git_sees_no_product_of_the_build(wheel, clean_tree):
    ignored = (ROOT / ".gitignore").read_text().split()
    products = {p.name for p in clean_tree.iterdir()} - {*SOURCES, *FOLDERS}
    assert products == {"build", "d2_saliency.egg-info"}
    assert "build/" in ignored and "*.egg-info/" in ignored
    assert not (clean_tree / "d2_saliency" / "bundled").exists()


def test_bundled_images_are_explained_outside_of_the_checkout(
    installed, environment, tmp_path, stock_detector, demo_image
):
    where = installed("python", "-c", "import d2_saliency; print(d2_saliency.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    words = ("--method", "ODAM", "--max-instances", "1", "--opts", "INPUT.MIN_SIZE_TEST", "0")
    assert "Report: out/index.html" in installed(
        "d2-saliency", "explain", "--output", "out", *words
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    with torch.no_grad():
        stock = stock_detector("faster_rcnn_planted")([demo_image(0)])[0]["instances"]
    first = results["detections"][0]
    assert first["score"] == pytest.approx(stock.scores[0].item(), abs=1e-5)
    assert first["box"] == pytest.approx(stock.pred_boxes.tensor[0].tolist(), abs=1e-2)
    assert first["class_name"] in ("disc", "triangle", "square", "plus", "ring")
    maps = load_maps(tmp_path / "out" / "maps" / "ODAM" / f"{first['image']}.npz").pred_saliency
    assert (maps.peaks > 0).all() and len(results["images"]) == 4
    shutil.rmtree(tmp_path / "out" / "report" / "data")
    (tmp_path / "out" / "index.html").unlink()
    assert installed("d2-saliency", "report", "out") == "Report: out/index.html\n"
    assert first["image"] in (tmp_path / "out" / "index.html").read_text()


def test_every_config_and_its_weights_are_there(installed):
    code = (
        "from d2_saliency.utils.bundled import bundled\n"
        "from d2_saliency.engine.config_files import find_config\n"
        "from d2_saliency.checkpoint.weights import find_weights\n"
        "for path in sorted(bundled('configs').rglob('*.yaml')):\n"
        "    name = path.relative_to(bundled('configs').parent)\n"
        "    assert find_config(str(name))[0] == str(path)\n"
        "    if path.parent.name == 'demo' and path.stem != 'Base-planted':\n"
        "        print(name, find_weights(f'demo/weights/{path.stem}.pth', str(path)))\n"
    )
    lines = installed("python", "-c", code).splitlines()
    demos = sorted((ROOT / "configs" / "demo").glob("[!B]*.yaml"))
    assert [line.split()[0] for line in lines] == [f"configs/demo/{p.name}" for p in demos]


def test_nothing_of_an_earlier_build_is_in_the_wheel(installed):
    code = "import importlib.util; print(importlib.util.find_spec('d2_saliency.gone'))"
    assert installed("python", "-c", code) == "None\n"
