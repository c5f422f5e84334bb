"""The documents of the repository, as the tests of this folder read them."""

import re
from pathlib import Path
from typing import Iterator, List, Tuple

from tests.conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)")
FENCE = re.compile(r"^(```+)", re.MULTILINE)


def prose(path: Path) -> Iterator[Tuple[int, str]]:
    """(number, line) of a document, without its fenced blocks."""
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def code_blocks(path: Path, language: str = "python") -> List[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def links(path: Path) -> List[str]:
    """Targets of a document's links and pictures; those in code do not count."""
    text = "\n".join(line for _, line in prose(path))
    return LINK.findall(re.sub(r"`[^`]*`", "", text))


def anchors(path: Path) -> List[str]:
    """What the headings of a document are called in a link, in the manner of Git hosts."""
    headings = (line.lstrip("#") for _, line in prose(path) if re.match(r"#+ ", line))
    return [re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in headings]
