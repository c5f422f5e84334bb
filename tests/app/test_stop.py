"""The app is stopped by signals, as terminals, containers and service managers stop it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT

pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[web]'")


DETECTOR = "faster_rcnn_planted"


class Visitor:
    """Presses buttons of a running app."""

    def __init__(self, address):
        self.address = address
        self.functions = {f["id"]: f for f in json.loads(self.get("config"))["dependencies"]}

    def get(self, path, body=None):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(
            self.address + path, None if body is None else json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def start(self, name, *data):
        index = next(i for i, f in self.functions.items() if f["api_name"] == name)
        call = {"fn_index": index, "data": data, "session_hash": "me", "event_data": None}
        self.get("gradio_api/queue/join", call)

    def messages(self):
        """What the server says of the calls that were started."""
        with urllib.request.urlopen(
            f"{self.address}gradio_api/queue/data?session_hash=me", timeout=60
        ) as stream:
            for line in stream:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def finish(self, name, *data):
        self.start(name, *data)
        for message in self.messages():
            if message["msg"] == "process_completed":
                assert message["success"], message
                return


@pytest.fixture
def app(tmp_path):
    """A running app, and the folder that it keeps files in."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "d2_saliency.cli", "app", "--port", str(port)]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, preexec_fn=hear_signals
        )
    try:
        yield SimpleNamespace(process=process, folder=tmp_path)
    finally:
        process.kill()
        process.wait()


def hear_signals():
    """What runs the tests may ignore these, as a shell's background jobs do, and pass that on."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def visit(app):
    """A visitor of the app, once it serves: with the first bundled image and its detections."""
    for _ in range(1800):
        log = (app.folder / "log").read_text()
        address = re.search(r"http://127.0.0.1:\d+", log)
        if address:
            break
        assert app.process.poll() is None, log
        time.sleep(0.1)
    visitor = Visitor(f"{address[0]}/")
    visitor.finish("open_bundled")
    visitor.finish("find", None, DETECTOR)
    return visitor


def pictures(app):
    return list(app.folder.glob("d2_saliency_*/**/*.*"))


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_stopped(app, name, status, busy):
    """Also in the middle of D-RISE, which is in torch's own threads most of the time."""
    visitor = visit(app)
    assert pictures(app)
    if busy:
        visitor.start("show", None, DETECTOR, "DRISE", "no other", "score", 0)
        next(m for m in visitor.messages() if "passes of the model (DRISE)" in json.dumps(m))
    app.process.send_signal(getattr(signal, name))
    assert app.process.wait(timeout=30) == status, (app.folder / "log").read_text()
    assert not pictures(app) and not list(app.folder.glob("d2_saliency_*"))
    log = (app.folder / "log").read_text()
    assert log.rstrip().endswith("d2-saliency app: stopped.") and "Traceback" not in log


def test_hang_up_is_ignored_under_nohup():
    from d2_saliency.app import serve

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stopped = serve.Stopped()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.wait() == 143
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
