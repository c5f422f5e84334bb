"""Starts the web app."""

import os
import sys

import pytest

from d2_saliency.cli.main import main

pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[web]'")


def test_only_this_machine_is_served_unless_asked(monkeypatch, tmp_path):
    from d2_saliency.app import page as app

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(app, "build", lambda events: "page")
    calls = []
    monkeypatch.setattr(
        app,
        "launch",
        lambda page, _, *args: calls.append((page, *args, os.environ["GRADIO_TEMP_DIR"])),
    )
    for options in ([], ["--host", "0.0.0.0", "--port", "8080", "--allow-host", "a", "b"]):
        monkeypatch.setattr(sys, "argv", ["d2-saliency", "app", *options])
        assert main() == 0
    (*default, folder), (*other, _) = calls
    assert default == ["page", "127.0.0.1", 7860, []]
    assert other == ["page", "0.0.0.0", 8080, ["a", "b"]]
    assert folder != str(tmp_path) and not os.path.exists(folder)  # the visitors' pictures are gone


def test_nothing_is_shared_with_the_network(monkeypatch):
    import gradio as gr

    from d2_saliency.app import page as app

    given = {}
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, **options: given.update(options))
    with gr.Blocks() as page:
        pass
    app.launch(page, None, "127.0.0.1", 7860)
    assert (
        given["share"] is False
        and given["server_name"] == "127.0.0.1"
        and "allowed_paths" not in given
    )
