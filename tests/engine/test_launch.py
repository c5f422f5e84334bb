"""
Where a tool runs. That two ranks end with the numbers of one is tested in
tests/cli/test_evaluate.py.
"""

import argparse
import os
import signal

import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from d2_saliency.cli.arguments import add_launch_arguments
from d2_saliency.engine import launch as module
from d2_saliency.engine.launch import LaunchError, launch


def main(args):
    return 7


def parse(*words):
    parser = argparse.ArgumentParser()
    add_launch_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def gpus(monkeypatch):
    """A machine with four GPUs; the calls of Detectron2's launch."""
    calls = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(module, "launch_gpus", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


def test_one_process_is_this_one(gpus):
    assert launch(main, parse()) == 7 and gpus == []


def test_several_gpus_and_machines_are_detectron2_s_launch(gpus):
    args = parse(
        "--num-gpus", "4", "--num-machines", "2", "--machine-rank", "1", "--dist-url", "tcp://a:1"
    )
    assert launch(main, args) == 0
    assert gpus == [((main, 4, 2, 1, "tcp://a:1"), {"args": (args,)})]


def test_more_gpus_than_there_are(gpus):
    with pytest.raises(
        LaunchError, match="--num-gpus 5.*has 4 GPUs. On CPUs, start the tool with torchrun"
    ):
        launch(main, parse("--num-gpus", "5"))


def test_a_process_that_is_killed(gpus, monkeypatch):
    def died(*args, **kwargs):
        raise ProcessExitedException(
            "process 1 terminated with signal SIGKILL", 1, 7, -9, "SIGKILL"
        )

    monkeypatch.setattr(module, "launch_gpus", died)
    with pytest.raises(
        LaunchError,
        match="died .*SIGKILL.*: give the same command again to go on; what was finished",
    ):
        launch(main, parse("--num-gpus", "4"))


@pytest.fixture
def rank(monkeypatch):
    """A process that torchrun has started, without the others."""
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module.dist, "init_process_group", lambda backend: None)
    monkeypatch.setattr(module.dist, "destroy_process_group", lambda: None)


def test_torchrun_ends_the_others_when_one_dies(rank):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):  # for which each tool has a message
        launch(lambda args: os.kill(os.getpid(), signal.SIGTERM), parse())
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_lost_connections_are_the_others_fault(rank):
    def fail(args):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        launch(fail, parse())


def test_machines_that_cannot_meet(gpus):
    with pytest.raises(LaunchError, match="Several machines need --dist-url"):
        launch(main, parse("--num-machines", "2"))
