import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="session")
def demo_folder():
    """demo/ on the path of imports, as for ``python demo/app.py``."""
    sys.path.insert(0, str(ROOT / "demo"))
    yield ROOT / "demo"
    sys.path.remove(str(ROOT / "demo"))
