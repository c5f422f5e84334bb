"""One image that fails costs that image alone, and says why in one line."""

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Union

from ..modeling.batching import is_out_of_memory
from ..utils.files import OutputError
from ..utils.text import one_line

logger = logging.getLogger(__name__)


@contextmanager
def image_errors(file: Union[str, Path]) -> Iterator[List[str]]:
    """
    Catch what goes wrong with one image in the block, and log it in one line.

    The log also has a traceback where the error is of a kind that nobody expects. OutputError goes
    on up, because the output folder would fail the other images, too, and so does
    KeyboardInterrupt.

    Args:
        file: the image file, for the log.

    Yields:
        list: empty; after a block that failed it holds the line, for the caller to record.
    """
    caught: List[str] = []
    try:
        yield caught
    except OutputError:
        raise
    except Exception as e:  # models are not ours: they may raise anything
        message = describe_error(e)
        expected = isinstance(e, (ValueError, RuntimeError, MemoryError))
        logger.error(f"{str(file)!r}: {message}", exc_info=not expected)
        caught.append(message)


def describe_error(error: Exception) -> str:
    """One line that says what is wrong and, where that is known, what to do."""
    if is_out_of_memory(error):
        return (
            "Out of memory: make the image smaller, or lower INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST "
            "or --max-instances."
        )
    if isinstance(error, (ValueError, RuntimeError)):
        return one_line(error)
    return f"{type(error).__name__}: {one_line(error)}"
