"""
Leaves keys out of a YAML config that nothing here reads: those of another version of Detectron2 or
of another project.
"""

import logging
import re
from typing import Any, Dict, Iterator, Tuple

from detectron2.config import CfgNode
from detectron2.config.compat import guess_version

logger = logging.getLogger(__name__)

# What Detectron2's main has in MODEL and v0.6 does not, in values that training alone looks at.
_OF_TRAINING = re.compile(
    r"MODEL\.ROI_BOX_HEAD\.(USE_FED_LOSS=|FED_LOSS_\w+=|USE_SIGMOID_CE=False$)"
)
_OURS = ("MODEL.SALIENCY_HEAD.", "TEST.SALIENCY.")


class UnknownKeyError(ValueError):
    """A key that may be needed; the message is the end of a sentence that names the file."""


def leave_out_unknown(loaded: Any, cfg: CfgNode, path: str, allow: bool) -> None:
    """
    Remove from ``loaded`` the keys that ``cfg`` does not have and that do not build the model or
    its input, and say in a warning which they are.

    A config of an older version of Detectron2 stays as it is: its keys are converted.

    Args:
        loaded: content of a YAML file and its _BASE_.
        cfg: with all keys that there are.
        path: of the file, for the warning.
        allow: also remove unknown keys of MODEL, and those of INPUT for tests.

    Raises:
        UnknownKeyError: there are some, and it is not allowed; or keys of ours, which are mistyped.
    """
    if not isinstance(loaded, dict):
        return
    if "VERSION" not in loaded:
        loaded["VERSION"] = guess_version(loaded, path)
    if loaded["VERSION"] != cfg.VERSION:
        return
    unknown = list(_unknown(loaded, cfg))
    needed = [
        ".".join(key)
        for key, value in unknown
        if _is_ours(key) or (_builds(key, value) and not allow)
    ]
    if needed:
        raise UnknownKeyError(
            f"Non-existent config key: {', '.join(needed)}. If they are of another project, name "
            "its code with --import; leave out what the model does not need with "
            "--allow-unknown-keys"
        )
    for key, _ in unknown:
        node = loaded
        for part in key[:-1]:
            node = node[part]
        del node[key[-1]]
    if unknown:
        names = ", ".join(".".join(key) for key, _ in unknown)
        logger.warning(f"Unknown keys of the config '{path}' are left out: {names}.")


def _unknown(
    loaded: Dict[str, Any], cfg: CfgNode, above: Tuple[str, ...] = ()
) -> Iterator[Tuple[Tuple[str, ...], Any]]:
    for name, value in loaded.items():
        key = (*above, str(name))
        if name in cfg:
            if isinstance(value, dict) and isinstance(cfg[name], CfgNode):
                yield from _unknown(value, cfg[name], key)
        elif isinstance(name, str) and not cfg.is_new_allowed():
            yield key, value


def _is_ours(key: Tuple[str, ...]) -> bool:
    return ".".join(key).startswith(_OURS)


def _builds(key: Tuple[str, ...], value: Any) -> bool:
    if key[0] == "MODEL":
        return not _OF_TRAINING.match(f"{'.'.join(key)}={value}")
    return key[0] == "INPUT" and ("TEST" in key[1] or "FORMAT" in key[1])
