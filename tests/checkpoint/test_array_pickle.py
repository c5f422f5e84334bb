"""
What detectors' pickles really hold is read; whatever else a pickle names is refused before it is
called.
"""

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from d2_saliency.checkpoint import array_pickle
from d2_saliency.checkpoint.array_pickle import CodeError

# As numpy wrote an array [1, -2.5] of float32 under Python 2: byte strings in protocol 0.
PYTHON_2 = (
    b"(dS'blobs'\n(dS'fc_w'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\n"
    b"dtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\x80?"
    b"\\x00\\x00 \\xc0'\ntbss."
)


def load(content: bytes):
    return array_pickle.load(io.BytesIO(content))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
class TestRead:
    @pytest.mark.parametrize("name", ["numpy.core", "numpy._core"])
    def test_arrays_of_every_protocol_and_numpy(self, protocol, name):
        arrays = {
            "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
            "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "turned": np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
            "half": np.float16([1.5]),
            "empty": np.zeros((0, 4)),
            "big endian": np.array([1, 2], ">i4"),
            "text": np.array(["a", "bc"]),
            "scalar": np.float64(0.25),
        }
        content = pickle.dumps(arrays, protocol)
        if protocol in (0, 1, 2, 3):  # names are not preceded by their length
            content = content.replace(b"numpy._core", name.encode())
        found = load(content)
        assert found.keys() == arrays.keys()
        for key, expected in pickle.loads(pickle.dumps(arrays, protocol)).items():
            assert np.array_equal(found[key], expected) and found[key].dtype == expected.dtype

    def test_plain_containers(self, protocol):
        content = OrderedDict(
            a=[1, 2.5, None, True, "é"], b=(b"\xff", {3}, frozenset([4]), 1j), c=bytearray(b"x")
        )
        assert load(pickle.dumps(content, protocol)) == content

    def test_tensors(self, protocol):
        """Converted checkpoints of transformer backbones are pickles of torch tensors."""
        base = torch.arange(12.0).reshape(3, 4)
        tensors = {"view": base[:, 1:3], "half": base.half(), "trained": torch.nn.Parameter(base)}
        found = load(pickle.dumps(tensors, protocol))
        assert all(
            torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in tensors.items()
        )


def test_python_2():
    array = load(PYTHON_2)["blobs"]["fc_w"]
    assert array.tolist() == [1.0, -2.5] and array.dtype == np.float32


class Attack:
    """Pickles as a call of ``function(*args)``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class TestRefused:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_calls(self, protocol, tmp_path):
        mark = tmp_path / "mark"
        for function in (open, np.save, torch.save, mark.touch, getattr, eval, np.memmap, np.load):
            content = {"model": {"a": np.zeros(2), "b": Attack(function, str(mark), "w")}}
            with pytest.raises(
                CodeError, match=r"hold a Python object \(.+\), and .* --trust-weights"
            ):
                load(pickle.dumps(content, protocol))
        assert not mark.exists()

    @pytest.mark.parametrize(
        "name", [b"cnumpy\nndarray.tofile\n.", b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."]
    )
    def test_attributes_of_admitted_names(self, name):
        with pytest.raises(CodeError, match="numpy.ndarray.tofile"):
            load(name)

    def test_a_pickle_inside_of_a_tensor(self, tmp_path):
        """torch's own function for a tensor's values unpickles anything."""
        inner = pickle.dumps(Attack((tmp_path / "mark").touch))
        for content in (inner, _torch_file(Attack((tmp_path / "mark").touch))):
            attack = pickle.dumps(Attack(torch.storage._load_from_bytes, content))
            with pytest.raises((pickle.UnpicklingError, RuntimeError)):
                load(attack)
        assert not (tmp_path / "mark").exists()
        torch.storage._load_from_bytes(content)
        assert (tmp_path / "mark").exists()

    @pytest.mark.parametrize(
        "module, name",
        [
            ("torch._utils", "_rebuild_tensor_v2"),
            ("numpy._core.numeric", "_frombuffer"),
            ("_codecs", "encode"),
        ],
    )
    def test_admitted_functions_cannot_be_changed(self, module, name):
        """BUILD with a pair sets attributes: (None, {"__defaults__": (7,)}) on the function."""
        change = f"c{module}\n{name}\n(N(dS'__defaults__'\n(I7\ntstb.".encode()
        assert load(change).__defaults__ == (7,)  # it got its way with a function of its own
        assert load(f"c{module}\n{name}\n.".encode()).__defaults__ != (7,)
        assert torch._utils._rebuild_tensor_v2.__defaults__ != (7,)

    @pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02garbage", PYTHON_2[:90], b"P\n."])
    def test_damaged(self, content):
        with pytest.raises(Exception):  # noqa: B017
            load(content)


def _torch_file(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()
