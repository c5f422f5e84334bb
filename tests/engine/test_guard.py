"""What one image that fails costs."""

import logging

import pytest
import torch

from d2_saliency.engine.guard import image_errors
from d2_saliency.utils.files import OutputError

MEMORY = "Out of memory: make the image smaller, or lower INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST"


@pytest.mark.parametrize(
    "error, line, expected",
    [
        (ValueError("The image\n is too\tsmall."), "The image is too small.", True),
        (RuntimeError(""), "RuntimeError", True),
        (torch.cuda.OutOfMemoryError("CUDA"), f"{MEMORY} or --max-instances.", True),
        (MemoryError(), f"{MEMORY} or --max-instances.", True),
        (KeyError("file_name"), "KeyError: 'file_name'", False),
        (ZeroDivisionError("division"), "ZeroDivisionError: division", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_one_line_in_the_log_and_a_traceback_only_of_what_nobody_expects(
    caplog, error, line, expected
):
    with image_errors("photos/a.jpg") as errors:
        raise error
    assert errors == [line]
    (record,) = caplog.records
    assert record.getMessage() == f"'photos/a.jpg': {line}" and record.levelno == logging.ERROR
    assert bool(record.exc_info) != expected


@pytest.mark.parametrize("error", [OutputError("full"), KeyboardInterrupt(), SystemExit(2)])
def test_what_is_not_about_this_image_goes_on_up(caplog, error):
    with pytest.raises(type(error)), image_errors("a.jpg") as errors:
        raise error
    assert not errors and not caplog.records


def test_nothing_goes_wrong(caplog):
    with image_errors("a.jpg") as errors:
        pass
    assert errors == [] and not caplog.records
