"""Short fingerprints: a run does not compute again what has not changed."""

import hashlib
import json
from pathlib import Path
from typing import Any, Optional, Union


def digest(*parts: Any) -> str:
    """16 hexadecimal digits that identify values of JSON."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def file_digest(path: Union[str, Path]) -> Optional[str]:
    """Digest of a file's content; None if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None
