"""Counts the scans of a JPEG, each of which costs a pass over the whole picture."""

import re

MAX_SCANS = 100
"""libtiff's limit, too; progressive pictures have about ten."""

START = b"\xff\xd8\xff"
SOS, EOI = 0xDA, 0xD9
MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
"""Of segments, and the two ends. Restarts, fill bytes and escaped 0xff in the data of a scan are
none; what libjpeg does not know it skips byte by byte, and so do we."""


def num_scans(content: bytes) -> int:
    """The number of scans that a decoder makes of a JPEG, up to its end or where it is cut."""
    scans, at = 0, len(START) - 1
    while match := MARKER.search(content, at):
        marker = match[1][0]
        if marker == EOI:
            break
        scans += marker == SOS
        size = int.from_bytes(content[match.end() : match.end() + 2], "big")
        at = match.end() + max(size, 2)
    return scans
