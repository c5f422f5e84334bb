"""What a pickle can do to its reader: it can call what stands for its names, and nothing else."""

import copyreg
import io
import pickle
import struct
import tracemalloc
from collections import OrderedDict

import pytest

from d2_saliency.checkpoint.checkpoint_files import load_pickle
from d2_saliency.checkpoint.data_pickle import CodeError
from tests.robustness.pickle_attacks import build, call, data, get, name, put, row


def load(content: bytes):
    return load_pickle(io.BytesIO(content))


class TestNames:
    @pytest.mark.parametrize(
        "names", [("torch._utils", "_rebuild_tensor_v2"), ("numpy", "dtype"), ("_codecs", "encode")]
    )
    @pytest.mark.parametrize("state", [{"__defaults__": (7,)}, (None, {"__defaults__": (7,)})])
    def test_functions_cannot_be_changed(self, names, state):
        """BUILD sets attributes, as far as the standard library is concerned."""
        with pytest.raises(pickle.UnpicklingError, match="a state of what has none"):
            load(build(name(*names), data(state)) + b".")
        assert load(name(*names) + b".").__defaults__ != (7,)

    def test_attributes_of_containers_are_left_out(self):
        """torch has versions of modules there."""
        content = OrderedDict(a=1)
        content._metadata = OrderedDict(x=2)
        found = load(pickle.dumps(content))
        assert found == {"a": 1} and vars(found) == {}

    def test_only_functions_are_called(self):
        for value in (
            data("x"),
            data([]),
            data({}),
            b"}",
            name("numpy", "ndarray"),
            name("torch", "float32"),
        ):
            with pytest.raises(pickle.UnpicklingError, match="a call of what is no function"):
                load(call(value) + b".")
        with pytest.raises(pickle.UnpicklingError, match="a call of what is no function"):
            load(name("_codecs", "encode") + data(["x", "latin1"]) + b"R.")

    @pytest.mark.parametrize(
        "content",
        [
            b"i__main__\nX\n.",  # INST
            b"(i__main__\nX\n.",
            b"(c__main__\nX\no.",  # OBJ
            b"c__main__\nX\n)\x81.",  # NEWOBJ
            b"c__main__\nX\n)}\x92.",  # NEWOBJ_EX
        ],
    )
    def test_objects_of_classes(self, content):
        with pytest.raises(CodeError, match=r"__main__\.X"):
            load(content)

    @pytest.mark.parametrize(
        "content",
        [b"c_codecs\nencode\n)\x81.", b"(c_codecs\nencode\no.", b"Pkey\n.", b"NNb.", b"\x97."],
    )
    def test_opcodes_that_data_do_not_need(self, content):
        with pytest.raises((pickle.UnpicklingError, KeyError)):
            load(content)

    @pytest.mark.parametrize("code", [b"\x82\x07", b"\x83\x07\x00", b"\x84\x07\x00\x00\x00"])
    def test_the_registry_of_extensions(self, code):
        """
        The standard library gives out what this process has there, without asking for the class by
        its name.
        """
        copyreg.add_extension("os", "system", 7)
        try:
            assert pickle.loads(code + b".").__name__ == "system"
            with pytest.raises(KeyError):
                load(code + b".")
        finally:
            copyreg.remove_extension("os", "system", 7)

    def test_the_message_is_one_short_line(self):
        """A name is the file's own text, and may have line feeds and commands for the terminal."""
        with pytest.raises(CodeError) as error:
            load(data("a\nb\x1b[2J") + data("c" * 10_000) + b"\x93.")
        assert (
            r"(a\nb\x1b[2J.ccc" in str(error.value)
            and str(error.value).isprintable()
            and len(str(error.value)) < 400
        )


@pytest.mark.parametrize("kind", ["bytes", "bytearray"])
class TestBytes:
    @pytest.mark.parametrize(
        "value", [10**9, 3.0, None, (1, 2), {1: 2}, [256], [-1], ["a"], [[1]], "x"]
    )
    def test_of_other_things(self, kind, value):
        with pytest.raises((ValueError, TypeError)):
            load(call(name("builtins", kind), data(value)) + b".")

    @pytest.mark.parametrize(
        "arguments", [(b"ab",), ([97, 98],), ("ab", "latin1"), ("ab", "latin-1")]
    )
    def test_of_bytes(self, kind, arguments):
        found = load(call(name("builtins", kind), *map(data, arguments)) + b".")
        assert found == b"ab" and type(found).__name__ == kind

    @pytest.mark.parametrize("codec", ["rot13", "zlib", "unicode_escape", "utf-8", None])
    def test_of_other_codecs(self, kind, codec):
        for function in (name("builtins", kind), name("_codecs", "encode")):
            with pytest.raises(ValueError, match="encoding"):
                load(call(function, data("ab"), data(codec)) + b".")


