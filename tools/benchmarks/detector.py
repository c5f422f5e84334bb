"""
Builds what the benchmarks explain: a stock Faster R-CNN R50-FPN with random weights, and an image
of noise.
"""

import time
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
import torch
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from d2_saliency import add_saliency_config, build_saliency_head, explainable
from d2_saliency.testing import calibrate
from d2_saliency.utils.image_io import read_image

NUM_DETECTIONS = 50
MOSAIC_SIDE = 800  # pixels, of its shorter side at least
# Of the noise: random weights have detections that more noise moves, and then there is less work.
SIGMA = 0.001


class Bench(NamedTuple):
    """A stock model, the input that all rows share, and the config of ours."""

    cfg: CfgNode
    stock: nn.Module
    inputs: Dict

    def ours(self, method: str, num_detections: int = NUM_DETECTIONS, **options) -> nn.Module:
        """
        The model with a method that explains its best detections; options are attributes of the
        head.
        """
        cfg = self.cfg.clone()
        cfg.MODEL.SALIENCY_HEAD.NAME = method
        cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = num_detections
        model = explainable(self.stock, cfg)
        model.saliency_head = build_saliency_head(cfg)
        vars(model.saliency_head).update(options)
        return model


def build_bench(device: str, image_size: Tuple[int, int]) -> Bench:
    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    add_saliency_config(cfg)
    cfg.MODEL.DEVICE = device
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = NUM_DETECTIONS
    cfg.MODEL.SALIENCY_HEAD.SCORE_THRESH = -1.0
    cfg.MODEL.SALIENCY_HEAD.SMOOTHGRAD.SIGMA = SIGMA
    torch.manual_seed(0)
    stock = build_model(cfg).eval()
    calibrate(stock)
    return Bench(cfg, stock, {"image": (torch.rand(3, *image_size) * 255).to(device)})


def build_bundled(name: str, device: str, root: Path) -> Tuple[CfgNode, nn.Module]:
    """The config of a bundled detector, and the stock model with its weights."""
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(str(root / "configs" / "demo" / f"{name}.yaml"))
    cfg.MODEL.DEVICE = device
    stock = build_model(cfg).eval()
    DetectionCheckpointer(stock).load(str(root / cfg.MODEL.WEIGHTS))
    return cfg, stock


def build_mosaic(device: str, root: Path) -> Bench:
    """
    A trained model and small objects in a large image: the bundled Faster R-CNN on many scenes in
    one.
    """
    cfg, stock = build_bundled("faster_rcnn_planted", device, root)
    scenes = [read_image(path) for path in sorted((root / "demo" / "images").glob("planted_*.png"))]
    height, width = (min(scene.shape[axis] for scene in scenes) for axis in (0, 1))
    num_rows, num_columns = (-(-MOSAIC_SIDE // side) for side in (height, width))
    parts = [
        scene[:height, :width] for _, scene in zip(range(num_rows * num_columns), cycle(scenes))
    ]
    rows = [np.hstack(parts[i : i + num_columns]) for i in range(0, len(parts), num_columns)]
    image = torch.from_numpy(np.vstack(rows).transpose(2, 0, 1).copy()).float()
    return Bench(cfg, stock, {"image": image.to(device)})


def detect(model: nn.Module, inputs: Dict) -> List[Dict]:
    with torch.no_grad():
        return model([inputs])


class Stopwatch:
    """Seconds that the blocks ``with watch.running():`` took, work on a GPU included."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        _synchronize()
        start = time.perf_counter()
        yield
        _synchronize()
        self.seconds += time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
