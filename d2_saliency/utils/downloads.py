"""
Fetches the files that a config names by an address into the cache, within limits, or not at all.

Detectron2 leaves this to iopath, which joins the address into a path of its cache, ``..`` included,
takes files of different servers for one another, and keeps whatever comes, however large or slow.
"""

import hashlib
import logging
import os
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, List
from urllib import request
from urllib.error import URLError
from urllib.parse import unquote

from detectron2.checkpoint.catalog import ModelCatalog, ModelCatalogHandler
from detectron2.config import CfgNode
from detectron2.utils.file_io import Detectron2Handler
from iopath.common.file_io import OneDrivePathHandler, file_lock
from tqdm import tqdm

logger = logging.getLogger(__name__)

PREFIXES = ("http://", "https://", "ftp://", Detectron2Handler.PREFIX, ModelCatalogHandler.PREFIX)
"""Of the addresses that Detectron2 knows. Other names are paths, or for a handler of the user's."""

WEB_ADDRESS = re.compile(
    r"https?://(?:[\w-]+(?:\.[\w-]+)*\.?|\[[\da-fA-F:.]+\])(?::\d+)?(?P<path>/[^?#]*)(?:[?#].*)?",
    re.ASCII,
)
MAX_LENGTH = 4000  # of an address
SILENCE = 20  # seconds that a server may send nothing
BLOCK = 2**20  # bytes


class DownloadError(ValueError):
    """A file was not fetched; the message is the reason, without the address."""


class LimitError(DownloadError):
    """A file is too large or comes too slowly."""


@dataclass(frozen=True)
class Limits:
    """
    Limits of a download.

    Attributes:
        max_bytes: size of the file.
        max_seconds: time from the first connection to the last byte, redirects included.
    """

    max_bytes: int = 4 * 10**9
    max_seconds: float = 3600

    @classmethod
    def of(cls, cfg: CfgNode) -> "Limits":
        """Read the limits of a config's ``MODEL.SALIENCY_HEAD.DOWNLOAD``."""
        return cls(cfg.MAX_MB * 10**6, cfg.MAX_SECONDS)


DEFAULT_LIMITS = Limits()


def is_address(name: str) -> bool:
    """Tell whether Detectron2 takes a name for a file on a server."""
    return name.startswith(PREFIXES)


def resolve_dots(address: str) -> str:
    """
    ``http://host/a/../b``, Detectron2's reading of ``_BASE_: ../b`` in a server's file, ->
    ``http://host/b``.

    What climbs above its server keeps its ``..``, and so is refused later.
    """
    start, mark, query = address.partition("?")
    scheme, colon, rest = start.partition("://")
    server, slash, path = rest.partition("/")
    resolved: List[str] = []
    for part in path.split("/"):
        if part == ".." and resolved and resolved[-1] != "..":
            resolved.pop()
        elif part != ".":
            resolved.append(part)
    return scheme + colon + server + slash + "/".join(resolved) + mark + query


@contextmanager
def fetched(address: str, limits: Limits) -> Iterator[Path]:
    """
    The file at an address: from the cache (``$FVCORE_CACHE``, else ``~/.torch/iopath_cache``), or
    from its server into the cache.

    An error in the body means that the file is no good: it is removed, and the next run fetches it
    again.

    Raises:
        DownloadError: the address could lead out of the cache, or the file cannot be fetched.
        LimitError: it is larger or comes more slowly than allowed.
    """
    try:
        path = _fetch(address, limits)
    except DownloadError:
        raise
    except Exception as e:  # network, disk and catalog raise many kinds
        reason = str(e.reason if type(e) is URLError else e) or type(e).__name__
        # The server may have written parts of it, and must not control the terminal.
        raise DownloadError("".join(c if c.isprintable() else " " for c in reason)[:300]) from e
    try:
        yield path
    except Exception:
        with suppress(OSError):  # the cache may be read-only
            path.unlink()
        raise


