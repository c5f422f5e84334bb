"""Writes files whole or not at all, and explains why an output folder cannot be used."""

import json
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Union


class OutputError(OSError):
    """
    The output folder cannot be used; the message is one line that names it and says what to do.
    """


ABANDONED = re.compile(r"\..+\.(\d+)\.tmp(\.\w+)?")
"""Names of the temporary files of :func:`atomic_path`, and the process that wrote each."""


@contextmanager
def atomic_path(path: Union[str, Path]) -> Iterator[Path]:
    """
    A temporary path beside ``path`` that takes its place if the block ends well, and vanishes
    otherwise.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    path = Path(path)
    # The suffix stays, because np.savez and Image.save go by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    with output_errors(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)  # of a killed run, or a link that leads elsewhere
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())  # without it, a power cut may leave an empty file
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)


def inside(folder: Union[str, Path], *parts: str) -> Path:
    """
    The path of a file or folder below an output folder, to be written or removed.

    The output folder itself may be a link, which the user has chosen, and a link in place of a file
    is replaced, not followed.

    Raises:
        OutputError: a folder on the way, or the path itself where it is a folder, is a link.
    """
    path = Path(folder)
    for part in parts:
        path = path / part
        if path.is_symlink() and (path.is_dir() or part != parts[-1]):
            raise OutputError(
                f"{str(path)!r} is a link, which leads out of the output folder: remove it, or "
                "choose another output folder."
            )
    return path


def remove_abandoned(folder: Union[str, Path], depth: int = 2) -> None:
    """
    Remove what processes that are gone were writing to an output folder when they were killed.

    Call it while nobody on another machine writes there. Links are not followed.
    """
    with output_errors(folder), os.scandir(folder) as entries:
        for entry in entries:
            match = ABANDONED.fullmatch(entry.name)
            if entry.is_dir(follow_symlinks=False):
                if depth:
                    remove_abandoned(entry.path, depth - 1)
            elif match and not _is_alive(int(match[1])):
                os.unlink(entry.path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        pass
    return True


def check_writable(folder: Union[str, Path]) -> None:
    """
    Make the folder if it is missing and write to it: a run shall fail before its first hour, not
    after.
    """
    with output_errors(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def output_errors(folder: Union[str, Path]) -> Iterator[None]:
    """Turn any OSError of the block into an OutputError that names the folder."""
    try:
        yield
    except OutputError:
        raise
    except OSError as e:
        reason = e.strerror or str(e)
        raise OutputError(
            f"Cannot write to {str(folder)!r} ({reason}): choose another output folder."
        ) from e


def write_json(path: Union[str, Path], content: Any) -> None:
    """
    Write JSON atomically. Numbers that are not finite are not JSON: a ValueError, and nothing
    written.
    """
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_text(path: Union[str, Path], text: str) -> None:
    """Write UTF-8 atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
