"""d2-saliency itself, and its commands that need no detector."""

import json
import subprocess
import sys

import pytest

from d2_saliency import __version__
from d2_saliency.results.run_info import run_info
from d2_saliency.results.writer import ResultsWriter


def test_version_and_mistyped_commands():
    command = [sys.executable, "-m", "d2_saliency.cli"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert shown.stdout == f"d2_saliency {__version__}\n"
    wrong = subprocess.run([*command, "explian"], capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.startswith("usage: d2-saliency ")
    assert "explain, evaluate, compare, report, app" in wrong.stderr.replace("'", "")


def test_reports_of_folders(tool, tmp_path):
    for name in ("first", "second"):
        ResultsWriter(tmp_path / name, run_info("", "", "ODAM", 0)).finish()
    run = tool("first", "second", command="report")
    assert run.status == 0 and run.out == "Report: first/index.html\nReport: second/index.html\n"
    assert json.loads((tmp_path / "first" / "results.json").read_text())["images"] == []


def test_no_report_without_results(tool, tmp_path):
    (tmp_path / "empty").mkdir()
    run = tool("empty", command="report")
    assert run.status == 2 and run.err.startswith("d2-saliency report: No report without a reada")
    assert run.err.count("\n") == 1 and not (tmp_path / "empty" / "index.html").exists()


def test_the_app_says_that_it_needs_gradio(tool, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    run = tool(command="app")
    assert run.status == 2
    assert run.err == "d2-saliency app: The web app needs gradio: pip install 'gradio>=6'\n"


@pytest.mark.parametrize("words", [("--opts",), ("--import",), ()])
def test_commands_that_need_a_word(tool, words):
    run = tool(*words, command="report")
    assert run.status == 2 and "usage: d2-saliency report" in run.err
