"""Documents stay short where newcomers read them, and their lines stay within a screen."""

import re

import pytest

from tests.conftest import ROOT
from tests.docs.documents import DOCUMENTS, prose


@pytest.mark.parametrize("name, limit", [("README.md", 120), ("BENCHMARKS.md", 150)])
def test_length(name, limit):
    assert len((ROOT / name).read_text().splitlines()) <= limit


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_prose_has_at_most_100_columns(path):
    """Rows of tables are as long as they need to be; the address of a link does not count."""
    long = [
        number
        for number, line in prose(path)
        if len(line) > 100
        and not line.lstrip().startswith(("|", "<!--", "!["))
        and len(re.sub(r"\(https?://\S+\)", "()", line)) > 100
    ]
    assert not long
