"""d2-saliency evaluate and compare: whole commands on four scenes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import cv2
import pytest
import torch

from d2_saliency.data.planted_causes import cache_dir, split_scene
from d2_saliency.engine.evaluate import dataset_names
from d2_saliency.utils.folder_lock import folder_lock
from tests.conftest import ROOT

NUM_SCENES = 4
FAST = ("--method", "ODAM", "--max-instances", "1")
METRICS = (
    "--opts",
    "TEST.SALIENCY.METRICS",
    "['pointing_game','deletion_insertion']",
    "TEST.SALIENCY.NUM_STEPS",
    "3",
)


@pytest.fixture(autouse=True)
def scenes(tmp_path, monkeypatch):
    """
    planted_val has four scenes, here and in processes that are started; the list of their records.
    """
    monkeypatch.setenv("D2_SALIENCY_CACHE", str(tmp_path / "cache"))
    folder = cache_dir() / "planted_val"
    folder.mkdir(parents=True)
    records = []
    for k in range(NUM_SCENES):
        scene = split_scene("planted_val", k)
        cv2.imwrite(str(folder / f"{k}.png"), scene.image)
        height, width = scene.image.shape[:2]
        records.append({"file_name": f"{k}.png", "height": height, "width": width, "image_id": k})
        records[-1]["annotations"] = scene.annotations
    (folder / "annotations.json").write_text(json.dumps(records))
    return [{**record, "file_name": str(folder / record["file_name"])} for record in records]


@pytest.fixture
def evaluate(tool):
    return partial(tool, command="evaluate")


def results(folder, method="ODAM"):
    return json.loads((folder / "inference" / "planted_val" / method / "metrics.json").read_text())


def test_metrics_of_a_data_set_and_a_second_run_that_has_nothing_to_do(evaluate):
    first = evaluate("--output", "out", *FAST, *METRICS)
    assert first.status == 0 and "| deletion_insertion | insertion_s1 |" in first.out
    numbers = results(first.folder)
    assert numbers["counts"]["images"] == numbers["counts"]["detections"] == NUM_SCENES
    assert 0.5 < numbers["metrics"]["deletion_insertion"]["insertion_s1"]["mean"] <= 1
    again = evaluate("--output", "out", *FAST, *METRICS, "TEST.SALIENCY.BATCH_SIZE", "2")
    assert "4 of 4 images were done already" in again.out and results(again.folder) == numbers
    page = (first.folder / "inference" / "planted_val" / "metrics.html").read_text()
    assert page.count('<img src="data:image/svg+xml;base64,') == 3  # two of violins, one of curves
    assert "://" not in page.replace("http-equiv", "")  # nothing from a network


def test_several_methods_are_compared_on_the_same_detections(evaluate):
    methods = ("--method", "ODAM", "GradCAM", "--max-instances", "1")
    run = evaluate("--output", "out", "--num-images", "2", *methods, *METRICS)
    text = (run.folder / "inference" / "planted_val" / "comparison.md").read_text()
    assert "2 detections that all methods explained" in text and "| difference from ODAM |" in text
    means = {
        m: results(run.folder, m)["metrics"]["pointing_game"]["energy"]["mean"]
        for m in ("ODAM", "GradCAM")
    }
    rows = [
        line
        for line in text.split("## pointing_game\n")[1].splitlines()
        if line.startswith("| GradCAM")
    ]
    row = rows[1]  # of differences
    assert float(row.split("|")[3].split("[")[0]) == pytest.approx(
        means["GradCAM"] - means["ODAM"], rel=1e-2
    )


def test_one_image_that_fails_does_not_cost_the_others(evaluate, scenes):
    os.remove(scenes[1]["file_name"])
    run = evaluate("--num-images", "2", "--output", "out", *FAST, *METRICS)
    assert run.status == 1 and "does not exist" in run.out and "Traceback" not in run.out + run.err
    assert (
        results(run.folder)["counts"]["failed"] == 1
        and results(run.folder)["counts"]["detections"] == 1
    )


@pytest.mark.parametrize(
    "args, message",
    [
        (["--opts", "DATASETS.TEST", "('planted_vla',)"], "There is no data set 'planted_vla'"),
        (["--opts", "DATASETS.TEST", "()"], "DATASETS.TEST names no data set"),
        (
            ["--opts", "TEST.SALIENCY.METRICS", "['deletion']"],
            "There is no metric 'deletion'; choose among",
        ),
        (
            ["--opts", "TEST.SALIENCY.NUM_STEPS", "0"],
            "TEST.SALIENCY.NUM_STEPS is 0; choose a whole number from 1 to 2^63 - 1.",
        ),
        (["--opts", "TEST.SALIENCY.NOPE", "0"], "Non-existent key: TEST.SALIENCY.NOPE"),
        (["--num-images", "-1"], "--num-images is -1; it is at least 0, which means all."),
        (["--num-gpus", "99"], "On CPUs, start the tool with torchrun --nproc-per-node N."),
    ],
)
def test_one_line_that_says_what_to_do(evaluate, args, message):
    run = evaluate("--output", "out", *FAST, *args)
    assert run.status == 2 and message in run.err and run.err.count("\n") == 1


def test_data_sets_of_both_kinds_of_config():
    from omegaconf import OmegaConf

    lazy = OmegaConf.create({"dataloader": {"test": {"dataset": {"names": "coco_2017_val"}}}})
    assert dataset_names(lazy) == ["coco_2017_val"]


def test_references_tell_what_a_metric_is_worth(tool, tmp_path):
    metrics = "['cause_energy','pointing_game']"
    words = ["--references", "--max-instances", "1", "--output", "out", "--method", "ODAM"]
    words += ["--class-targets", "score", "logit", "--opts", "TEST.SALIENCY.METRICS", metrics]
    assert tool(*words, command="compare").status == 0
    folders = {"ODAM", "ODAM_logit", "TrueCause", "InvertedCause", "Random"}
    assert {p.parent.name for p in (tmp_path / "out").glob("*/metrics.json")} == folders
    numbers = {
        f: json.loads((tmp_path / "out" / f / "metrics.json").read_text())["metrics"]
        for f in folders
    }
    chance = {f: numbers[f]["cause_energy"]["times_chance"]["mean"] for f in folders}
    assert chance["TrueCause"] > max(chance["ODAM"], 10) and chance["InvertedCause"] < 0.1
    assert chance["Random"] == pytest.approx(1, abs=0.15)
    shares = {f: numbers[f]["cause_energy"]["own_share"]["mean"] for f in folders}
    assert (
        shares["TrueCause"] > 0.95 > 0.55 > shares["Random"] > 0.45 > 0.2 > shares["InvertedCause"]
    )
    assert numbers["TrueCause"]["pointing_game"]["hit"]["mean"] == 1


MARK = """
import os, pathlib
pathlib.Path("imported_by_rank_" + os.environ["RANK"]).touch()
"""


class Ranks:
    """Two processes with the environment that torchrun gives them."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command = [
            sys.executable,
            str(ROOT / "tools" / "explain_net.py"),
            "--eval-only",
            "--output",
            "two",
            "--import",
            "mark.py",
        ]
        (folder / "mark.py").write_text(MARK)
        self.processes = []
        for rank in range(2):
            env = {
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "OMP_NUM_THREADS": "1",
            }
            env.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            output = open(folder / f"log_{rank}.txt", "w")
            process = subprocess.Popen(
                [*command, *FAST, *METRICS], env=env, stdout=output, stderr=output, cwd=folder
            )
            self.processes.append(process)

    def wait(self):
        return [process.wait(timeout=300) for process in self.processes]


