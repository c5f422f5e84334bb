"""Files of torch.save: what training writes is read, and nothing that a file claims is believed."""

import io
import struct
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from d2_saliency.checkpoint import torch_file
from d2_saliency.checkpoint.data_pickle import CodeError
from tests.robustness.pickle_attacks import (
    archive,
    array,
    call,
    data,
    dtype,
    name,
    scalar,
    storage,
    tensor,
)

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
]
DTYPES += [torch.uint8, torch.bool, torch.complex64, torch.complex128]


def save(content, zip_file: bool = True) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zip_file)
    return file


@pytest.mark.parametrize("zip_file", [True, False])
class TestRead:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_tensors(self, zip_file, dtype):
        base = torch.arange(12).reshape(3, 4).to(dtype)
        content = {
            "plain": base,
            "view": base[1:, ::2],
            "turned": base.t(),
            "none": base[:0],
            "one": base[1, 2],
        }
        found = torch_file.load(save(content, zip_file))
        for key, value in content.items():
            assert found[key].dtype == dtype and found[key].stride() == value.stride()
            assert torch.equal(found[key], value)
        found["plain"][1, 0] = 0
        assert found["turned"][0, 1] == 0  # they share their memory, as they did

    def test_a_checkpoint_of_training(self, zip_file):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        content = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
        }
        content.update(
            iteration=7,
            size=torch.Size([1, 2]),
            device=torch.device("cuda", 1),
            dtype=torch.float16,
        )
        content.update(
            ap=np.float64(0.5),
            steps=np.int64([1, 2]),
            best=None,
            trained=nn.Parameter(torch.ones(2)),
        )
        found = torch_file.load(save(content, zip_file))
        assert isinstance(found["model"], OrderedDict) and list(found["model"]) == list(
            model.state_dict()
        )
        assert all(
            torch.equal(found["model"][key], value) for key, value in model.state_dict().items()
        )
        momentum = found["optimizer"]["state"][0]["momentum_buffer"]
        assert torch.equal(momentum, optimizer.state_dict()["state"][0]["momentum_buffer"])
        assert found["scheduler"]["milestones"] == Counter({3: 1, 5: 1})
        assert (found["iteration"], found["size"], found["dtype"], found["best"]) == (
            7,
            (1, 2),
            torch.float16,
            None,
        )
        assert (
            found["ap"] == 0.5
            and found["steps"].tolist() == [1, 2]
            and torch.equal(found["trained"], torch.ones(2))
        )

    def test_code(self, zip_file):
        with pytest.raises(CodeError, match="Linear"):
            torch_file.load(save(nn.Linear(2, 2), zip_file))


def test_files_without_checksums(monkeypatch):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        file = save({"a": torch.arange(3)})
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch_file.load(file)["a"].tolist() == [0, 1, 2]


def test_a_wrong_checksum():
    content = save({"a": torch.full((64,), 7, dtype=torch.uint8)}).getvalue()
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        torch_file.load(io.BytesIO(content.replace(b"\x07" * 64, b"\x07" * 63 + b"\x06")))


@pytest.mark.parametrize("order", ["big", "little"])
def test_the_byte_order_of_other_machines(order):
    values = np.float32([1, 2, 3, 4]).astype(">f4" if order == "big" else "<f4")
    found = torch_file.load(
        archive(tensor((4,), (1,)), data_0=values.tobytes(), byteorder=order.encode())
    )
    assert found.tolist() == [1, 2, 3, 4]


