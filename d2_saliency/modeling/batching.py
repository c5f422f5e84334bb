"""Runs work in batches, and halves a batch where memory does not suffice."""

import gc
import logging
from functools import cache
from itertools import islice
from typing import Callable, Iterable, Iterator, List, TypeVar

import torch

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# Messages of torch's allocators and libraries. MemoryError and OutOfMemoryError are known by
# their type.
OUT_OF_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "STATUS_ALLOC_FAILED",
    "could not create a memory",
)


def run_in_batches(
    items: Iterable[Item], batch_size: int, compute: Callable[[List[Item]], Result], key: str
) -> Iterator[Result]:
    """
    Yield ``compute(batch)`` for one batch of items after the other, in their order.

    A batch that does not fit into memory is computed again in halves, and so are all that follow; a
    warning says so once. Example::

        for scores in run_in_batches(images, 32, lambda batch: score(torch.stack(batch)), KEY):
            total += scores

    Args:
        items: any number of them, also none; taken from the iterator as they are needed.
        batch_size: items computed at once, at least 1.
        compute: list of at most ``batch_size`` items -> their result. It holds all that needs
            memory (the backward passes, too) and changes nothing outside of itself, because it may
            be called again with some of the items.
        key: config key of the batch size, for the warning.

    Raises:
        RuntimeError, MemoryError: of ``compute``, when it has one item and that does not fit.
    """
    remaining = iter(items)
    batch: List[Item] = []
    while True:
        batch += islice(remaining, max(0, batch_size - len(batch)))
        if not batch:
            return
        size = min(batch_size, len(batch))
        try:
            result = compute(batch[:size])
        except (RuntimeError, MemoryError) as e:
            if size == 1 or not is_out_of_memory(e):
                raise
            batch_size = size // 2
        else:
            del batch[:size]
            yield result
            continue
        # The except clause is too early: the exception still holds the tensors of the failed batch.
        _warn_once(key, size, batch_size)
        release_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory, of the CPU or of a GPU, did not suffice."""
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    return isinstance(error, kinds) or any(text in str(error) for text in OUT_OF_MEMORY)


def release_memory() -> None:
    """Give back what torch keeps for later allocations."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


FORWARD_BATCH = 4
"""
Images that a CPU computes at once where no gradients are needed: on small images that is a quarter
faster than 1.
"""


def reproducible_batch_size(batch_size: int, device: torch.device, on_cpu: int = 1) -> int:
    """
    Another one than was asked for on a CPU, where convolutions round differently for one image than
    for several.

    So the result there is the same bit for bit whatever the batch size. A GPU needs large batches
    to be fast; its results for different batch sizes differ by rounding.

    Args:
        on_cpu: batch size on a CPU. With gradients a batch brings no speed, without them
            see FORWARD_BATCH.
    """
    return on_cpu if torch.device(device).type == "cpu" else batch_size


@cache
def _warn_once(key: str, before: int, now: int) -> None:
    logger.warning(f"Out of memory with {key} {before}: going on with {now}.")
