"""
Which values the keys of ``MODEL.SALIENCY_HEAD`` may have; that they exist and are of their kind,
yacs knows.
"""

from typing import Any

from detectron2.config import CfgNode

LARGEST = 2**63 - 1  # of an integer of torch

LIMITS = {
    "SCORE_THRESH": (-1e9, 1e9),
    "MAX_INSTANCES": (0, LARGEST),
    "TARGET_CLASS": (-1, LARGEST),
    "SEED": (0, LARGEST),
    "SMOOTHGRAD.NUM_SAMPLES": (0, LARGEST),
    "SMOOTHGRAD.SIGMA": (0, 1e6),
    "SMOOTHGRAD.IOU_THRESH": (0, 1),
    "SMOOTHGRAD.BATCH_SIZE": (1, LARGEST),
    "SMOOTH_SIGMA": (0, 1000),
    "INTEGRATED_GRADIENTS.NUM_STEPS": (1, LARGEST),
    "INTEGRATED_GRADIENTS.BATCH_SIZE": (1, LARGEST),
    "DRISE.NUM_MASKS": (2, LARGEST),
    "DRISE.GRID_SIZE": (2, 1000),
    "DRISE.P": (0.001, 0.999),
    "DRISE.TOLERANCE": (0, 1),
    "DRISE.BATCH_SIZE": (1, LARGEST),
}
"""Smallest and largest value. Other keys are words, which those who read them check."""


def check_values(node: CfgNode, prefix: str = "") -> None:
    """
    Args:
        node: ``cfg.MODEL.SALIENCY_HEAD``.

    Raises:
        ValueError: a value that no method can use; one line that names the key.
    """
    for key, value in node.items():
        name = prefix + key
        if isinstance(value, CfgNode):
            check_values(value, f"{name}.")
        elif value is None:
            raise ValueError(
                f"MODEL.SALIENCY_HEAD.{name} has no value; leave it out for its default."
            )
        elif name in LIMITS:
            low, high = LIMITS[name]
            if not low <= value <= high:  # nor is nan
                raise ValueError(
                    f"MODEL.SALIENCY_HEAD.{name} is {value}; choose a number from {low:g} to "
                    f"{high:g}."
                )
        elif name == "CHANNELS" and not all(map(_is_index, value)):
            raise ValueError(
                f"MODEL.SALIENCY_HEAD.CHANNELS is {value}; give whole numbers from 0, e.g. [3, 17]."
            )
        elif name == "NEURONS" and not all(_is_cell(cell) for cell in value):
            raise ValueError(
                f"MODEL.SALIENCY_HEAD.NEURONS is {value}; give cells [[y, x], ...], e.g. [[4, 7], "
                "[4, 8]]."
            )


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _is_cell(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_index, value))
