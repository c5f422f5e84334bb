"""What results.json says of how the maps of one method were made."""

import copy
import platform
import re
from typing import Any, Dict, Mapping, Optional

import detectron2
import numpy as np
import torch
from detectron2.config import CfgNode

from ..keys import KEYS
from ..utils.digest import digest, file_digest
from ..version import __version__

# Where and how fast maps are made and where they go does not change them; weights are known by
# their content.
NEUTRAL_KEYS = (
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "OUTPUT_DIR",
    *(name for name, key in KEYS.items() if not key.changes_results),
)
NEUTRAL_LAZY_KEYS = ("device", "init_checkpoint", "output_dir")  # of ``train``


def run_info(
    command: str,
    config: str,
    method: str,
    seed: int,
    weights: str = "",
    num_samples: Optional[int] = None,
    class_target: Optional[str] = None,
    metrics: Optional[Mapping[str, str]] = None,
) -> Dict[str, Any]:
    """
    An item of "runs" in results.json: how the maps of one method were made.

    Args:
        command: the command line
        config: the whole config as text, see :func:`d2_saliency.results.run_info.config_text`
        method: name of the saliency head
        seed: seed of the method
        weights: ``cfg.MODEL.WEIGHTS``; a file is identified by its content, anything else by its
            name
        num_samples: number of noise passes, None for a method without
        class_target: what the class map explains, for people to read (``config`` has it, too)
        metrics: name of each value that is measured on the maps -> "higher" or "lower", which is
            better

    Returns:
        dict: with "digest", which changes whenever the results could. It leaves out "threads", the
            number of threads
        that torch uses, although the last bits may depend on it: a run may go on on another
            machine.
    """
    metrics = dict(metrics or {})
    weights_digest = file_digest(weights) or weights
    return {
        "command": command,
        "method": method,
        "class_target": class_target,
        "seed": seed,
        "num_samples": num_samples,
        "metrics": metrics,
        "weights": weights,
        "threads": torch.get_num_threads(),
        "config_digest": digest(config),
        "digest": digest(
            config,
            method,
            seed,
            num_samples,
            weights_digest,
            __version__,
            sorted(metrics),
        ),
        "versions": {
            "d2_saliency": __version__,
            "detectron2": detectron2.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


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
