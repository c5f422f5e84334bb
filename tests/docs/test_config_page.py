"""docs/config.md has every config key, as it is declared."""

import runpy

from d2_saliency.keys import KEYS
from tests.conftest import ROOT


def test_the_page_is_that_of_the_declarations():
    module = runpy.run_path(str(ROOT / "docs" / "site" / "config_page.py"))
    page = (ROOT / "docs" / "config.md").read_text()
    assert page == module["page"](), "python docs/site/config_page.py writes it"
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(name.rsplit(".", 1)[1] for name in KEYS)
