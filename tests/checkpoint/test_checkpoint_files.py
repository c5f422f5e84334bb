import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from d2_saliency.checkpoint.checkpoint_files import read_checkpoint
from d2_saliency.checkpoint.data_pickle import CodeError

MODEL = {"a.weight": np.float32([[1, 2], [3, 4]]), "a.bias": np.float32([5, 6])}


def dump(path, content):
    path.write_bytes(pickle.dumps(content, 2))
    return str(path)


def same(model):
    return model.keys() == MODEL.keys() and all(
        np.array_equal(np.asarray(model[k]), v) for k, v in MODEL.items()
    )


class TestPkl:
    def test_detectron2(self, tmp_path):
        content = {"model": MODEL, "__author__": "Detectron2 Model Zoo"}
        found = read_checkpoint(dump(tmp_path / "x.pkl", content))
        assert same(found["model"]) and found["__author__"] == content["__author__"]
        assert "matching_heuristics" not in found

    @pytest.mark.parametrize(
        "wrap", [lambda model: {"blobs": model, "cfg": "A: 1"}, lambda model: model]
    )
    def test_caffe2(self, tmp_path, wrap):
        content = wrap({**MODEL, "a.bias_momentum": np.zeros(2), "weight_order": ["a"]})
        found = read_checkpoint(dump(tmp_path / "x.pkl", content))
        assert (
            same(found["model"])
            and found["__author__"] == "Caffe2"
            and found["matching_heuristics"]
        )


class TestTorch:
    @pytest.mark.parametrize("zip_file", [True, False])
    def test_what_training_leaves_beside_the_model(self, tmp_path, zip_file):
        extra = {
            "iteration": 7,
            "best": np.float64(0.5),
            "steps": np.int64([1, 2]),
            "scheduler": OrderedDict(lr=[0.1], name="cosine", done=False),
        }
        model = OrderedDict((k, torch.from_numpy(v)) for k, v in MODEL.items())
        torch.save(
            {"model": model, **extra}, tmp_path / "x.pth", _use_new_zipfile_serialization=zip_file
        )
        found = read_checkpoint(str(tmp_path / "x.pth"))
        assert same(found["model"]) and found["best"] == 0.5 and found["steps"].tolist() == [1, 2]

    def test_state_dict_alone_and_numbers_in_it(self, tmp_path):
        torch.save({"a": torch.ones(2), "n": 3, "m": np.float32(0.5)}, tmp_path / "x.pth")
        model = read_checkpoint(str(tmp_path / "x.pth"))["model"]
        assert model["n"].shape == () and model["n"] == 3 and model["m"].dtype == np.float32

    def test_pycls(self, tmp_path):
        state = {k: torch.from_numpy(v) for k, v in MODEL.items()}
        torch.save(
            {"model_state": {**state, "bn.num_batches_tracked": torch.tensor(1)}},
            tmp_path / "x.pyth",
        )
        found = read_checkpoint(str(tmp_path / "x.pyth"))
        assert same(found["model"]) and found["matching_heuristics"]


def test_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({k: torch.from_numpy(v) for k, v in MODEL.items()}, str(tmp_path / "x.safetensors"))
    assert same(read_checkpoint(str(tmp_path / "x.safetensors"))["model"])


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "a\u202e", "\x9b2J"])
def test_names_that_command_a_terminal(tmp_path, suffix, name):
    model, path = {name: torch.ones(2)}, tmp_path / f"x{suffix}"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(model, str(path))
    else:
        dump(path, {"model": model, "__author__": "x"}) if suffix == ".pkl" else torch.save(
            model, path
        )
    with pytest.raises(ValueError, match="name that cannot be printed"):
        read_checkpoint(str(path))


class Mark:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("save", [dump, lambda path, content: torch.save(content, path)])
@pytest.mark.parametrize("name", ["x.pkl", "x.pth", "x.pyth"])
def test_code_runs_only_if_trusted(tmp_path, name, save):
    if name == "x.pkl" and save is not dump:
        pytest.skip("a .pkl is no file of torch")
    save(
        tmp_path / name,
        {"model": MODEL, "model_state": MODEL, "__author__": "x", "more": Mark(tmp_path / "mark")},
    )
    with pytest.raises(CodeError, match=r"\((_?io|builtins)\.open\)"):
        read_checkpoint(str(tmp_path / name))
    assert not (tmp_path / "mark").exists()
    try:
        assert same(read_checkpoint(str(tmp_path / name), trusted=True)["model"])
    except RuntimeError:  # torch says that a bare pickle is no file of its own, but has run it
        assert save is dump
    assert (tmp_path / "mark").exists()
