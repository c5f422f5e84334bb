"""
The parts of the benchmark that compute: ratios, tables, shares of a profile. BENCHMARKS.md has what
it measures.
"""

import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import benchmarks.measure
    import benchmarks.profile

    return benchmarks


def test_help_and_names_of_parts():
    code = (
        "import benchmark; from benchmarks.sections import SECTIONS; "
        "assert tuple(SECTIONS) == benchmark.NAMES"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tools").returncode == 0
    shown = subprocess.run(
        [sys.executable, "benchmark.py", "--help"],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0 and "small_objects" in shown.stdout


def test_rounds_are_interleaved_and_the_first_warms_up(benchmarks):
    log = []
    rows = {name: lambda name=name: (log.append(name), len(log))[1] for name in "ab"}
    assert benchmarks.measure.interleaved(rows, 2) == {"a": [3, 5], "b": [4, 6]}
    assert log == list("ababab")


def test_ratios_are_of_the_same_round(benchmarks):
    seconds = {"stock": [1.0, 2.0, 4.0], "ours": [3.0, 4.0, 40.0]}
    table = benchmarks.measure.ratio_table(seconds, "stock", {"ours": 12.3})
    assert table.splitlines()[2:] == [
        "| stock | 1.00 | 1.00 .. 1.00 | |",
        "| ours | 3.00 | 2.00 .. 10.0 | 12 |",
    ]


def test_numbers(benchmarks):
    assert [benchmarks.measure.number(x) for x in (1.234, 12.34, 1234.5)] == [
        "1.23",
        "12.3",
        "1,234",
    ]


def test_agreement_is_of_ranks(benchmarks):
    x = torch.rand(4, 5)
    assert benchmarks.measure.agreement(x, x**3) == pytest.approx(1)
    assert benchmarks.measure.agreement(x, -x) == pytest.approx(-1)


def test_a_profile_names_what_takes_the_time(benchmarks):
    a, x = torch.rand(700, 700), torch.rand(1, 8, 64, 64, requires_grad=True)
    products = benchmarks.profile.shares(lambda: a @ a @ a)
    assert products["matrix products"] > 0.8 and sum(products.values()) == pytest.approx(1)
    conv = torch.nn.Conv2d(8, 64, 5)
    convolutions = benchmarks.profile.shares(lambda: conv(x).sum().backward())
    assert convolutions["convolutions, backwards"] > convolutions["matrix products"]
