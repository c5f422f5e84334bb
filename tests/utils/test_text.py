"""Names of files that would control the terminal that they are printed on."""

import logging

import pytest
from PIL import Image

from d2_saliency.utils.text import one_line, printable
from tests.cli.conftest import tool  # noqa: F401

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.\x7f"
FAST = ("--output", "out", "--method", "Gradient", "--max-instances", "1")


def controls(text):
    """Those that the name brought; colours are our own, carriage returns of the progress bar."""
    return [c for c in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\u202e", "\x7f") if c in text]


def test_printable():
    assert (
        printable("\x1b[2J a\nb\tc é 漢 \u202e \udcff") == "\\x1b[2J a\nb\tc é 漢 \\u202e \\udcff"
    )
    assert one_line(ValueError("a\n\x1bb")) == "a \\x1bb" and one_line(KeyError()) == "KeyError"
    assert controls(EVIL) and not controls(printable(EVIL))


@pytest.mark.parametrize("content", ["picture", "no picture"])
def test_names_of_images(tool, tmp_path, content):  # noqa: F811
    if content == "picture":
        Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(tmp_path / f"{EVIL}.png")
    else:
        (tmp_path / f"{EVIL}.png").write_text(content)
    run = tool("--input", ".", *FAST, "--opts", "INPUT.MIN_SIZE_TEST", "0")
    assert run.status == (0 if content == "picture" else 2)
    assert not controls(run.out + run.err) and "\\x1b]0;owned" in run.err


def test_arguments(tool):  # noqa: F811
    for words in ([f"{EVIL}.png"], ["--input", EVIL], ["--config-file", EVIL], ["--opts", EVIL]):
        run = tool(*words)
        assert run.status == 2 and not controls(run.out + run.err)
        assert "owned" in run.err


def test_log(tool, capsys):  # noqa: F811
    from d2_saliency.engine.defaults import setup_terminal

    setup_terminal()
    setup_terminal()
    log = logging.getLogger("d2_saliency.engine.guard")
    log.warning(f"{EVIL} and %s\nlines", EVIL)
    try:
        raise KeyError(EVIL)
    except KeyError:
        log.exception("failed")
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.exception("failed")
    shown = capsys.readouterr()
    assert not controls(shown.out + shown.err) and (shown.out + shown.err).count("owned") >= 4
    assert "\nlines" in shown.out + shown.err
