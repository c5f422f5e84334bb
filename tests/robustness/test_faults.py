"""
A run that is killed, whose disk is full or whose folder is removed: restarted, it ends as if
nothing had been.
"""

import errno
import os
import random
import resource
import shutil
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from d2_saliency import explainable
from d2_saliency.engine import run as run_module
from d2_saliency.engine.methods import Method
from d2_saliency.engine.run import explain_images
from d2_saliency.results import record_store
from d2_saliency.results.maps_file import load_maps, save_maps
from d2_saliency.results.run_info import run_info
from d2_saliency.results.writer import ResultsWriter
from d2_saliency.testing import ToyDetector
from d2_saliency.utils.files import OutputError
from d2_saliency.visualization import write_report
from tests.robustness.conftest import check_json_and_maps, contents, in_child

RUN = run_info("explain", "A: 1", "ODSmoothGrad", 0, num_samples=20)
NUM_IMAGES = 6


class ToyExplainer:
    """In place of a DefaultExplainer; notes in a file each image that it explains."""

    class_names = None

    def __init__(self, log, before):
        self.model = explainable(ToyDetector.random())
        self.log, self.before = log, before

    def __call__(self, image):
        self.before(int(image[0, 0, 0]))
        with open(self.log, "a") as file:
            file.write(f"{image[0, 0, 0]}\n")
        pixels = torch.as_tensor(image.transpose(2, 0, 1).copy())
        with torch.no_grad():
            return self.model([{"image": pixels}])[0]


@pytest.fixture
def folder_run(tmp_path, monkeypatch):
    """
    Images 10.png to 15.png, and ``explain(output)``; ``computed()`` lists which were explained, in
    that order.
    """
    monkeypatch.setattr(
        run_module, "time", SimpleNamespace(perf_counter=lambda: 0.0)
    )  # times differ between runs
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(10, 10 + NUM_IMAGES)]
    for number, path in enumerate(paths, start=10):
        pixels = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        pixels[0, 0] = number
        Image.fromarray(pixels).save(path)
    log = tmp_path / "log"
    log.touch()

    def explain(output, before=lambda index: None):
        explainer = ToyExplainer(log, before)
        head = explainer.model.saliency_head
        head.num_samples, head.score_thresh, head.max_instances = 3, 0.0, 1
        return explain_images(explainer, paths, [Method("ODSmoothGrad", head, RUN)], output)

    def done(output):
        writer = ResultsWriter(output, RUN)
        return [p.stem for p in paths if writer.is_done(p.stem, writer.records.input_digest(p))]

    return SimpleNamespace(explain=explain, done=done, computed=lambda: log.read_text().split())


@pytest.fixture
def undisturbed(folder_run, tmp_path):
    assert folder_run.explain(tmp_path / "undisturbed") == 0
    return contents(tmp_path / "undisturbed")


