"""
Short fingerprints of what decides the maps: a run that is repeated computes nothing again if they
are the same.
"""

import copy
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Optional, Union

from detectron2.config import CfgNode

# Where and how fast maps are made and where they go does not change them; weights are known by
# their content.
NEUTRAL_KEYS = (
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "OUTPUT_DIR",
    "MODEL.SALIENCY_HEAD.SMOOTHGRAD.BATCH_SIZE",
    "MODEL.SALIENCY_HEAD.INTEGRATED_GRADIENTS.BATCH_SIZE",
    "MODEL.SALIENCY_HEAD.DRISE.BATCH_SIZE",
    "TEST.SALIENCY.BATCH_SIZE",
)
NEUTRAL_LAZY_KEYS = ("device", "init_checkpoint", "output_dir")  # of ``train``


def digest(*parts: Any) -> str:
    """16 hexadecimal digits that identify values of JSON."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def file_digest(path: Union[str, Path]) -> Optional[str]:
    """Digest of a file's content; None if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def config_text(cfg, saliency_cfg: CfgNode) -> str:
    """
    All that a config says about the maps, the same text in every process.

    Args:
        cfg, saliency_cfg: as :func:`d2_saliency.engine.defaults.setup_cfg` returns them.
    """
    ours = saliency_cfg.clone()
    ours.defrost()
    for key in NEUTRAL_KEYS:
        *nodes, leaf = key.split(".")
        node = ours
        for name in nodes:
            node = node[name]
        node.pop(leaf, None)
    if cfg is saliency_cfg:
        return ours.dump()
    lazy = copy.deepcopy(cfg)
    for key in NEUTRAL_LAZY_KEYS:
        lazy.train.pop(key, None)
    # Functions are printed with their address, which is another one in each process.
    return re.sub(r" at 0x[0-9a-f]+", "", f"{lazy}\n{ours.dump()}")
