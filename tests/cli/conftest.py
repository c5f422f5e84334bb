"""Fixture that runs d2-saliency in this process, as from a terminal in another folder."""

import json
import logging
import sys
from types import SimpleNamespace

import pytest
from detectron2.utils.logger import setup_logger

from d2_saliency.cli.main import main
from tests.cli.own_detector import in_project, trained  # noqa: F401  # fixtures


@pytest.fixture
def tool(monkeypatch, tmp_path, capsys):
    """
    Function: words after "d2-saliency explain" or another command -> status, out, err; plus what is
    in the output folder "out".
    """
    monkeypatch.chdir(tmp_path)

    def run(*args, command="explain"):
        setup_logger.cache_clear()  # its handler writes to the sys.stdout of its first call
        monkeypatch.setattr(sys, "argv", ["d2-saliency", command, *map(str, args)])
        try:
            status = main()
        except SystemExit as e:  # argparse
            status = e.code
        out = tmp_path / "out"
        files = {
            name: json.loads((out / f"{name}.json").read_text())
            if (out / f"{name}.json").exists()
            else None
            for name in ("results", "errors")
        }
        captured = capsys.readouterr()
        return SimpleNamespace(
            status=status, out=captured.out, err=captured.err, folder=out, **files
        )

    yield run
    setup_logger.cache_clear()
    logging.getLogger("d2_saliency").handlers.clear()