def test_complex_is_of_numbers():
    assert load(call(name("builtins", "complex"), data(1), data(2.5)) + b".") == 1 + 2.5j
    for value in ("1", None, [1], True):
        with pytest.raises(ValueError, match="no numbers"):
            load(call(name("builtins", "complex"), data(1.0), data(value)) + b".")
    inner = call(
        name("builtins", "complex"), data(0), data(1)
    )  # complex(1, 1j) is 0: arithmetic for addresses
    with pytest.raises(ValueError, match="no numbers"):
        load(call(name("builtins", "complex"), data(1), inner) + b".")


PUSHES = {
    "SETITEM": lambda key: b"}" + key + b"Ns.",
    "SETITEMS": lambda key: b"}(" + key + b"Nu.",
    "DICT": lambda key: b"(" + key + b"Nd.",
    "ADDITEMS": lambda key: b"\x8f(" + key + b"\x90.",
    "FROZENSET": lambda key: b"(" + key + b"\x91.",
    "set": lambda key: call(name("builtins", "set"), b"(" + key + b"l") + b".",
    "frozenset": lambda key: call(name("builtins", "frozenset"), b"(" + key + b"l") + b".",
    "OrderedDict": lambda key: (
        call(name("collections", "OrderedDict"), b"((" + key + b"Ntl") + b"."
    ),
    "PUT": lambda key: b"Np%d\n." % pickle.loads(key + b"."),
}


class TestKeys:
    @pytest.mark.parametrize("push", PUSHES)
    def test_integers_that_have_one_hash(self, push):
        for key in (2**61 - 1, -(2**61 - 1), 2**64):
            with pytest.raises(ValueError, match="int as a key"):
                load(PUSHES[push](data(key)))

    @pytest.mark.parametrize("push", [push for push in PUSHES if push != "PUT"])
    def test_tuples(self, push):
        with pytest.raises(ValueError, match="tuple as a key"):
            load(PUSHES[push](data((1,))))

    def test_counts_of_a_list(self):
        with pytest.raises(ValueError, match="counts in a list"):
            load(call(name("collections", "Counter"), data([1])) + b".")

    @pytest.mark.parametrize("target", [b"N", b"]", b")", data(b"x"), name("_codecs", "encode")])
    def test_items_of_other_things(self, target):
        for content in (b"K\x00Ns.", b"(K\x00Nu.", b"(K\x00\x90."):
            with pytest.raises(pickle.UnpicklingError):
                load(target + content)
        for content in (b"Na.", b"(Ne."):
            if target != b"]":
                with pytest.raises(pickle.UnpicklingError):
                    load(target + content)


class TestBombs:
    """What takes much memory or time with few bytes."""

    @pytest.fixture(autouse=True)
    def memory(self):
        tracemalloc.start()
        yield
        assert tracemalloc.get_traced_memory()[1] < 50e6
        tracemalloc.stop()

    @pytest.mark.parametrize(
        "content",
        [
            b"\x8b\xff\xff\xff\x7f1",  # LONG4
            b"B\xff\xff\xff\xff1",  # BINBYTES
            b"X\xff\xff\xff\xff1",  # BINUNICODE
            b"T\xff\xff\xff\x7f1",  # BINSTRING
            b"\x8e" + struct.pack("<Q", 2**40) + b"1",  # BINBYTES8
            b"\x8d" + struct.pack("<Q", 2**40) + b"1",  # BINUNICODE8
            b"\x96" + struct.pack("<Q", 2**40) + b"1",  # BYTEARRAY8
            b"\x95" + struct.pack("<Q", 2**40) + b"1",  # FRAME
        ],
    )
    def test_lengths_that_are_not_there(self, content):
        with pytest.raises(Exception):  # noqa: B017
            load(content)

    def test_places_of_the_memo(self):
        """The unpickler in C makes a table as long as the largest."""
        assert load(b"Nr\xff\xff\xff\x7f.") is None and load(b"Np1000000000000000\n.") is None

    def test_copies_of_one_value(self):
        """1 MB of text or bytes, copied by a few bytes a thousand times."""
        text = put(data("x" * 1_000_000), 0) + b"0"
        for one in (
            call(name("_codecs", "encode"), get(0), data("latin1")),
            call(name("builtins", "bytearray"), get(0), data("latin1")),
            call(
                name("numpy._core.multiarray", "scalar"),
                call(name("numpy", "dtype"), data("S999999")),
                get(0),
            ),
        ):
            with pytest.raises(ValueError, match="many times its size|more or fewer bytes"):
                load(text + row(*[one] * 1000) + b".")

    def test_millions_of_containers(self, monkeypatch):
        monkeypatch.setattr("d2_saliency.checkpoint.data_pickle.MAX_OPCODES", 10_000)
        for code in (b"(", b"]", b"}", b"\x8f", b"N2"):
            with pytest.raises(ValueError, match="more than a million opcodes"):
                load(code * 20_000 + b".")
        assert len(load(b"(" + b"]" * 9_990 + b"t.")) == 9_990