class TestRefused:
    @pytest.mark.parametrize(
        "pid",
        [b"N", data("0"), data(("module", "x", "0")), data(("storage", 1, (1,), "cpu", 4)), b")"],
    )
    def test_other_things_beside_the_pickle(self, pid):
        with pytest.raises((ValueError, IndexError)):
            torch_file.load(archive(pid + b"Q", data_0=bytes(16)))

    @pytest.mark.parametrize("key", ["1", "../data.pkl", "/etc/passwd", ""])
    def test_records_that_are_not_there(self, key):
        with pytest.raises(KeyError):
            torch_file.load(archive(tensor((1,), (1,), source=storage(key=key)), data_0=bytes(16)))

    def test_archives_that_unpack_to_more(self):
        for content in (
            archive(b"N", zipfile.ZIP_DEFLATED, data_0=bytes(10**6)),
            archive(data("x" * 10**6), zipfile.ZIP_DEFLATED),
        ):
            with pytest.raises(ValueError, match="more than its size"):
                torch_file.load(content)

    def test_torchscript(self):
        file = io.BytesIO()
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
        with pytest.raises(CodeError, match="__torch__"):
            torch_file.load(file)

    def test_flags_of_a_numpy_dtype(self):
        """
        torch's own loader takes 8 bytes for an object and shows where it is in memory, or frees it.
        """
        raw = call(name("_codecs", "encode"), data("A" * 8), data("latin1"))
        for flags in (0x3D, 0x30, 0x01, 0xFF):
            assert torch_file.load(archive(scalar(dtype("u8", flags, "<"), raw))) == int.from_bytes(
                b"A" * 8, "little"
            )
            found = torch_file.load(archive(array(dtype("f8", flags, "<"), (1,), raw)))
            assert found == struct.unpack("<d", b"A" * 8)[0] and found.dtype.flags == 0


VALUES = struct.pack("<q", 4) + bytes(16)  # their number, and four of float32


class TestRefusedOfOldFiles:
    """Five pickles, then the storages."""

    def file(self, content: bytes, keys=("0",), tail=VALUES) -> io.BytesIO:
        parts = [data(0x1950A86A20F9469CFC6C), data(1001), data({}), content, data(list(keys))]
        return io.BytesIO(b"".join(b"\x80\x02" + part + b"." for part in parts) + tail)

    def source(self, length=4, view=None) -> bytes:
        pid = (name("torch", "FloatStorage"), data("0"), data("cpu"), data(length), data(view))
        return b"(" + data("storage") + b"".join(pid) + b"tQ"

    def test_a_good_one(self):
        assert (
            torch_file.load(self.file(tensor((4,), (1,), source=self.source()))).tolist() == [0] * 4
        )

    @pytest.mark.parametrize("length", [2**40, -1, 4.0, None, True])
    def test_lengths(self, length):
        with pytest.raises(ValueError, match="storage"):
            torch_file.load(self.file(tensor((1,), (1,), source=self.source(length))))

    @pytest.mark.parametrize("keys", [(), ("1",), ("0", "0"), ((0,),), (2**61 - 1,)])
    def test_keys(self, keys):
        with pytest.raises((ValueError, KeyError)):
            torch_file.load(self.file(tensor((1,), (1,), source=self.source()), keys))

    @pytest.mark.parametrize(
        "tail", [b"", bytes(8), struct.pack("<q", 4) + bytes(15), struct.pack("<q", 5) + bytes(20)]
    )
    def test_values(self, tail):
        with pytest.raises(ValueError, match="storage"):
            torch_file.load(self.file(tensor((1,), (1,), source=self.source()), tail=tail))

    def test_views_of_storages_and_other_numbers(self):
        with pytest.raises(ValueError, match="storage"):
            torch_file.load(self.file(tensor((1,), (1,), source=self.source(view=("1", 0, 2)))))
        with pytest.raises(ValueError, match="no file of torch"):
            torch_file.load(io.BytesIO(b"\x80\x02N." * 5))

    def test_whole_models(self):
        with pytest.raises((CodeError, ValueError)):
            torch_file.load(save(nn.Linear(2, 2), zip_file=False))


def test_a_file_of_torch_in_a_pickle_cannot_hold_another():
    inner = save(torch.ones(2).untyped_storage(), zip_file=False).getvalue()
    outer = archive(call(name("torch.storage", "_load_from_bytes"), data(inner)))
    with pytest.raises(CodeError, match="_load_from_bytes"):
        torch_file.load(outer)
