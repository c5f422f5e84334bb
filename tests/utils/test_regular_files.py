"""Pipes, devices and huge files in every place where a file of others is read."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest
from detectron2.config import get_cfg
from PIL import Image

from d2_saliency.data.user_data_sets import DatasetError, register_coco_json
from d2_saliency.engine.config_files import ConfigError, merge_yaml
from d2_saliency.results.maps_file import load_maps
from d2_saliency.results.reader import ResultsError, load_results
from d2_saliency.results.record_store import RecordStore
from d2_saliency.utils.digest import file_digest
from d2_saliency.utils.image_io import ImageError, read_image
from d2_saliency.utils.regular_files import open_regular, read_regular
from d2_saliency.visualization.report_image import write_image

HUGE = 30 * 10**9  # bytes; none of them is on the disk


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def huge(path):
    with open(path, "wb") as file:
        file.truncate(HUGE)


def folder(path):
    path.mkdir()


KINDS = [pipe, device, huge, folder]


@pytest.fixture(autouse=True)
def _at_most_2_gb_and_a_minute():
    """What reads without end fails, and the machine does not."""

    def late(signum, frame):
        raise AssertionError("waits without end")

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 10**9, before[1]))
    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_regular_files_are_opened_whatever_links_lead_to_them(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b", 7) == b"content"
    with open_regular(str(tmp_path / "a")) as file:
        assert file.read(3) == b"con" and file.read() == b"tent"
    with pytest.raises(OSError) as error:
        open_regular(tmp_path / "a", 6)
    assert error.value.strerror == "it has more than 6e-06 MB"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "c")


@pytest.mark.parametrize("kind", [pipe, device, folder])
def test_what_is_no_regular_file(tmp_path, kind):
    kind(tmp_path / "x")
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as error:
        open_regular(tmp_path / "x")
    assert error.value.strerror == "it is not a regular file"
    assert len(os.listdir("/proc/self/fd")) == open_files


@pytest.mark.parametrize("kind", KINDS)
class TestReaders:
    def test_images(self, tmp_path, kind):
        kind(tmp_path / "x.jpg")
        with pytest.raises(ImageError, match=r"x\.jpg' (is|cannot)") as error:
            read_image(tmp_path / "x.jpg")
        assert "\n" not in str(error.value)

    def test_digests_of_inputs(self, tmp_path, kind):
        kind(tmp_path / "x.jpg")
        store = RecordStore(tmp_path / "out", "ODAM", "run")
        assert store.input_digest(tmp_path / "x.jpg") == store.input_digest(tmp_path / "missing")

    def test_configs_that_another_is_based_on(self, tmp_path, kind):
        kind(tmp_path / "base.yaml")
        (tmp_path / "x.yaml").write_text("_BASE_: base.yaml\n")
        with pytest.raises(ConfigError, match="its _BASE_ cannot be read, .*base.yaml") as error:
            merge_yaml(get_cfg(), str(tmp_path / "x.yaml"), trusted=False)
        assert "\n" not in str(error.value)

    def test_annotations(self, tmp_path, kind):
        kind(tmp_path / "x.json")
        with pytest.raises(DatasetError, match=r"^--coco-json '.*x\.json' cannot be read \(it "):
            register_coco_json(str(tmp_path / "x.json"))

    def test_records(self, tmp_path, kind):
        store = RecordStore(tmp_path / "out", "ODAM", "run")
        store.folder.mkdir(parents=True)
        kind(store.folder / "x.json")
        assert store.read("x") == {}

    @pytest.mark.parametrize("name", ["results.json", "errors.json"])
    def test_results(self, tmp_path, kind, name):
        content = {"schema_version": 2, "runs": [], "images": [], "detections": []}
        (tmp_path / "results.json").write_text(json.dumps(content))
        (tmp_path / name).unlink(missing_ok=True)
        kind(tmp_path / name)
        with pytest.raises(ResultsError, match=f"without a readable .*{name}"):
            load_results(tmp_path)

    def test_maps(self, tmp_path, kind):
        kind(tmp_path / "x.npz")
        with pytest.raises((OSError, ValueError)):
            load_maps(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", [pipe, device, huge])
@pytest.mark.parametrize("file", ["picture.jpg", "report/data/x.js"])
def test_reports_of_folders_of_others(tmp_path, kind, file):
    (tmp_path / "report" / "data").mkdir(parents=True)
    (tmp_path / "report" / "thumbnails").mkdir()
    (tmp_path / "report" / "thumbnails" / "x.jpg").touch()
    Image.new("RGB", (8, 6)).save(tmp_path / "picture.jpg")
    (tmp_path / file).unlink(missing_ok=True)
    kind(tmp_path / file)
    image = {"name": "x", "picture": "picture.jpg", "height": 6, "width": 8, "warnings": []}
    write_image(tmp_path, {**image, "seconds": {}}, [], 100)
    script = (tmp_path / "report" / "data" / "x.js").read_text()
    assert ("The picture cannot be shown" in script) == (file == "picture.jpg")


def test_large_files_are_hashed_in_blocks(tmp_path):
    """300 MB that are read as a whole would be seen in the peak of the process."""
    with open(tmp_path / "x", "wb") as file:
        file.truncate(300 * 10**6)
    code = (
        "import re, sys; from d2_saliency.utils.digest import file_digest\n"
        r"peak = lambda: int(re.search(r'VmHWM:\s*(\d+)', open('/proc/self/status').read())[1])"
        "\n"
        "before = peak(); print(file_digest(sys.argv[1])); print(peak() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x"], capture_output=True, text=True, check=True
    )
    value, grown = run.stdout.split()
    zeros = subprocess.run(["sha256sum", tmp_path / "x"], capture_output=True, text=True).stdout
    assert value == zeros.split()[0] == file_digest(tmp_path / "x")
    assert int(grown) < 20_000  # kB