def _fetch(address: str, limits: Limits) -> Path:
    url = _web_address(address)
    path = _checked_path(url)
    cache = Path(os.environ.get("FVCORE_CACHE") or "~/.torch/iopath_cache").expanduser()
    ours = cache / "d2_saliency"
    if url.startswith(ModelCatalog.S3_C2_DETECTRON_PREFIX):  # of Detectron and Detectron2
        target = cache / path.lstrip("/")  # where Detectron2 looks for it, too
    else:  # no other server can have a file of that name
        target = (
            ours / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}_{path.split('/')[-1][-100:]}"
        )
    if target.is_file():
        return target
    try:
        ours.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DownloadError(f"{e}; set FVCORE_CACHE to a folder that can be written") from e
    with file_lock(str(ours / "download")):
        if not target.is_file():  # another process may have been faster
            _download(url, ours / "download.tmp", target, limits)
    return target


def _web_address(address: str) -> str:
    """Find an address of Detectron2's own kinds in the web."""
    if address.startswith(Detectron2Handler.PREFIX):
        return Detectron2Handler.S3_DETECTRON2_PREFIX + address[len(Detectron2Handler.PREFIX) :]
    if address.startswith(ModelCatalogHandler.PREFIX):
        return ModelCatalog.get(address[len(ModelCatalogHandler.PREFIX) :])
    if address.startswith(OneDrivePathHandler.ONE_DRIVE_PREFIX):
        return OneDrivePathHandler().create_one_drive_direct_download(address)
    return address


def _checked_path(url: str) -> str:
    """
    The path of a web address as it is written; DownloadError if it could lead out of a folder.
    """
    match = WEB_ADDRESS.fullmatch(url)
    if (
        len(url) > MAX_LENGTH
        or not match
        or "\\" in url
        or not (url.isascii() and url.isprintable())
    ):
        raise DownloadError(
            "addresses are http://SERVER/FILE or https://SERVER/FILE in printable ASCII, without "
            f"back-slashes, of at most {MAX_LENGTH} characters"
        )
    path = match["path"]
    while (decoded := unquote(path)) != path:  # servers, proxies and file systems decode, too
        path = decoded
    parts = path[1:].split("/")
    if not path.isprintable() or "\\" in path or not all(part.strip(". ") for part in parts):
        raise DownloadError(
            "its path has '..', an empty name, a back-slash or an unprintable character, and could "
            "lead out of the cache"
        )
    return match["path"]


def _download(url: str, partial: Path, target: Path, limits: Limits) -> None:
    """
    Write to ``partial``, over what a killed process left there; ``target`` comes whole or not.
    """
    logger.info(f"Fetching {url} as {target}")
    try:
        with open(partial, "wb") as file:
            _within(limits.max_seconds, lambda: _copy(url, file, limits.max_bytes))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _within(seconds: float, work: Callable[[], None]) -> None:
    """
    Run a function in a thread of its own, which is left to itself when the time is over.

    The timeout of a socket is that of one read: a server that sends a byte now and then is never
    late.
    """
    errors: List[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as e:
            errors.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise LimitError(f"it took more than {seconds:g} seconds")
    for error in errors:
        raise error


def _copy(url: str, file: BinaryIO, max_bytes: int) -> None:
    """Write what a server sends; once the file is closed, this ends with the next block."""
    with request.build_opener(_Redirects).open(url, timeout=SILENCE) as response:
        told = response.length  # None where the server does not tell
        if (told or 0) > max_bytes:
            raise LimitError(f"it has more than {max_bytes / 10**6:g} MB")
        size = 0
        with tqdm(total=told, unit="B", unit_scale=True, disable=None) as bar:
            while block := response.read1(BLOCK):
                size += len(block)
                if size > max_bytes:
                    raise LimitError(f"it has more than {max_bytes / 10**6:g} MB")
                file.write(block)
                bar.update(len(block))
    if not size:
        raise DownloadError("it is empty")
    if size < (told or 0):
        raise DownloadError(f"the server sent {size} of {told} bytes")


class _Redirects(request.HTTPRedirectHandler):
    """Follows at most ten, to web servers only, and from encrypted connections to such only."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not newurl.startswith(("https://", "http://")):
            raise DownloadError(f"it is redirected to {newurl[:200]!r}, which is no web server")
        if req.type == "https" and not newurl.startswith("https://"):
            raise DownloadError(f"it is redirected to {newurl[:200]!r}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
