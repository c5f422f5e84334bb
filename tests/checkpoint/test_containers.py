"""Checkpoints of many kinds of training code: the model's tensors are found in all of them."""

import logging
import pickle
from pathlib import Path, PureWindowsPath

import pytest
import torch
from torch import nn

from d2_saliency.checkpoint.weights import WeightsError, load_weights


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


@pytest.fixture(autouse=True)
def logs(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("d2_saliency"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def tensors(value=7.0, prefix=""):
    shapes = {"0.weight": (3, 2), "0.bias": (3,), "1.weight": (1, 3), "1.bias": (1,)}
    return {f"{prefix}{name}": torch.full(shape, value) for name, shape in shapes.items()}


ADAM = {
    "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(3, 2)}},
    "param_groups": [{"lr": 0.1, "params": [0]}],
}
BESIDE = {"epoch": 3, "optimizer": ADAM, "lr_scheduler": {"base_lrs": [0.1], "last_epoch": 2}}
OTHER = tensors(1.0)
KINDS = {
    "ddp": ({"model": tensors(prefix="module."), **BESIDE}, "begin with 'module.'"),
    "ddp alone": (tensors(prefix="module."), "begin with 'module.'"),
    "lightning": (
        {"state_dict": {**tensors(prefix="model."), "loss.weight": torch.ones(2)}, **BESIDE},
        "'state_dict' is taken",
    ),
    "compiled and ddp": (tensors(prefix="module._orig_mod."), "begin with 'module._orig_mod.'"),
    "pycls": ({"model_state": tensors(), "optimizer_state": ADAM}, "'model_state' is taken"),
    "model_state_dict": ({**BESIDE, "model_state_dict": tensors()}, "'model_state_dict' is taken"),
    "ema alone": ({"ema": tensors(), **BESIDE}, "'ema' is taken"),
    "ema beside": ({"ema": OTHER, "model": tensors(), **BESIDE}, "it also has 'ema'."),
    "ema in parts": ({"ema": {"module": tensors(), "updates": 3}}, "'ema.module' is taken"),
    "model in parts": ({"model": {"state_dict": tensors(), "name": "x"}}, "'model.state_dict'"),
    "own name": ({"detector": tensors(), "rng": {"cpu": torch.ones(3)}}, "'detector' is taken"),
    "teacher": (
        {"model": {**tensors(1.0, "modelStudent."), **tensors(prefix="modelTeacher.")}},
        "begin with 'modelTeacher.' are taken, without it, of 8; 'modelStudent.' would fit, too.",
    ),
    "paths": ({"model": tensors(), "args": {"dir": Path("/a/b"), "to": PureWindowsPath("c")}}, ""),
}


@pytest.mark.parametrize("content, said", KINDS.values(), ids=KINDS)
def test_tensors_are_found_and_the_log_says_where(model, tmp_path, logs, content, said):
    torch.save(content, tmp_path / "x.pth")
    load_weights(model, str(tmp_path / "x.pth"))
    assert all((p == 7).all() for p in model.parameters())
    assert said in logs.text and ("taken" in logs.text) == bool(said)


def test_pkl_without_an_author(model, tmp_path):
    content = {"model": {name: t.numpy() for name, t in tensors().items()}, "epoch": 1}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    load_weights(model, str(tmp_path / "x.pkl"))
    assert all((p == 7).all() for p in model.parameters())


@pytest.mark.parametrize(
    "content, message",
    [
        (BESIDE, r"only 'epoch' \(int\), 'optimizer' \(dict\), 'lr_scheduler' \(dict\)\.$"),
        ({"model": "x\x1b"}, r"only 'model' \(str\)\.$"),
        ({"\x1b[2J": 1}, r"only '\\x1b\[2J' \(int\)\.$"),
        ([torch.ones(2)], "hold no model but a list"),
        (dict.fromkeys("abcdefghijk", 1), r"'h' \(int\) and 3 more\.$"),
        ({}, r"hold no tensors of a model, only nothing\.$"),
    ],
)
def test_what_is_in_a_file_without_a_model_is_said(model, tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=message):
        load_weights(model, str(tmp_path / "x.pth"))
