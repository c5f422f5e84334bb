"""
Batches are halved where memory does not suffice, and the results are those of the smaller batch
size.
"""

import logging
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_saliency import explainable
from d2_saliency.modeling import batching, noise
from d2_saliency.modeling.batching import reproducible_batch_size, run_in_batches
from d2_saliency.modeling.saliency_heads import (
    DRISE,
    IntegratedGradients,
    SmoothGradCAMPlusPlus,
    integrated_gradients,
)
from d2_saliency.modeling.saliency_heads.d_rise import head as d_rise
from d2_saliency.testing import ToyDetector
from tests.modeling.places import know_places

CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to"
)
GPU = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
ERRORS = (CPU, GPU, MemoryError(), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))


@pytest.fixture(autouse=True)
def _no_warning_yet():
    batching._warn_once.cache_clear()


def limited(limit, calls, error=CPU):
    """A computation that fits ``limit`` items."""

    def compute(batch):
        calls.append(list(batch))
        if len(batch) > limit:
            raise error
        return list(batch)

    return compute


@settings(deadline=None)
@given(num=st.integers(0, 40), batch_size=st.integers(1, 17), limit=st.integers(1, 17))
def test_every_item_once_in_order(num, batch_size, limit):
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "release_memory", lambda: None)  # it takes time
        results = list(run_in_batches(iter(range(num)), batch_size, limited(limit, calls), "KEY"))
    assert [item for result in results for item in result] == list(range(num))
    assert all(1 <= len(result) <= min(batch_size, limit) for result in results)
    failed = [len(call) for call in calls if len(call) > limit]
    assert len(calls) == len(results) + len(failed) and failed == sorted(set(failed), reverse=True)
    if num and batch_size <= limit:
        assert not failed and len(results) == -(-num // batch_size)


@pytest.mark.parametrize("error", ERRORS, ids=["cpu", "gpu", "python", "cudnn"])
def test_halves_and_says_so_once(error, caplog, monkeypatch):
    calls = []
    monkeypatch.setattr(batching, "release_memory", lambda: None)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):  # images of a run
            assert sum(
                run_in_batches(range(20), 8, limited(3, calls, error), "A.BATCH_SIZE"), []
            ) == list(range(20))
    assert [len(call) for call in calls[:4]] == [8, 4, 2, 2]
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"Out of memory with A.BATCH_SIZE {a}: going on with {b}." for a, b in ((8, 4), (4, 2))
    ]


def test_one_item_that_does_not_fit_is_an_error():
    calls = []
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        list(run_in_batches(range(20), 4, limited(0, calls), "KEY"))
    assert [len(call) for call in calls] == [4, 2, 1]


def test_other_errors_are_errors_at_once():
    calls = []
    with pytest.raises(RuntimeError, match="shape"):
        list(run_in_batches(range(20), 4, limited(0, calls, RuntimeError("shape mismatch")), "KEY"))
    assert len(calls) == 1


def test_items_are_taken_when_they_are_needed():
    taken = []
    results = run_in_batches((taken.append(i) or i for i in range(10)), 2, list, "KEY")
    assert next(results) == [0, 1] and taken == [0, 1]


def test_memory_of_the_failed_batch_is_free_before_the_next():
    class Activations:
        pass

    alive = weakref.WeakSet()

    def compute(batch):
        assert not alive
        activations = Activations()
        alive.add(activations)
        if len(batch) > 1:
            raise MemoryError
        return batch

    assert len(list(run_in_batches(range(4), 4, compute, "KEY"))) == 4


def test_a_cpu_computes_one_item_at_a_time():
    assert reproducible_batch_size(8, torch.device("cpu")) == 1
    assert reproducible_batch_size(8, torch.device("cpu"), on_cpu=4) == 4
    assert reproducible_batch_size(8, torch.device("cuda:1"), on_cpu=4) == 8


class TestHeads:
    """
    A detector that runs out of memory beyond 2 images gives the maps of BATCH_SIZE 2, bit for bit.
    """

    @pytest.fixture
    def model(self, monkeypatch):
        for module in (noise, integrated_gradients, d_rise):
            monkeypatch.setattr(
                module, "reproducible_batch_size", lambda batch_size, device, *_: batch_size
            )
        model = explainable(ToyDetector.random())
        know_places(monkeypatch)
        model.saliency_head.score_thresh = 0.0
        return model

    def maps(self, model, batch_size, limit):
        run, sizes = type(model).run, []

        def limited_run(inputs, instances=None):
            sizes.append(len(inputs))
            if len(inputs) > limit:
                raise GPU
            return run(model, inputs, instances)

        model.run, model.saliency_head.batch_size = limited_run, batch_size
        with torch.no_grad():
            found = model(
                [{"image": torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(1)) * 255}]
            )
        return torch.stack(found[0]["instances"].pred_saliency.maps), sizes[1:]

    @pytest.mark.parametrize(
        "head",
        [
            None,
            SmoothGradCAMPlusPlus(layer="features", num_samples=6, score_thresh=0.0),
            IntegratedGradients(num_steps=6, score_thresh=0.0),
            DRISE(num_masks=6, grid_size=4, score_thresh=0.0),
        ],
        ids=["ODSmoothGrad", "SmoothGradCAMPlusPlus", "IntegratedGradients", "DRISE"],
    )
    def test_equal_to_the_small_batch(self, model, head):
        if head is not None:
            model.saliency_head = head
        expected, sizes = self.maps(model, batch_size=2, limit=2)
        assert set(sizes) <= {1, 2} and expected.amax() > 0
        for batch_size in (4, 5):
            found, sizes = self.maps(model, batch_size=batch_size, limit=2)
            assert torch.equal(found, expected)
            if not isinstance(
                head, SmoothGradCAMPlusPlus
            ):  # a named layer is computed for one image at a time
                assert sizes[:2] == [batch_size, 2]

    def test_an_error_of_one_image_leaves_the_model_as_it_was(self, model):
        before = [p.requires_grad for p in model.parameters()]
        with pytest.raises(torch.cuda.OutOfMemoryError):
            self.maps(model, batch_size=4, limit=0)
        assert [p.requires_grad for p in model.parameters()] == before