def test_folder_that_another_run_holds(evaluate, tmp_path):
    folder = tmp_path / "out" / "inference" / "planted_val"
    folder.mkdir(parents=True)
    with folder_lock(folder):
        run = evaluate("--output", "out", *FAST, *METRICS)
        assert run.status == 2 and "planted_val' is in use by another run (process" in run.err
    assert not list(folder.iterdir())


@pytest.fixture
def one_thread():
    """As torchrun gives to each process: with another number the last bits may differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_two_ranks_one_of_them_killed_end_with_the_numbers_of_one(evaluate, tmp_path, one_thread):
    single = results(evaluate("--output", "out", *FAST, *METRICS).folder)
    folder = tmp_path / "two" / "inference" / "planted_val"
    records = folder / "records" / "ODAM"
    ranks = Ranks(tmp_path)
    while not list(records.glob("[!.]*.json")) and all(p.poll() is None for p in ranks.processes):
        time.sleep(0.01)
    ranks.processes[1].kill()
    assert ranks.wait() == [2, -signal.SIGKILL]
    message = (tmp_path / "log_0.txt").read_text().splitlines()[-1]
    assert message.startswith(
        "explain_net: Another process of this run died: give the same command again to go on;"
    )
    done = {path: path.stat().st_mtime_ns for path in records.glob("[!.]*.json")}
    assert 0 < len(done) < NUM_SCENES and not (folder / "ODAM" / "metrics.json").exists()
    assert Ranks(tmp_path).wait() == [0, 0]
    assert (
        f"{len(done)} of {NUM_SCENES} images were done already"
        in (tmp_path / "log_0.txt").read_text()
    )
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())
    assert results(tmp_path / "two") == single
    assert {p.name for p in tmp_path.glob("imported_*")} == {
        "imported_by_rank_0",
        "imported_by_rank_1",
    }
