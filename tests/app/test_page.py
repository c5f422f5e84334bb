"""Starts the web app."""

import os
import sys
from types import SimpleNamespace

import pytest

from d2_saliency.cli.main import main

pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[web]'")


def test_only_this_machine_is_served_unless_asked(monkeypatch, tmp_path):
    from d2_saliency.app import serve as app

    class Page:
        def close(self, verbose):
            calls[-1].append("closed")

    def launch(page, uploads, host, port, allowed, prevent_thread_lock):
        (uploads.folder.parent / "picture").touch()
        calls.append([host, port, allowed, os.environ["GRADIO_TEMP_DIR"]])

    calls = []
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(app, "build", lambda events: Page())
    monkeypatch.setattr(app, "launch", launch)
    monkeypatch.setattr(app, "Stopped", lambda: SimpleNamespace(wait=lambda: 143))
    monkeypatch.setattr(os, "_exit", sys.exit)
    for options in ([], ["--host", "0.0.0.0", "--port", "8080", "--allow-host", "a", "b"]):
        monkeypatch.setattr(sys, "argv", ["d2-saliency", "app", *options])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 143
    (*default, folder, _), (*other, _, ended) = calls
    assert default == ["127.0.0.1", 7860, []] and other == ["0.0.0.0", 8080, ["a", "b"]]
    assert ended == "closed"
    assert folder != str(tmp_path) and not os.path.exists(folder)  # the visitors' pictures are gone


def test_nothing_is_shared_with_the_network(monkeypatch):
    import gradio as gr

    from d2_saliency.app import serve as app

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