class TestKill:
    def test_at_random_moments(self, folder_run, undisturbed, tmp_path):
        output, moments = tmp_path / "out", random.Random(0)
        start = time.perf_counter()
        pid = in_child(lambda: folder_run.explain(tmp_path / "timed"))
        os.waitpid(pid, 0)
        duration = time.perf_counter() - start
        killed = 0
        for _ in range(10):
            done = folder_run.done(output)
            before = len(folder_run.computed())
            pid = in_child(lambda: folder_run.explain(output))
            time.sleep(moments.uniform(0, duration / 3))
            os.kill(pid, signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
            check_json_and_maps(output)
            assert not set(done) & set(folder_run.computed()[before:])
            assert set(done) <= set(folder_run.done(output))
        assert killed > 0 and folder_run.explain(output) == 0
        assert contents(output) == undisturbed

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_at_every_file(self, folder_run, undisturbed, tmp_path, monkeypatch, when):
        """Killed by itself beside each of the renames of an image's files and of the last ones."""
        output, replace = tmp_path / "out", os.replace

        def run_until(count):
            calls = []

            def counted(*args):
                calls.append(args)
                if len(calls) < count or when == "after":
                    replace(*args)
                if len(calls) >= count:
                    os.kill(os.getpid(), signal.SIGKILL)

            monkeypatch.setattr(os, "replace", counted)
            folder_run.explain(output)

        statuses = []
        for count in (1, 2, 3, 4, 5, 6, 7, 8, 6, 2, 9):
            done, before = folder_run.done(output), len(folder_run.computed())
            pid = in_child(lambda count=count: run_until(count))
            statuses.append(os.waitpid(pid, 0)[1])
            assert not set(done) & set(folder_run.computed()[before:])
            check_json_and_maps(output)
        assert os.WIFSIGNALED(statuses[0]) and folder_run.explain(output) == 0
        assert contents(output) == undisturbed

    def test_between_two_configs(self, folder_run, tmp_path, monkeypatch):
        """Maps of one run under the record of another would look done."""
        output = tmp_path / "out"
        folder_run.explain(output)
        first = contents(output)
        with monkeypatch.context() as patch:
            patch.setitem(RUN, "digest", "another run")

            def stop(*args):
                raise KeyboardInterrupt

            # The maps of 10.png are written, its record is not.
            patch.setattr(record_store, "write_json", stop)
            with pytest.raises(KeyboardInterrupt):
                folder_run.explain(output)
        assert folder_run.done(output) == [str(number) for number in range(11, 10 + NUM_IMAGES)]
        assert folder_run.explain(output) == 0 and contents(output) == first


class TestDamage:
    @pytest.mark.parametrize(
        "file", ["maps/ODSmoothGrad/10.npz", "report/pictures/10.jpg", "10/ODSmoothGrad/*.png"]
    )
    def test_is_repaired_by_the_same_command(self, folder_run, undisturbed, tmp_path, file):
        output = tmp_path / "undisturbed"
        (path,) = output.glob(file)
        path.write_bytes(path.read_bytes()[:50])
        before = len(folder_run.computed())
        assert folder_run.explain(output) == 0
        assert folder_run.computed()[before:] == ["10"] and contents(output) == undisturbed


class TestTwoRuns:
    def test_with_other_settings_at_once(self, folder_run, undisturbed, tmp_path, monkeypatch):
        """Refused, in place of maps of the one under the record of the other."""
        output, refused = tmp_path / "out", []

        def run_another(index):
            with monkeypatch.context() as patch:
                patch.setitem(RUN, "digest", "another run")
                pid = in_child(lambda: folder_run.explain(output))
                refused.append(os.WEXITSTATUS(os.waitpid(pid, 0)[1]))

        assert folder_run.explain(output, before=run_another) == 0
        assert refused == [1] * NUM_IMAGES and contents(output) == undisturbed

    def test_maps_of_another_run_are_not_shown(self, folder_run, tmp_path):
        output = tmp_path / "out"
        folder_run.explain(output)
        path = output / "maps/ODSmoothGrad/10.npz"
        save_maps(path, load_maps(path), "another run")
        write_report(output)
        script = (output / "report/data/10.js").read_text()
        assert "cannot be shown (MapsError): explain this image again" in script


class TestLinks:
    @pytest.mark.parametrize(
        "link", ["10", "10/ODSmoothGrad", "maps", "records/ODSmoothGrad", "report", "report/data"]
    )
    def test_nothing_is_written_or_removed_behind_a_link(self, folder_run, tmp_path, link):
        output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
        for name in ("0_x.png", "ODSmoothGrad/0_x.png", ".x.999999999.tmp.png"):
            (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
            (elsewhere / name).write_text("mine")
        before = contents(elsewhere)
        (output / link).parent.mkdir(parents=True)
        (output / link).symlink_to(elsewhere)
        with pytest.raises(OutputError, match=f"'.*out/{link}' is a link, which leads out of"):
            folder_run.explain(output)
        assert contents(elsewhere) == before and (elsewhere / ".x.999999999.tmp.png").exists()

    def test_links_in_place_of_files_are_replaced(self, folder_run, undisturbed, tmp_path):
        output, mine = tmp_path / "out", tmp_path / "mine"
        folder_run.explain(output)
        mine.write_text("mine")
        for path in [path for path in output.rglob("*") if path.is_file()]:
            path.unlink()
            path.symlink_to(mine)
        assert folder_run.explain(output) == 0
        assert mine.read_text() == "mine" and contents(output) == undisturbed

    def test_the_output_folder_may_be_a_link(self, folder_run, undisturbed, tmp_path):
        (tmp_path / "scratch").mkdir()
        (tmp_path / "out").symlink_to(tmp_path / "scratch")
        assert folder_run.explain(tmp_path / "out") == 0
        assert contents(tmp_path / "scratch") == undisturbed


def test_what_a_killed_run_was_writing_is_removed(folder_run, undisturbed, tmp_path):
    output = tmp_path / "out"
    names = [".results.{}.tmp.json", "maps/ODSmoothGrad/.10.{}.tmp.npz", "10/x/.0_a.{}.tmp.png"]
    others = [".hidden.png", "notes.1.tmp.txt", ".x.tmp", f".x.{os.getppid()}.tmp.png"]
    pid = in_child(lambda: None)
    os.waitpid(pid, 0)
    for name in (*(name.format(pid) for name in names), *others):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).touch()
    assert folder_run.explain(output) == 0
    left = {path.name for path in output.rglob("*") if path.is_file() and "tmp" in path.name}
    assert left == {"notes.1.tmp.txt", ".x.tmp", f".x.{os.getppid()}.tmp.png"}
    assert (output / ".hidden.png").exists()


class TestDisk:
    @pytest.mark.parametrize("limit", [3_000, 20_000])
    def test_full(self, folder_run, undisturbed, tmp_path, limit):
        output, error = tmp_path / "out", tmp_path / "error"

        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                folder_run.explain(output)
            except OutputError as e:
                resource.setrlimit(
                    resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                )
                error.write_text(str(e))

        os.waitpid(in_child(limited), 0)
        assert (
            error.read_text().startswith("Cannot write to '")
            and os.strerror(errno.EFBIG) in error.read_text()
        )
        check_json_and_maps(output)
        assert not [p for p in output.rglob(".*") if p.is_file()]
        done, before = folder_run.done(output), len(folder_run.computed())
        assert folder_run.explain(output) == 0 and contents(output) == undisturbed
        assert not set(done) & set(folder_run.computed()[before:])

    def test_output_folder_removed(self, folder_run, undisturbed, tmp_path):
        output = tmp_path / "out"

        def remove(index):
            if index == 13:
                shutil.rmtree(output)

        with pytest.raises(
            OutputError,
            match="3 of 6 images have vanished from '.*out' .* give the same command again",
        ):
            folder_run.explain(output, before=remove)
        before = len(folder_run.computed())
        assert folder_run.explain(output) == 0 and len(folder_run.computed()) - before == 3
        assert contents(output) == undisturbed

    def test_output_folder_becomes_a_file(self, folder_run, tmp_path):
        def replace(index):
            shutil.rmtree(tmp_path / "out")
            (tmp_path / "out").touch()

        with pytest.raises(
            OutputError, match="Cannot write to .*out.*choose another output folder"
        ):
            folder_run.explain(tmp_path / "out", before=replace)
