"""
What detectors' pickles really hold is read; whatever else a pickle names is refused before it is
called.
"""

import io
import pickle
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from d2_saliency.checkpoint.checkpoint_files import load_pickle
from d2_saliency.checkpoint.data_pickle import CodeError
from tests.robustness.pickle_attacks import array, build, call, data, dtype, name, row, scalar

# As numpy wrote an array [1, -2.5] of float32 under Python 2: byte strings in protocol 0.
PYTHON_2 = (
    b"(dS'blobs'\n(dS'fc_w'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\n"
    b"dtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\x80?"
    b"\\x00\\x00 \\xc0'\ntbss."
)
# As numpy 1.26.4 wrote a float32 array [[1, 2], [3, 4]] in Fortran order, a float16 of 0.5 and an
# int64 array without axes, 7.
NUMPY_1 = {
    2: b"\x80\x02}(X\x01\x00\x00\x00fcnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq"
    b"\x01K\x00\x85c_codecs\nencode\nq\x02X\x01\x00\x00\x00bX\x06\x00\x00\x00latin1q\x03\x86Rq"
    b"\x04\x87R(K\x01K\x02K\x02\x86cnumpy\ndtype\nq\x05X\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X"
    b"\x01\x00\x00\x00<q\x06NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x88h\x02X\x12\x00\x00"
    b"\x00\x00\x00\xc2\x80?\x00\x00@@\x00\x00\x00@\x00\x00\xc2\x80@h\x03\x86RtbX\x01\x00\x00\x00s"
    b"cnumpy.core.multiarray\nscalar\nh\x05X\x02\x00\x00\x00f2\x89\x88\x87R(K\x03h\x06NNNJ\xff"
    b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tbh\x02X\x02\x00\x00\x00\x008h\x03\x86R\x86RX\x01\x00\x00"
    b"\x00zh\x00h\x01K\x00\x85h\x04\x87R(K\x01)h\x05X\x02\x00\x00\x00i8\x89\x88\x87R(K\x03h\x06NN"
    b"NJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89h\x02X\x08\x00\x00\x00\x07\x00\x00\x00\x00"
    b"\x00\x00\x00h\x03\x86Rtbu.",
    4: b"\x80\x04\x95\x06\x01\x00\x00\x00\x00\x00\x00}(\x8c\x01f\x8c\x15numpy.core.multiarray\x94"
    b"\x8c\x0c_reconstruct\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x93\x94K\x00\x85C\x01b\x94\x87"
    b"R(K\x01K\x02K\x02\x86h\x02\x8c\x05dtype\x93\x94\x8c\x02f4\x89\x88\x87R(K\x03\x8c\x01<\x94NN"
    b"NJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x88C\x10\x00\x00\x80?\x00\x00@@\x00\x00\x00@\x00"
    b"\x00\x80@tb\x8c\x01sh\x00\x8c\x06scalar\x93h\x05\x8c\x02f2\x89\x88\x87R(K\x03h\x06NNNJ\xff"
    b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tbC\x02\x008\x86R\x8c\x01zh\x01h\x03K\x00\x85h\x04\x87R(K"
    b"\x01)h\x05\x8c\x02i8\x89\x88\x87R(K\x03h\x06NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89C\x08\x07\x00\x00\x00\x00\x00\x00\x00tbu.",
    5: b"\x80\x05\x95\x04\x01\x00\x00\x00\x00\x00\x00}(\x8c\x01f\x8c\x12numpy.core.numeric"
    b"\x8c\x0b_frombuffer\x93\x94(\x96\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80?\x00\x00@@\x00\x00\x00@"
    b"\x00\x00\x80@\x8c\x05numpy\x8c\x05dtype\x93\x94\x8c\x02f4\x89\x88\x87R(K\x03\x8c\x01<\x94NN"
    b"NJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbK\x02K\x02\x86\x8c\x01FtR\x8c\x01s\x8c\x15numpy.c"
    b"ore.multiarray\x8c\x06scalar\x93h\x01\x8c\x02f2\x89\x88\x87R(K\x03h\x02NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tbC\x02\x008\x86R\x8c\x01zh\x00(\x96\x08\x00\x00\x00\x00\x00\x00\x00"
    b"\x07\x00\x00\x00\x00\x00\x00\x00h\x01\x8c\x02i8\x89\x88\x87R(K\x03h\x02NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tb)\x8c\x01CtRu.",
}


def load(content: bytes):
    return load_pickle(io.BytesIO(content))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
class TestRead:
    @pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
    def test_arrays_of_every_protocol_and_numpy(self, protocol, core):
        base = np.arange(24, dtype=np.int64)
        arrays = {
            "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
            "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "turned": base.reshape(2, 3, 4).transpose(2, 0, 1),
            "half": np.float16([1.5]),
            "empty": np.zeros((0, 4)),
            "no axis": np.array(2.5),
            "big endian": np.array([1, 2], ">i4"),
            "truth": np.array([True, False]),
            "complex": np.complex64([1 + 2j]),
            "text": np.array(["a", "bé"]),
            "bytes": np.array([b"a", b"bc"]),
            "scalar": np.float64(0.25),
            "integer": np.int64(-3),
            "word": np.str_("é"),
            "twice": [base, base],
        }
        content = pickle.dumps(arrays, protocol)
        if protocol in (0, 1, 2, 3):  # names are not preceded by their length
            content = content.replace(b"numpy._core", core.encode())
        found = load(content)
        assert found.keys() == arrays.keys() and found["twice"][0] is found["twice"][1]
        for key, expected in pickle.loads(pickle.dumps(arrays, protocol)).items():
            assert np.array_equal(found[key], expected) and type(found[key]) is type(expected)
            if key != "twice":
                assert found[key].dtype == expected.dtype and found[key].strides == expected.strides

    def test_plain_containers(self, protocol):
        content = OrderedDict(
            a=[1, 2.5, None, True, "é", 2**70],
            b=(b"\xff", {3}, frozenset([4]), 1j),
            c=bytearray(b"x"),
        )
        content.update(
            d=Counter(aab=2),
            e={},
            f=set(),
            g=b"",
            h=(),
            i=bytearray(),
            j={1: {None: [[]]}, 0.5: b"x" * 300},
        )
        assert load(pickle.dumps(content, protocol)) == content

    def test_blobs_of_caffe2(self, protocol):
        """With the config beside the weights, as text that nobody parses."""
        blobs = {"conv1_w": np.ones((2, 3, 1, 1), np.float32), "weight_order": ["conv1_w"]}
        content = {
            "blobs": blobs,
            "cfg": "MODEL:\n  TYPE: generalized_rcnn\n  NEST: {A: [1, !!python/x 2]}\n",
        }
        found = load(pickle.dumps(content, protocol))
        assert (
            np.array_equal(found["blobs"]["conv1_w"], blobs["conv1_w"])
            and found["cfg"] == content["cfg"]
        )

    def test_tensors(self, protocol):
        """Converted checkpoints of transformer backbones are pickles of torch tensors."""
        base = torch.arange(12.0).reshape(3, 4)
        tensors = {
            "view": base[:, 1:3],
            "half": base.half(),
            "trained": torch.nn.Parameter(base),
            "empty": base[:0],
        }
        found = load(pickle.dumps(tensors, protocol))
        assert all(
            torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in tensors.items()
        )


def test_python_2():
    array = load(PYTHON_2)["blobs"]["fc_w"]
    assert array.tolist() == [1.0, -2.5] and array.dtype == np.float32


@pytest.mark.parametrize("protocol", NUMPY_1)
def test_numpy_1(protocol):
    found = load(NUMPY_1[protocol])
    assert (
        found["f"].tolist() == [[1, 2], [3, 4]]
        and found["f"].dtype == np.float32
        and found["f"].flags.f_contiguous
    )
    assert found["s"] == 0.5 and type(found["s"]) is np.float16
    assert found["z"].shape == () and found["z"] == 7 and found["z"].dtype == np.int64


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
            with pytest.raises(CodeError, match="getattr"):
                load(attack)
        assert not (tmp_path / "mark").exists()
        torch.storage._load_from_bytes(content)
        assert (tmp_path / "mark").exists()

    @pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02garbage", PYTHON_2[:90], b"P\n."])
    def test_damaged(self, content):
        with pytest.raises(Exception):  # noqa: B017
            load(content)


class TestForgedArrays:
    """Of numpy's own dtype, forged flags make numbers addresses, and the state another type."""

    @pytest.mark.parametrize(
        "kind", ["O", "O8", "|O", "V8", "M8", "m8[s]", "f4,f4", "(2,)f4", "U0", "S0", "x", "f3", ""]
    )
    def test_dtypes(self, kind):
        for content in (
            scalar(dtype(kind, 0x30), data(bytes(8))),
            array(dtype(kind, 0), (1,), data(bytes(8))),
        ):
            with pytest.raises((CodeError, TypeError)):
                load(content + b".")

    @pytest.mark.parametrize("value", [b"N", b"]", data(8), data(b"f4"), name("torch", "float32")])
    def test_dtypes_that_are_no_text(self, value):
        """The message does not show the value, which may be any, and as large as the memory."""
        with pytest.raises(ValueError, match="^a dtype that is a "):
            load(call(name("numpy", "dtype"), value) + b".")

    def test_flags_and_fields_are_left_out(self):
        state = data((3, "<", None, None, None, 8, 8, 0xFF))
        forged = build(call(name("numpy", "dtype"), data("u8"), data(False), data(True)), state)
        found = load(scalar(forged, data(b"A" * 8)) + b".")
        assert found == int.from_bytes(b"A" * 8, "little")
        found = load(array(forged, (2,), data(b"A" * 16)) + b".")
        assert found.tolist() == [int.from_bytes(b"A" * 8, "little")] * 2
        assert found.dtype == np.uint64 and found.dtype.flags == 0

    @pytest.mark.parametrize(
        "shape, content",
        [
            ((3,), bytes(8)),
            ((1,), bytes(8)),
            ((-1, -2), bytes(8)),
            ((2**61, 8), b""),
            ((2**64,), b""),
            ((1,) * 33, bytes(4)),
            ((2.0,), bytes(8)),
            (("2",), bytes(8)),
            (2, bytes(8)),
            ([2], bytes(8)),
            ((2,), [1.0, 2.0]),
            ((2,), None),
            ((2,), 8),
        ],
    )
    def test_shapes_and_bytes_that_disagree(self, shape, content):
        with pytest.raises(ValueError, match="array"):
            load(array(dtype("f4", 0, "<"), shape, data(content)) + b".")
        buffer = name("numpy._core.numeric", "_frombuffer")
        with pytest.raises(ValueError, match="array"):
            load(call(buffer, data(content), dtype("f4", 0, "<"), data(shape), data("C")) + b".")

    @pytest.mark.parametrize("order", ["x", "", "<f8,", None, 3, b"<"])
    def test_byte_orders(self, order):
        with pytest.raises(ValueError, match="byte order"):
            load(build(call(name("numpy", "dtype"), data("f4")), data((3, order))) + b".")

    def test_an_array_is_filled_once(self):
        """A second time would free what views of it look at."""
        kind = dtype("f4", 0, "<")
        state = row(data(1), data((1,)), kind, data(False), data(bytes(4)))
        with pytest.raises(ValueError, match="values already"):
            load(build(array(kind, (1,), data(bytes(4))), state) + b".")

    def test_a_dtype_that_is_none(self):
        for kind in (data("f4"), data(None), name("torch", "float32"), name("numpy", "dtype")):
            with pytest.raises(ValueError, match="without a dtype"):
                load(scalar(kind, data(bytes(4))) + b".")

    def test_truth_is_0_or_1_and_characters_exist(self):
        """numpy counts and copies by these bytes."""
        found = load(array(dtype("b1", 0), (3,), data(b"\x00\x02\xff")) + b".")
        assert found.view(np.uint8).tolist() == [0, 1, 1]
        with pytest.raises(ValueError, match="characters that do not exist"):
            load(scalar(dtype("U1", 0, "<"), data(b"\xff" * 4)) + b".")

    def test_types_of_arrays(self):
        for kind in (data("numpy"), name("numpy", "dtype"), data(None)):
            with pytest.raises(ValueError, match="another type"):
                load(
                    call(
                        name("numpy._core.multiarray", "_reconstruct"), kind, data((0,)), data(b"b")
                    )
                    + b"."
                )


def _torch_file(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()
