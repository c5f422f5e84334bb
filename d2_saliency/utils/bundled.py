"""Finds the configs, images and weights that come with d2_saliency."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def bundled(path: str) -> Path:
    """
    Find a file or folder of the repository: in the package where it is installed (setup.py copies
    it there), beside the package in a checkout.

    Args:
        path: path in the repository, e.g. "configs/demo/faster_rcnn_planted.yaml".
    """
    installed = PACKAGE / "bundled"
    return (installed if installed.is_dir() else PACKAGE.parent) / path
