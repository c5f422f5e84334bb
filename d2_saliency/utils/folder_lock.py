"""
Lets one run at a time write to an output folder.

The run holds OUT/.lock, which names it and changes every few seconds. The kernel gives a lock of
its own away when a process ends, however it ends: that decides among the processes of one machine.
Not every shared folder passes such locks on to other machines, so a holder elsewhere, or one of
before a restart, is gone once its file has not changed for a while. No clocks are compared.
"""

import json
import logging
import os
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union

from .files import OutputError, inside, output_errors, remove_abandoned
from .regular_files import read_regular

logger = logging.getLogger(__name__)

LOCK = ".lock"
BEAT = 5.0  # seconds between two signs of life
SILENCE = 30.0  # seconds without one after which a holder that cannot be asked is gone


@contextmanager
def folder_lock(folder: Union[str, Path]) -> Iterator[None]:
    """
    Keep other runs out of an output folder, which exists, during the block.

    What killed runs were writing there is removed.

    Raises:
        OutputError: another run holds it, or the folder cannot be written to.
    """
    path = inside(folder, LOCK)
    with output_errors(folder):
        lock = _acquire(path)
    done = threading.Event()
    beats = threading.Thread(target=_beat, args=(lock, done), daemon=True)
    beats.start()
    try:
        remove_abandoned(folder)
        yield
    finally:
        done.set()
        beats.join()
        if _is_at(path, lock):
            path.unlink(missing_ok=True)
        os.close(lock)


def _acquire(path: Path) -> int:
    """The open lock file, which this process holds from now on."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            certain = _kernel_lock(lock)
            if _is_at(path, lock):  # or its holder ended, and removed it, just now
                content = _read(path)
                if content and not (certain and _holder(content).get("machine") == _machine()):
                    _await_silence(path, content)
                _write(lock, 0)
                return lock
        except BlockingIOError:
            message = _in_use(path, _read(path))
            os.close(lock)
            raise OutputError(message) from None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _kernel_lock(lock: int) -> bool:
    """
    Say whether the kernel keeps locks of this file; BlockingIOError if another process has it.
    """
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):  # Windows; a file system without locks
        return False
    return True


def _await_silence(path: Path, content: bytes) -> None:
    """Return once the lock file's holder is known to be gone."""
    logger.info(f"{str(path)!r} is of another machine or of before a restart: is its run alive?")
    end = time.monotonic() + SILENCE
    while time.monotonic() < end:
        time.sleep(SILENCE / 30)
        now = _read(path)  # opened anew: network file systems then ask the server
        if now and now != content:
            raise OutputError(_in_use(path, now))


def _in_use(path: Path, content: bytes) -> str:
    holder = _holder(content)
    who = "process {pid} on {host}, since {start}".format_map(
        {key: holder.get(key, "?") for key in ("pid", "host", "start")}
    )
    return (
        f"{str(path.parent)!r} is in use by another run ({who}): wait until it has ended, or "
        "choose another output folder."
    )


def _beat(lock: int, done: threading.Event) -> None:
    beats = 1
    while not done.wait(BEAT):
        _write(lock, beats)
        beats += 1


def _write(lock: int, beats: int) -> None:
    holder = {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "start": _START,
        "beats": beats,
    }
    try:
        os.ftruncate(lock, os.pwrite(lock, json.dumps(holder).encode(), 0))
    except OSError as e:  # a full disk fails the run where it writes its results
        logger.debug("No sign of life in the lock file: %s", e)


_START = time.strftime("%Y-%m-%d %H:%M:%S")


def _machine() -> str:
    """
    Tells running kernels apart: containers of one machine share it and its locks, machines may
    have one name.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _holder(content: bytes) -> dict:
    try:
        holder = json.loads(content)
    except (ValueError, RecursionError):  # half written, or not ours
        return {}
    return holder if isinstance(holder, dict) else {}


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, 4096)
    except OSError:
        return b""


def _is_at(path: Path, lock: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(lock))
    except OSError:
        return False
