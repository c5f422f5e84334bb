"""A web server on this machine for tests of downloads; what it answers is up to the test."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, Dict, List, Set, Union

import pytest

Answer = Union[bytes, Callable[[BaseHTTPRequestHandler], None]]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        server.requests.append(self.path)
        answer = server.answers.get(self.path, server.default)
        if callable(answer):
            answer(self)
        elif answer is None:
            self.send_error(404)
        else:
            send(self, answer, len(answer))

    def log_message(self, *args) -> None:
        pass


class FileServer(ThreadingHTTPServer):
    """
    Attributes:
        answers: path -> content, or a function of the request's handler that answers.
        default: the answer for other paths; None: not found.
        requests: paths that were asked for.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: Dict[str, Answer] = {}
        self.default: Union[Answer, None] = None
        self.requests: List[str] = []
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        pass  # clients that hang up are what the tests are about


def send(handler, content: bytes, length=None) -> None:
    """Answer with a content and say that it has ``length`` bytes; None: say nothing of it."""
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(content)


def redirect_to(url: str) -> Answer:
    """An answer that sends the client elsewhere."""

    def answer(handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.end_headers()

    return answer


def dribble(start: bytes) -> Answer:
    """An answer that sends ``start`` and then a byte every 20 ms for ever."""

    def answer(handler) -> None:
        handler.wfile.write(start)
        while not handler.server.closing.wait(0.02):
            handler.wfile.write(b"x")

    return answer


@pytest.fixture
def file_server(monkeypatch):
    """A running :class:`FileServer`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def download_cache(monkeypatch, tmp_path) -> Path:
    """
    An empty download cache, deep enough for paths that would lead out of it, and below an empty
    home.
    """
    folder = tmp_path / "home" / ".torch" / "cache"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FVCORE_CACHE", str(folder))
    return folder


def files(folder: Path) -> Set[str]:
    """Names of all files below a folder, without the lock that downloads take."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "download.lock")
    return {path.relative_to(folder).as_posix() for path in found}
