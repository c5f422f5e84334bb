"""MkDocs hooks: the documents of the repository's root are pages of the site, too."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
ROOT_PAGES = ("BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files, config):
    """Add the root's documents to what MkDocs finds in docs/."""
    for name in ROOT_PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links are written as they hold in the repository; here they are made to hold in the site."""
    name = page.file.src_uri
    folder = posixpath.dirname(name if name in ROOT_PAGES else f"docs/{name}")

    def in_site(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        target = "index.md" if target == "README.md" else target.removeprefix("docs/")
        return match[1] + posixpath.relpath(target, posixpath.dirname(name) or ".")

    return LINK.sub(in_site, markdown)
