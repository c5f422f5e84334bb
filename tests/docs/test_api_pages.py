"""The Python reference has every public name."""

import d2_saliency
from tests.conftest import ROOT


def test_every_public_name_is_documented():
    pages = "".join(p.read_text() for p in (ROOT / "docs" / "api").glob("*.md"))
    public = [name for name in d2_saliency.__all__ if name != "__version__"]
    assert public and [n for n in public if f"\n::: d2_saliency.{n}\n" not in f"{pages}\n"] == []
