"""What ``import d2_saliency`` gives: nothing heavy at first, and everything that is public."""

import subprocess
import sys

import d2_saliency

LIGHT = "import sys, d2_saliency; assert 'torch' not in sys.modules; print(d2_saliency.__version__)"
REGISTERED = """
from d2_saliency import add_saliency_config
from detectron2.data import DatasetCatalog
from detectron2.modeling import META_ARCH_REGISTRY
assert "planted_val" in DatasetCatalog.list() and "SaliencyRCNN" in META_ARCH_REGISTRY
"""


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_version_needs_no_torch():
    assert run(LIGHT).strip() == d2_saliency.__version__


def test_the_first_name_registers_everything():
    run(REGISTERED)


def test_every_public_name_is_there():
    assert set(d2_saliency.HOMES) | {"__version__"} == set(d2_saliency.__all__)
    assert all(getattr(d2_saliency, name) is not None for name in d2_saliency.__all__)
    assert set(d2_saliency.__all__) <= set(dir(d2_saliency))
