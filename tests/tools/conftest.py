"""Fixture that runs tools/explain_net.py in this process, as from a terminal in another folder."""

import importlib.util
import json
import logging
import sys
from types import SimpleNamespace

import pytest
from detectron2.utils.logger import setup_logger

from tests.conftest import ROOT


@pytest.fixture
def tool(monkeypatch, tmp_path, capsys):
    """Function: command line -> status, out, err; plus what is in the output folder "out"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "tools")
    spec = importlib.util.spec_from_file_location("explain_net", ROOT / "tools" / "explain_net.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        setup_logger.cache_clear()  # its handler writes to the sys.stdout of its first call
        monkeypatch.setattr(sys, "argv", ["explain_net.py", *map(str, args)])
        try:
            status = module.main()
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
