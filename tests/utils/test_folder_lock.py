"""One run at a time writes to an output folder, and a run that is gone does not keep others out."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from d2_saliency.utils import folder_lock as module
from d2_saliency.utils.files import OutputError
from d2_saliency.utils.folder_lock import folder_lock

HOLD = """
import sys, time
from d2_saliency.utils.folder_lock import folder_lock
with folder_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.02)
    monkeypatch.setattr(module, "SILENCE", 0.5)


def acquire(folder):
    with folder_lock(folder):
        return json.loads((folder / ".lock").read_text())


def test_nothing_is_left(tmp_path):
    assert acquire(tmp_path)["pid"] == os.getpid()
    with pytest.raises(KeyboardInterrupt), folder_lock(tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_refused_while_another_process_holds_it(tmp_path, other):
    message = rf"is in use by another run \(process {other.pid} on .*, since 20.*\): wait until"
    for _ in range(2):
        with pytest.raises(OutputError, match=message):
            acquire(tmp_path)
    assert (tmp_path / ".lock").exists()


def test_taken_over_at_once_from_a_process_that_was_killed(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == other.pid
    start = time.monotonic()
    assert acquire(tmp_path)["pid"] == os.getpid() and time.monotonic() - start < 2


def test_holder_on_another_machine_is_gone_when_it_is_silent(tmp_path, quick):
    """As in a folder whose machines do not see the kernel locks of one another."""
    (tmp_path / ".lock").write_text(json.dumps({"host": "far", "machine": "x", "pid": 7}))
    start = time.monotonic()
    acquire(tmp_path)
    assert time.monotonic() - start >= 0.5 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("locks", [True, False])
def test_holder_on_another_machine_is_alive_while_it_gives_signs(
    tmp_path, quick, monkeypatch, locks
):
    if not locks:
        monkeypatch.setattr(module, "_kernel_lock", lambda lock: False)
    done = threading.Event()

    def beat():
        path, beats = tmp_path / ".lock", 0
        while not done.wait(0.05):
            path.write_text(json.dumps({"host": "far", "machine": "x", "pid": 7, "beats": beats}))
            beats += 1

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        time.sleep(0.2)
        with pytest.raises(OutputError, match="process 7 on far, since"):
            acquire(tmp_path)
    finally:
        done.set()
        thread.join()


def test_holder_gives_signs(tmp_path, quick):
    with folder_lock(tmp_path):
        before = (tmp_path / ".lock").read_text()
        time.sleep(0.3)
        assert json.loads((tmp_path / ".lock").read_text())["beats"] > json.loads(before)["beats"]


@pytest.mark.parametrize("content", ["", "x", "[]", "[" * 100_000, '{"machine": 3}'])
def test_a_file_of_other_content_keeps_nobody_out(tmp_path, quick, content):
    (tmp_path / ".lock").write_text(content)
    acquire(tmp_path)


def test_folder_that_was_removed_meanwhile(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with folder_lock(folder):
        (folder / ".lock").unlink()
        folder.rmdir()
        folder.touch()


def test_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="Cannot write to '.*nope' "):
        acquire(tmp_path / "nope")
