"""Exit statuses, and the one line that goes with them."""

import builtins
from argparse import Namespace
from functools import partial

import pytest

from d2_saliency.cli import report
from d2_saliency.cli.run_tool import run_tool
from d2_saliency.utils.files import OutputError


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    "error, status, said",
    [
        (ValueError("no\n  such file"), 2, "a_tool: no such file\n"),
        (OutputError("disk full"), 2, "a_tool: disk full\n"),
        (
            KeyboardInterrupt(),
            130,
            "a_tool: stopped; give the same command again to go on from here.\n",
        ),
    ],
)
def test_one_line_and_a_status(capsys, error, status, said):
    assert run_tool("a_tool", raising(error)) == status and capsys.readouterr().err == said


def test_the_status_of_the_work_and_bugs_are_passed_on():
    assert run_tool("a_tool", lambda: 1) == 1
    with pytest.raises(KeyError):
        run_tool("a_tool", raising(KeyError("a bug")))


def test_stopped_while_the_package_is_loaded(capsys, monkeypatch):
    """Which takes seconds, torch included."""
    load = builtins.__import__

    def stopped(name, *args):
        if name == "engine.defaults":
            raise KeyboardInterrupt
        return load(name, *args)

    monkeypatch.setattr(builtins, "__import__", stopped)
    status = run_tool("a_tool", partial(report.run, Namespace(folders=[])))
    monkeypatch.undo()
    assert status == 130 and capsys.readouterr().err.startswith("a_tool: stopped;")
