"""
What the tools say before torch is there: --help at once, with the names that the package has.
"""

import subprocess
import sys

import pytest

from d2_saliency import OUTPUTS, method_names
from tests.conftest import ROOT
from tools import arguments

# sys.modules when --help ends the program.
RUN = """
import atexit, runpy, sys
atexit.register(lambda: print("torch" in sys.modules))
sys.argv = ["tool", {!r}]
sys.path.insert(0, {!r})
runpy.run_path({!r}, run_name="__main__")
"""


@pytest.mark.parametrize("tool", ["explain_net", "compare_methods"])
@pytest.mark.parametrize(
    "words, said",
    [("--help", "--score-thresh P"), ("--seed=-1", "invalid whole number >= 0 value")],
)
def test_arguments_are_parsed_without_torch(tool, words, said):
    code = RUN.format(words, str(ROOT / "tools"), str(ROOT / "tools" / f"{tool}.py"))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.endswith("False\n") and said in run.stdout + run.stderr, run.stderr


def test_names_are_the_package_s():
    assert arguments.METHODS == method_names()
    assert arguments.OUTPUTS == OUTPUTS
