"""Every method has a page that says what it computes, and whose idea it is."""

import re

import pytest

from d2_saliency.methods import METHODS
from tests.conftest import ROOT
from tests.docs.documents import anchors, code_blocks, links

PAPER = re.compile(r"https://(arxiv\.org/abs|doi\.org|openaccess\.thecvf\.com)/")


def page(name: str):
    return ROOT / "docs" / "methods" / f"{name.lower()}.md"


def test_readme_lists_all_of_them():
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in METHODS) and len(METHODS) >= 15


@pytest.mark.parametrize("name", METHODS)
class TestPage:
    def test_has_the_parts_that_a_reader_looks_for(self, name):
        parts = ["equation", "what-the-paper-leaves-open", "cost", "when-to-use-it", "when-not"]
        found = [a for a in anchors(page(name)) if a in (*parts, "paper")]
        assert found == [*parts, "paper"] and "$$" in page(name).read_text()

    def test_links_its_paper(self, name):
        assert any(PAPER.match(link) for link in links(page(name)))
        assert re.search(r"@\w+\{\w+,\n  title", "".join(code_blocks(page(name), "bibtex")))

    def test_is_linked_by_readme_beside_the_paper(self, name):
        (row,) = [r for r in (ROOT / "README.md").read_text().splitlines() if f"[`{name}`]" in r]
        assert f"(docs/methods/{name.lower()}.md)" in row and PAPER.search(row)

    def test_is_in_the_site(self, name):
        assert f"- methods/{name.lower()}.md\n" in (ROOT / "mkdocs.yml").read_text()
