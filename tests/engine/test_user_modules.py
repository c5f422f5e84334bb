"""--import: modules and files of the user, run before the config is read."""

import sys

import pytest
from detectron2.config import get_cfg

from d2_saliency.engine.config_files import ConfigError
from d2_saliency.engine.user_modules import run_user_modules


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function: name, code -> file in the working directory. Imports are forgotten after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def write(name, code):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        return path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


ADD = "def add_config(cfg):\n    cfg.MODEL.MINE = 'added'\n"


def test_a_module_in_the_working_directory(write):
    write("my_shapes/__init__.py", "")
    write("my_shapes/register.py", ADD)
    cfg = get_cfg()
    run_user_modules(["my_shapes.register"], cfg)
    assert cfg.MODEL.MINE == "added"


def test_a_file_with_a_neighbour_and_a_function_that_is_named(write):
    write("code/neighbour.py", "VALUE = 3\n")
    file = write(
        "code/register.py", "import neighbour\ndef add_it(cfg):\n    cfg.MINE = neighbour.VALUE\n"
    )
    cfg = get_cfg()
    run_user_modules([str(file)], cfg)
    assert "MINE" not in cfg
    run_user_modules([f"{file}:add_it"], cfg)
    assert cfg.MINE == 3


def test_a_file_runs_once_and_files_of_one_name_are_different(write):
    count = "import sys\nsys.runs = getattr(sys, 'runs', []) + [__file__]\n"
    first, second = write("a/register.py", count), write("b/register.py", count)
    for _ in range(2):
        run_user_modules(["a/register.py", str(second)], get_cfg())
    assert sys.runs == [str(first), str(second)]
    del sys.runs


def test_a_module_that_registers_nothing_is_left_alone(write):
    run_user_modules([str(write("empty.py", ""))], get_cfg())


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_such_package.register", "ModuleNotFoundError: No module named 'no_such_package'$"),
        ("nowhere.py", "FileNotFoundError: there is no such file: 'nowhere.py'$"),
        ("fails.py", r"ZeroDivisionError: division by zero \(.*fails.py, line 2\)$"),
        ("deep.py", r"JSONDecodeError: Expecting value.* \(.*deep.py, line 2\)$"),
        ("exits.py", r"SystemExit: 3 \(.*exits.py, line 1\)$"),
        ("wrong.py", r"SyntaxError: .*\(wrong.py, line 1\)$"),
        ("fails_later.py", r"KeyError: 'nope' \(.*fails_later.py, line 2\)$"),
        ("plain.py:add_it", "plain.py has no function 'add_it'.$"),
    ],
)
def test_one_line_with_the_module_and_its_error(write, name, message):
    write("fails.py", "\n1 / 0\n")
    write("deep.py", "import json\njson.loads('')\n")
    write("exits.py", "raise SystemExit(3)\n")
    write("wrong.py", "def\n")
    write("fails_later.py", "def add_config(cfg):\n    {}['nope']\n")
    write("plain.py", "")
    with pytest.raises(ConfigError, match=rf"^--import {name}: {message}") as error:
        run_user_modules([name], get_cfg())
    assert "\n" not in str(error.value)


def test_a_file_that_fails_is_run_again(write):
    file = write("register.py", "1 / 0\n")
    with pytest.raises(ConfigError):
        run_user_modules([str(file)], get_cfg())
    file.write_text(ADD)
    cfg = get_cfg()
    run_user_modules([str(file)], cfg)
    assert cfg.MODEL.MINE == "added"
