"""Writes docs/config.md, the tables of all config keys, from their declarations."""

from pathlib import Path
from typing import Iterator, List

from d2_saliency.keys import NODES, Key

PAGE = Path(__file__).resolve().parents[1] / "config.md"
INTRODUCTION = """# Config keys

`add_saliency_config(cfg)` adds these keys with their defaults. Set them in a config file or with
`--opts KEY VALUE`. A value that no method can use is refused with one line that names the key.
`d2_saliency/keys/` declares them, and `python docs/site/config_page.py` writes this page.
"""
HEAD = "MODEL.SALIENCY_HEAD"
CAM = ("LAYER", "COORD_SIGN", "SMOOTH_SIGMA", "CHANNELS", "NEURONS", "REGION", "NUMERATOR")
SECTIONS = {
    "Methods and detections": (HEAD, "", ": which method explains which detections, and how."),
    "CAM methods": (HEAD, "", ", for methods that weigh a feature map."),
    "Noise passes": (
        HEAD,
        "SMOOTHGRAD.",
        ", for [ODSmoothGrad](methods/odsmoothgrad.md) and\n"
        "[SmoothGradCAMPlusPlus](methods/smoothgradcamplusplus.md).",
    ),
    "Integrated gradients": (
        HEAD,
        "INTEGRATED_GRADIENTS.",
        ", for\n[IntegratedGradients](methods/integratedgradients.md).",
    ),
    "D-RISE": (HEAD, "DRISE.", ", for [DRISE](methods/drise.md)."),
    "Downloads": (
        HEAD,
        "DOWNLOAD.",
        ", for\n[files from servers](messages.md#files-from-servers).",
    ),
    "Evaluation": ("TEST.SALIENCY", "", ": how the [metrics](metrics.md) judge maps."),
    "FCOS": (
        "MODEL.FCOS",
        "",
        ": the [architecture](architectures.md#fcos-in-yaml) `SaliencyFCOS`.",
    ),
}
"""Title -> node of the config, what the names of the keys begin with there, what they are for."""


def page() -> str:
    return "\n".join([INTRODUCTION, *(_section(title) for title in SECTIONS)])


def _section(title: str) -> str:
    node, prefix, purpose = SECTIONS[title]
    rows = [_row(name.removeprefix(prefix), NODES[node][name]) for name in _names(title)]
    table = ["| key | default | values | what |", "|---|---|---|---|", *rows]
    full = f"{node}.{prefix}".rstrip(".")
    return "\n".join([f"## {title}", "", f"`{full}`{purpose}", "", *table, ""])


def _names(title: str) -> Iterator[str]:
    node, prefix, _ = SECTIONS[title]
    for name in NODES[node]:
        below = name.removeprefix(prefix)
        own = name.startswith(prefix) and "." not in below
        if own and (node != HEAD or (name in CAM) == (title == "CAM methods")):
            yield name


def _row(name: str, key: Key) -> str:
    about = key.about.replace("BENCHMARKS.md", "[BENCHMARKS](../BENCHMARKS.md)")
    cells: List[str] = [f"`{name}`", f"`{key.default}`", _values(key), about]
    return "| " + " | ".join(cells).replace("|  |", "| |") + " |"


def _values(key: Key) -> str:
    if key.choices:
        return ", ".join(f"`{choice}`" for choice in key.choices)
    if not key.is_number:
        return ""
    low, high = ("" if abs(x) >= 1e9 else f"{x:g}" for x in (key.low, key.high))
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else "any number"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
