"""
Asks the commands what they know before torch is there: --help at once, with the names that the
package has.
"""

import subprocess
import sys

import pytest

from d2_saliency import OUTPUTS
from d2_saliency.cli import arguments
from d2_saliency.methods import METHODS
from tests.conftest import ROOT

# sys.modules when --help ends the program.
RUN = """
import atexit, runpy, sys
atexit.register(lambda: print("torch" in sys.modules))
sys.argv = {!r}
{}
"""
COMMAND = "from d2_saliency.cli.main import main; sys.exit(main())"
SCRIPTS = {name: str(ROOT / name) for name in ("tools/explain_net.py", "demo/demo.py")}
ENTRIES = {
    **{name: ([name], COMMAND) for name in ("explain", "evaluate", "compare", "report", "app")},
    **{
        name: ([], f"runpy.run_path({path!r}, run_name='__main__')")
        for name, path in SCRIPTS.items()
    },
}


def answer(words, code):
    """What an entry prints, and whether it has imported torch."""
    command = [sys.executable, "-c", RUN.format(["entry", *words], code)]
    run = subprocess.run(command, capture_output=True, text=True, cwd="/")
    return run.stdout + run.stderr, run.stdout.endswith("True\n")


@pytest.mark.parametrize("entry", ENTRIES)
def test_help_needs_no_torch_and_gives_examples(entry):
    words, code = ENTRIES[entry]
    text, has_torch = answer([*words, "--help"], code)
    assert "\nexamples:\n" in text and text.count("e.g.") > 0 and not has_torch, text


@pytest.mark.parametrize("entry", [name for name in ENTRIES if name not in ("report", "app")])
def test_methods_are_listed_without_torch(entry):
    words, code = ENTRIES[entry]
    text, has_torch = answer([*words, "--list-methods"], code)
    lines = [line.split(maxsplit=1) for line in text.splitlines()[:-1]]
    assert lines == [[name, method.about] for name, method in METHODS.items()] and not has_torch


def test_help_of_all_commands():
    text, has_torch = answer(["--help"], COMMAND)
    assert not has_torch and all(f"    {name} " in text for name in ENTRIES if "/" not in name)


@pytest.mark.parametrize("entry", [name for name in ENTRIES if name not in ("report", "app")])
def test_mistakes_are_said_without_torch(entry):
    words, code = ENTRIES[entry]
    text, has_torch = answer([*words, "--seed=-1"], code)
    assert "argument --seed: invalid whole number >= 0 value: '-1'" in text and not has_torch


def test_outputs_are_the_package_s():
    assert arguments.OUTPUTS == OUTPUTS
