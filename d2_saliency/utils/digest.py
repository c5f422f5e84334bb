"""Short fingerprints: a run does not compute again what has not changed."""

import hashlib
import json
from pathlib import Path
from typing import Any, Optional, Union

from .regular_files import open_regular

BLOCK = 2**20  # bytes


def digest(*parts: Any) -> str:
    """16 hexadecimal digits that identify values of JSON."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def file_digest(path: Union[str, Path], max_bytes: Optional[int] = None) -> Optional[str]:
    """Digest of a regular file's content; None if it cannot be read or has more bytes."""
    content = hashlib.sha256()
    try:
        with open_regular(path, max_bytes) as file:
            while block := file.read(BLOCK):
                content.update(block)
    except OSError:
        return None
    return content.hexdigest()
