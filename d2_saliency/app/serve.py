"""Serves the web app until a signal stops it, and removes what its visitors left."""

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn, Optional, Sequence

import gradio as gr
from starlette.middleware import Middleware

from .events import Events
from .gate import Gate, allowed_names
from .page import CSS, FONTS, build
from .uploads import UploadRoute, Uploads

# Ctrl-C; containers and service managers; a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped:
    """Takes the signals that stop a program, from now on."""

    def __init__(self) -> None:
        self._event, self._number = threading.Event(), 0
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self._take)

    def _take(self, number: int, frame: object) -> None:
        self._number = self._number or number
        self._event.set()

    def wait(self) -> int:
        """Wait for a signal. Returns the exit status that stands for it, e.g. 130 for Ctrl-C."""
        self._event.wait()
        return 128 + self._number


def serve(host: str, port: int, allowed: Sequence[str] = ()) -> int:
    """
    Serve the app until a signal stops it; what visitors made is gone then.

    Args:
        host: name or address to listen at.
        port: to listen at.
        allowed: names of the server, e.g. that of the proxy that it is behind; see
            :func:`.gate.allowed_names`.

    Returns:
        int: the exit status; leave with :func:`leave`.
    """
    stopped = Stopped()
    with tempfile.TemporaryDirectory(prefix="d2_saliency_", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # pictures of this run
        events = Events(Path(folder))
        page = build(events)
        launch(page, events.uploads, host, port, allowed, prevent_thread_lock=True)
        status = stopped.wait()
        page.close(verbose=False)
        events.close()
    return status


def leave(status: int) -> NoReturn:
    """
    End this process at once. Threads of the server may be inside of torch, which aborts a process
    whose Python ends under them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def launch(
    page: gr.Blocks,
    uploads: Uploads,
    host: str,
    port: Optional[int],
    allowed: Sequence[str] = (),
    **options,
) -> tuple:
    """
    Serve the page; nothing of this machine's disk is readable through it but what it made itself.
    """
    middleware = [
        Middleware(Gate, names=allowed_names(host, allowed), public=allowed),
        Middleware(UploadRoute, uploads=uploads),
    ]
    return page.queue(max_size=32).launch(
        server_name=host,
        server_port=port,
        share=False,
        footer_links=[],
        theme=gr.themes.Soft(**FONTS),
        css=CSS,
        app_kwargs={"middleware": middleware},
        **options,
    )
