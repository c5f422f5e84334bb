"""Holds visitors' pictures and maps within a limit of memory: those used longest ago go first."""

import threading
import time
import weakref
from contextlib import contextmanager
from typing import Any, Iterator, Optional

import numpy as np

from .session import Session

MAX_MEMORY = 2**30  # bytes of all visitors' pictures, detections and maps
PUT_AWAY = "Your picture was put away to make room for those of other visitors: choose it again."


class Shelf:
    """
    Args:
        limit: bytes; one that is being used may be above it for as long.
    """

    def __init__(self, limit: int = MAX_MEMORY):
        self.limit = limit
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()  # gradio holds them
        self._lock = threading.Lock()

    def put(self, session: Session) -> Session:
        """Count one more, and make room for it."""
        with self._lock:
            session.used = time.monotonic()
            self._sessions.add(session)
        self._make_room(new=session)
        return session

    @contextmanager
    def use(self, session: Session) -> Iterator[None]:
        """
        Keep a session for the block.

        Raises:
            ValueError: it was put away.
        """
        with self._lock:
            if session.put_away:
                raise ValueError(PUT_AWAY)
            session.users += 1
        try:
            yield
        finally:
            with self._lock:
                session.users -= 1
                session.used = time.monotonic()
            self._make_room()

    def size(self) -> int:
        """Bytes of all."""
        return sum(_size(session) for session in self._sessions)

    def _make_room(self, new: Optional[Session] = None) -> None:
        with self._lock:
            idle = [s for s in self._sessions if not s.users and s is not new]
            idle.sort(key=lambda s: s.used)
            for session in idle:
                newest = session is idle[-1]
                while newest and session.explained and self.size() > self.limit:
                    session.explained.pop(next(iter(session.explained)))
                if self.size() > self.limit:
                    session.put_away, session.image = True, np.zeros((0, 0, 3), np.uint8)
                    session.detections.clear()
                    session.explained.clear()


def _size(value: Any) -> int:
    """Bytes of the arrays and tensors in a session."""
    if isinstance(value, Session):
        return sum(map(_size, (value.image, value.detections, value.explained)))
    if isinstance(value, dict):
        return sum(map(_size, list(value.values())))
    if isinstance(value, list):
        return sum(map(_size, value))
    for part in ("nbytes", "tensor", "maps"):  # arrays and tensors, Boxes, SaliencyMaps
        if hasattr(value, part):
            found = getattr(value, part)
            return found if part == "nbytes" else _size(found)
    return _size(value.get_fields()) if hasattr(value, "get_fields") else 0
