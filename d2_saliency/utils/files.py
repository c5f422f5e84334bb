"""Writes files whole or not at all, and explains why an output folder cannot be used."""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Union


class OutputError(OSError):
    """
    The output folder cannot be used; the message is one line that names it and says what to do.
    """


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
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())  # without it, a power cut may leave an empty file
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)


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
