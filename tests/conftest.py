"""
Shared fixtures: the bundled detectors and images. Each detector is built once and must be left as
it was.
"""

from functools import cache
from pathlib import Path

import cv2
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.modeling.meta_arch.fcos import FCOS

from d2_saliency import add_saliency_config
from d2_saliency.modeling.meta_arch import SaliencyFCOS
from tests.browser import browse, chromium  # noqa: F401  # fixtures; here, so that there is one browser for all tests
from tests.file_server import download_cache, file_server  # noqa: F401  # fixtures

ROOT = Path(__file__).resolve().parents[1]
STOCK = {
    "SaliencyRCNN": "GeneralizedRCNN",
    "SaliencyRetinaNet": "RetinaNet",
    "SaliencyPanopticFPN": "PanopticFPN",
}


def demo_cfg(name: str):
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "demo" / f"{name}.yaml"))
    cfg.MODEL.WEIGHTS = str(ROOT / cfg.MODEL.WEIGHTS)
    return cfg


def build_stock(cfg):
    """The model of a config as Detectron2 builds it."""
    name = cfg.MODEL.META_ARCHITECTURE
    if name == "SaliencyFCOS":  # Detectron2's FCOS takes arguments only
        arguments = SaliencyFCOS.from_config(cfg)
        return FCOS(**{key: value for key, value in arguments.items() if key != "saliency_head"})
    stock_cfg = cfg.clone()
    stock_cfg.MODEL.META_ARCHITECTURE = STOCK.get(name, name)
    model = build_model(stock_cfg)
    assert type(model) is META_ARCH_REGISTRY.get(stock_cfg.MODEL.META_ARCHITECTURE)
    return model


@cache
def _stock_detector(name: str):
    cfg = demo_cfg(name)
    model = build_stock(cfg).eval()
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


@pytest.fixture
def stock_detector():
    """
    Function: name of a demo config -> the stock Detectron2 model with its bundled weights, in eval
    mode.
    """
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
