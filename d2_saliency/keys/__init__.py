"""
Declares every config key of d2_saliency, once: its default, its meaning, which values it may have
and whether results depend on it.

    saliency_head.py    MODEL.SALIENCY_HEAD    which method explains which detections, and how
    evaluation.py       TEST.SALIENCY          how maps are judged
    fcos.py             MODEL.FCOS             the architecture SaliencyFCOS

Whoever needs to know something of a key reads it here. This imports neither torch nor Detectron2,
so the command line can show keys at once.
"""

from typing import Any, Dict, Mapping

from .evaluation import EVALUATION
from .fcos import FCOS
from .key import Key, did_you_mean
from .saliency_head import CLASS_TARGETS, SALIENCY_HEAD

__all__ = ["CLASS_TARGETS", "KEYS", "Key", "NODES", "check_values", "did_you_mean"]

NODES: Dict[str, Dict[str, Key]] = {
    "MODEL.SALIENCY_HEAD": SALIENCY_HEAD,
    "MODEL.FCOS": FCOS,
    "TEST.SALIENCY": EVALUATION,
}
"""Keys by the node of the config that holds them."""

KEYS = {f"{node}.{name}": key for node, keys in NODES.items() for name, key in keys.items()}
"""All keys by their full name, e.g. "MODEL.SALIENCY_HEAD.SMOOTHGRAD.SIGMA"."""


def check_values(node: str, values: Mapping[str, Any]) -> None:
    """
    Args:
        node: e.g. "MODEL.SALIENCY_HEAD.SMOOTHGRAD".
        values: a config's, or arguments that are called as the keys in small letters, e.g.
            ``{"num_samples": 20}``. What is no key is passed over: users may have their own.

    Raises:
        ValueError: a value that no method and no metric can use; one line that names the key.
    """
    for name, value in values.items():
        full_name = f"{node}.{name.upper()}"
        if full_name in KEYS:
            KEYS[full_name].check(full_name, value)
        elif isinstance(value, Mapping):
            check_values(full_name, value)
