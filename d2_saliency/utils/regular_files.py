"""Opens files of others: regular files of a limited size only, and never waits for a pipe."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Optional, Union

MAX_IMAGE = 10**9  # bytes
MAX_JSON = 4 * 10**9  # bytes; the annotations of the largest public data sets have less


def open_regular(path: Union[str, Path], max_bytes: Optional[int] = None) -> BinaryIO:
    """
    Open a file for reading, as ``open(path, "rb")`` does.

    A pipe would be waited for without end, and a device such as /dev/zero has no end.

    Args:
        path: a file, or a link to one.
        max_bytes: the largest size; None: any.

    Raises:
        OSError: it cannot be opened, is no regular file, or is larger. ``strerror`` says which.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if max_bytes is not None and status.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"it has more than {max_bytes / 10**6:g} MB", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Union[str, Path], max_bytes: int) -> bytes:
    """
    The content of a file of at most ``max_bytes``.

    Raises:
        OSError: as :func:`open_regular`.
    """
    with open_regular(path, max_bytes) as file:
        return file.read()
