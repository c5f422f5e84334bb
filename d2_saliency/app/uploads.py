"""
Takes the files that visitors send, within limits, and gives each out once: to who sent it.

Gradio's own way names a file by its content, so that visitors share files, and keeps what nobody
asks for.
"""

import asyncio
import re
import secrets
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .session import MAX_BYTES

MAX_EACH = 3 * MAX_BYTES  # of one visitor's files that wait to be read, in bytes
MAX_TOTAL = 20 * MAX_BYTES  # of all of them
MAX_AGE = 600  # seconds that a file waits; a browser asks for it at once
MAX_SECONDS = 300  # that a file may take to arrive
MAX_FORM = 16 * 2**10  # bytes of a form around its file
MAX_OTHER = 2**20  # bytes of any other request
AGAIN = "Upload the photo again: the server does not have it any more."


@dataclass
class Waiting:
    """A file that was sent and not read yet, or is being sent."""

    visitor: str
    size: int
    since: float


class Uploads:
    """
    Args:
        folder: where files wait. Each gets a folder of its own with a secret name, which only who
            sent it is told.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.max_each, self.max_total = MAX_EACH, MAX_TOTAL
        self.waiting: Dict[Path, Waiting] = {}
        self.lock = threading.Lock()

    def admit(self, visitor: str, size: int) -> Path:
        """
        Reserve room for a file.

        Args:
            visitor: the address that it comes from.
            size: bytes.

        Returns:
            Path: a new folder for it.

        Raises:
            HTTPException: too much waits already.
        """
        now = time.monotonic()
        for folder in [f for f, w in list(self.waiting.items()) if now - w.since > MAX_AGE]:
            self.remove(folder)
        with self.lock:
            total = sum(w.size for w in self.waiting.values())
            mine = sum(w.size for w in self.waiting.values() if w.visitor == visitor)
            if mine + size > self.max_each or total + size > self.max_total:
                raise HTTPException(429, "Too many uploads wait: try again in a few minutes.")
            folder = self.folder / secrets.token_hex(16)
            self.waiting[folder] = Waiting(visitor, size, now)
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def taken(self, path: str) -> Iterator[str]:
        """
        The file that a visitor sent, for the block; it is removed then.

        Raises:
            ValueError: nobody sent such a file, or it was taken before.
        """
        folder = Path(path).parent
        if folder not in self.waiting:
            raise ValueError(AGAIN)
        try:
            yield path
        finally:
            self.remove(folder)

    def remove(self, folder: Path) -> None:
        with self.lock:
            if self.waiting.pop(folder, None):
                shutil.rmtree(folder, ignore_errors=True)


class UploadRoute:
    """ASGI middleware that answers uploads in gradio's place, and limits the other requests."""

    def __init__(self, app: ASGIApp, uploads: Uploads):
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload")
        try:
            _check_length(Headers(scope=scope), MAX_BYTES + MAX_FORM if is_upload else MAX_OTHER)
            if not is_upload:
                return await self.app(scope, receive, send)
            answer: Response = JSONResponse([str(await self._receive(Request(scope, receive)))])
        except HTTPException as e:
            answer = PlainTextResponse(e.detail, e.status_code)
        except ClientDisconnect:
            return None
        return await answer(scope, receive, send)

    async def _receive(self, request: Request) -> Path:
        visitor = request.client.host if request.client else ""
        folder = self.uploads.admit(visitor, int(request.headers.get("content-length", 0)))
        try:
            return await asyncio.wait_for(_save(request, folder), MAX_SECONDS)
        except asyncio.TimeoutError as e:
            self.uploads.remove(folder)
            raise HTTPException(408, f"The upload took more than {MAX_SECONDS} seconds.") from e
        except BaseException:
            self.uploads.remove(folder)
            raise


def _check_length(headers: Headers, limit: int) -> None:
    """Servers hold a request to the length that it tells; one in chunks may be of any length."""
    if "transfer-encoding" in headers:
        raise HTTPException(411, "Tell the length of what you send (Content-Length).")
    if int(headers.get("content-length", 0)) > limit:
        raise HTTPException(413, f"This is larger than {limit // 2**20} MB.")


async def _save(request: Request, folder: Path) -> Path:
    """Write the one file of a form into a folder."""
    async with request.form(max_files=1, max_fields=1) as form:
        file = form.get("files")
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "Send one file.")
        if file.size is None or file.size > MAX_BYTES:
            raise HTTPException(413, f"This is larger than {MAX_BYTES // 2**20} MB.")
        # Letters may take four bytes, and names of files have 255 at most.
        name = re.sub(r"[^\w. -]", "", Path(file.filename or "").name)[-60:].lstrip(". ")
        path = folder / (name or "image")
        with open(path, "wb") as target:
            await run_in_threadpool(shutil.copyfileobj, file.file, target)
    return path
