"""Shared fixtures: the bundled detectors and images. Each detector is built once and must be left as it was."""

from functools import cache
from pathlib import Path

import cv2
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from d2_saliency import add_saliency_config
from tests.browser import browse, chromium  # noqa: F401  # fixtures; here, so that there is one browser for all tests

ROOT = Path(__file__).resolve().parents[1]
DEMO_CONFIGS = ("faster_rcnn_planted", "retinanet_planted", "faster_rcnn_shortcut")


def demo_cfg(name: str):
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "demo" / f"{name}.yaml"))
    cfg.MODEL.WEIGHTS = str(ROOT / cfg.MODEL.WEIGHTS)
    return cfg


@cache
def _stock_detector(name: str):
    cfg = demo_cfg(name)
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


@pytest.fixture
def stock_detector():
    """Function: name of a demo config -> the stock Detectron2 model with its bundled weights, in eval mode."""
    return _stock_detector


@pytest.fixture
def demo_image():
    """Function: index -> input dict of a bundled scene at its own size."""

    def load(index: int = 0):
        path = sorted((ROOT / "demo" / "images").glob("*.png"))[index]
        image = cv2.imread(str(path))
        tensor = torch.as_tensor(image.transpose(2, 0, 1).copy()).float()
        return {"image": tensor, "height": image.shape[0], "width": image.shape[1]}

    return load


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
