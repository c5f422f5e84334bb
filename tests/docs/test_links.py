"""Links of the documents lead somewhere. Those that leave the repository are not followed."""

import re

import pytest

from tests.conftest import ROOT
from tests.docs.documents import DOCUMENTS, anchors, links

CODE = [
    *(
        p
        for folder in ("d2_saliency", "tools", "demo", "tests")
        for p in ROOT.glob(f"{folder}/**/*.py")
    ),
    *(ROOT / name for name in ("Makefile", "setup.py", ".ci/run", "mkdocs.yml")),
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_and_anchors_resolve(path):
    broken = []
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.is_relative_to(ROOT) or not target.exists():
            broken.append(link)
        elif anchor and anchor not in anchors(target):
            broken.append(link)
    assert not broken


def test_documents_that_code_names_exist():
    named = {
        (path.relative_to(ROOT), match)
        for path in CODE
        for match in re.findall(
            r"(?<!/)\bdocs/[\w/]+\.(?:md|webp|png|ipynb|py)\b", path.read_text()
        )
    }
    assert named and not [(p, name) for p, name in named if not (ROOT / name).exists()]


def test_pages_are_called_in_lower_case():
    pages = [p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")]
    assert [p for p in pages if str(p) != str(p).lower()] == []
