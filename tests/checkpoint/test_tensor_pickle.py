"""Tensors are views of the memory that their file has, and of no other."""

import io

import pytest
import torch

from d2_saliency.checkpoint import torch_file
from tests.robustness.pickle_attacks import archive, data, name, storage, tensor


def save(content) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file)
    return file


def test_dtypes_without_a_storage_of_their_own():
    content = {
        "a": torch.tensor([1, 65535], dtype=torch.uint16),
        "b": torch.tensor([0.5]).to(torch.float8_e4m3fn),
    }
    found = torch_file.load(save(content))
    assert found["a"].tolist() == [1, 65535] and found["a"].dtype == torch.uint16
    assert found["b"].float().tolist() == [0.5] and found["b"].dtype == torch.float8_e4m3fn


class TestRefused:
    @pytest.mark.parametrize(
        "size, stride, offset",
        [
            ((5,), (1,), 0),
            ((4,), (1,), 1),
            ((2,), (4,), 0),
            ((1,), (1,), 4),
            ((2, 2), (3, 1), 0),
            ((2**40,), (0,), 0),
            ((2**61, 8), (0, 0), 0),
            ((-1,), (1,), 0),
            ((1,), (-1,), 3),
            ((1,), (1,), -1),
            ((2**63,), (1,), 0),
            ((1, 1), (1,), 0),
            ((1.0,), (1,), 0),
            ([4], [1], 0),
            ((1,) * 65, (1,) * 65, 0),
        ],
    )
    def test_tensors_that_leave_their_storage(self, size, stride, offset):
        with pytest.raises(ValueError, match="tensor"):
            torch_file.load(archive(tensor(size, stride, offset), data_0=bytes(16)))

    @pytest.mark.parametrize(
        "source", [data(b"x" * 16), b"N", name("torch", "FloatStorage"), tensor((4,), (1,)), b"}"]
    )
    def test_tensors_of_other_things(self, source):
        with pytest.raises(ValueError, match="without a storage"):
            torch_file.load(archive(tensor((1,), (1,), source=source), data_0=bytes(16)))

    def test_lengths_that_the_storage_does_not_have(self):
        """The record says how long it is, whatever the pickle does."""
        with pytest.raises(ValueError, match="larger than its storage"):
            torch_file.load(archive(tensor((100,), (1,), source=storage(100)), data_0=bytes(16)))
        assert (
            torch_file.load(
                archive(tensor((4,), (1,), source=storage(2**60)), data_0=bytes(16))
            ).tolist()
            == [0] * 4
        )

    @pytest.mark.parametrize("kind", [data("FloatStorage"), data(None), name("numpy", "dtype")])
    def test_storages_of_no_dtype(self, kind):
        source = b"(" + data("storage") + kind + data("0") + data("cpu") + data(4) + b"tQ"
        with pytest.raises(ValueError, match="without a dtype"):
            torch_file.load(archive(tensor((1,), (1,), source=source), data_0=bytes(16)))

    def test_conjugates(self):
        for content in (torch.tensor([1j]).conj(), torch.tensor([1j]).conj().imag):
            with pytest.raises(ValueError, match="conjugated or negated"):
                torch_file.load(save(content))
