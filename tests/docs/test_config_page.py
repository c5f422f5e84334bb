"""docs/config.md has every config key, with its default."""

import re

from detectron2.config import CfgNode, get_cfg

from d2_saliency import add_saliency_config
from tests.conftest import ROOT

ROW = re.compile(r"\| `(\w+)` \| `([^`]*)` \|")


def leaves(node: CfgNode, prefix: str):
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


def test_every_key_has_a_row_with_its_default():
    documented, node = {}, ""
    for line in (ROOT / "docs" / "config.md").read_text().splitlines():
        node = line.split("`")[1] if re.match(r"`(MODEL|TEST)\.", line) else node
        if row := ROW.match(line):
            documented[f"{node}.{row[1]}"] = row[2]
    cfg = get_cfg()
    add_saliency_config(cfg)
    nodes = {
        "MODEL.SALIENCY_HEAD": cfg.MODEL.SALIENCY_HEAD,
        "MODEL.FCOS": cfg.MODEL.FCOS,
        "TEST.SALIENCY": cfg.TEST.SALIENCY,
    }
    keys = {k: str(v) for name, node in nodes.items() for k, v in leaves(node, name)}
    assert documented == keys
