"""Where a tool runs. That two ranks end with the numbers of one is tested in tests/tools/test_explain_net_eval.py."""

import argparse

import pytest
import torch

from d2_saliency.engine import launch as module
from d2_saliency.engine.launch import LaunchError, add_launch_arguments, launch


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
    args = parse("--num-gpus", "4", "--num-machines", "2", "--machine-rank", "1", "--dist-url", "tcp://a:1")
    assert launch(main, args) == 0
    assert gpus == [((main, 4, 2, 1, "tcp://a:1"), {"args": (args,)})]


def test_more_gpus_than_there_are(gpus):
    with pytest.raises(LaunchError, match="--num-gpus 5.*has 4 GPUs. On CPUs, start the tool with torchrun"):
        launch(main, parse("--num-gpus", "5"))


def test_machines_that_cannot_meet(gpus):
    with pytest.raises(LaunchError, match="Several machines need --dist-url"):
        launch(main, parse("--num-machines", "2"))
