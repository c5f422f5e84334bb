"""
Short versions of these tests are part of the suite. The long ones, thousands of random cases among
them, run with

    D2_SALIENCY_SLOW=1 python -m pytest tests/robustness --hypothesis-seed=1
"""

import json
import os
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

SLOW = bool(os.environ.get("D2_SALIENCY_SLOW"))
slow = pytest.mark.skipif(not SLOW, reason="slow: set D2_SALIENCY_SLOW=1")

CASES: Counter = Counter()
"""Random cases that ran, by kind and outcome."""


def fuzz(short: int, long: int):
    """
    Settings of a test with random cases: always the same few, or many that --hypothesis-seed
    chooses.
    """
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=long if SLOW else short,
        derandomize=not SLOW,
        database=None,
        deadline=None,
        suppress_health_check=checks,
    )


def in_child(function) -> int:
    """Run a function in a process of its own. Returns its id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            torch.set_num_threads(1)  # threads do not survive a fork
            function()
            status = 0
        finally:
            os._exit(status)
    return pid


def contents(folder):
    """Everything a run has left, without the hidden files of writers that were killed."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    # The scripts of the report begin with a line that says of which files they were made, by their
    # times.
    state = re.compile(rb"^// [0-9a-f]{16}\n")
    return {p.relative_to(folder).as_posix(): state.sub(b"", p.read_bytes()) for p in files}


def check_json_and_maps(folder):
    """No file is half written, at any time."""
    for path in folder.rglob("[!.]*.json"):
        json.loads(path.read_text())
    for path in folder.rglob("[!.]*.npz"):
        with np.load(path) as arrays:
            assert all(arrays[name] is not None for name in arrays.files)


def is_one_line(error: BaseException) -> bool:
    return bool(str(error).strip()) and "\n" not in str(error)


def pytest_terminal_summary(terminalreporter):
    if not (SLOW and CASES):
        return
    for kind, count in sorted(CASES.items()):
        terminalreporter.write_line(f"random cases: {count:6} {kind}")
    terminalreporter.write_line(f"random cases: {sum(CASES.values()):6} in total")
