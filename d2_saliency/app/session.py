"""
Holds one visitor's image, the detections in it and their maps, and computes them. Visitors share
the detectors, and nothing else.
"""

import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.structures import Instances
from PIL import Image, UnidentifiedImageError

from ..config import add_saliency_config
from ..engine.explainer import DefaultExplainer
from ..engine.methods import build_methods
from ..modeling import build_saliency_head
from ..results.writer import ResultsWriter, finish_results
from ..utils.image_io import ImageError, read_image
from ..visualization import save_panels, write_report

MAX_BYTES = 20 * 2**20  # of an uploaded file
MAX_PIXELS = 40_000_000
MAX_SIDE = 1024  # pixels that are kept; the page shows no more, and the detectors see 384
MAX_DETECTIONS = 8  # that are listed and explained


class Cancelled(Exception):
    """The visitor does not want the result any more."""


class Detector:
    """A detector that all visitors use, one at a time."""

    def __init__(self, config_file: Path):
        self.config_file = config_file
        self.lock = threading.Lock()
        self._explainer: Optional[DefaultExplainer] = None

    @property
    def explainer(self) -> DefaultExplainer:
        """Built when it is first asked for; hold ``lock``."""
        if self._explainer is None:
            self._explainer = DefaultExplainer(
                self.cfg("Gradient", "score"), config_file=str(self.config_file)
            )
        return self._explainer

    def cfg(self, method: str, class_target: str) -> CfgNode:
        cfg = get_cfg()
        add_saliency_config(cfg)
        cfg.merge_from_file(str(self.config_file))
        cfg.MODEL.SALIENCY_HEAD.NAME, cfg.MODEL.SALIENCY_HEAD.CLASS_TARGET = method, class_target
        cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = MAX_DETECTIONS
        return cfg

    @contextmanager
    def watched(self, on_pass: Callable[[], None]) -> Iterator[DefaultExplainer]:
        """
        The explainer, for one visitor at a time; ``on_pass`` is called whenever the backbone runs,
        and may raise.

        That is before each forward pass, and in each backward pass that goes through the backbone.
        """

        def watch_backward(module, inputs, output) -> None:
            for feature in output.values():
                if feature.requires_grad:
                    feature.register_hook(lambda gradient: on_pass())

        with self.lock:
            backbone = self.explainer.model.get_submodule("backbone")
            handles = [
                backbone.register_forward_pre_hook(lambda *_: on_pass()),
                backbone.register_forward_hook(watch_backward),
            ]
            try:
                yield self.explainer
            finally:
                for handle in handles:
                    handle.remove()


@dataclass(eq=False)
class Session:
    """
    One visitor's work.

    Attributes:
        name: of the image, for people.
        image: uint8, (H, W, 3), BGR.
        detections: detector -> what it finds, best scores first.
        explained: (detector, method, class target) -> the same with pred_saliency.
        box: that was drawn last, (x_min, y_min, x_max, y_max) in pixels of the image.
        put_away: its image and maps are gone, see :class:`.shelf.Shelf`.
        used: when it was used last, in seconds.
        users: how many use it now.
    """

    name: str
    image: np.ndarray
    detections: Dict[str, Instances] = field(default_factory=dict)
    explained: Dict[Tuple[str, str, str], Instances] = field(default_factory=dict)
    box: Optional[Tuple[float, float, float, float]] = None
    put_away: bool = False
    used: float = 0
    users: int = 0


def read_upload(path: str) -> np.ndarray:
    """
    Read a file that a stranger sent.

    Returns:
        ndarray: uint8, (H, W, 3), BGR, reduced to MAX_SIDE pixels where it is larger.

    Raises:
        ImageError: it is too large, or not an image; the message does not name the server's files.
    """
    if Path(path).stat().st_size > MAX_BYTES:
        raise ImageError(
            f"The file is larger than {MAX_BYTES // 2**20} MB: make the image smaller first."
        )
    try:
        with Image.open(path) as image:  # reads the size alone
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        width = height = MAX_PIXELS
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        width = height = 0  # read_image says why
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"The image has more than {MAX_PIXELS // 10**6} million pixels: make it smaller first."
        )
    try:
        return _reduced(read_image(path))
    except ImageError as e:
        raise ImageError(str(e).replace(repr(str(path)), "The file")) from e


def _reduced(image: np.ndarray) -> np.ndarray:
    factor = MAX_SIDE / max(image.shape[:2])
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    return image if factor >= 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def read_box(corners: object, size: Tuple[int, int]) -> Tuple[float, float, float, float]:
    """
    The box that a visitor drew.

    Args:
        corners: what their browser sent: two opposite corners [x, y, x, y], as shares of the
            image's width and height.
        size: (height, width) of the image in pixels.

    Returns:
        tuple: (x_min, y_min, x_max, y_max) in pixels, inside of the image.

    Raises:
        ValueError: it is something else.
    """
    try:
        shares = np.array(corners, dtype=float)
    except (ValueError, TypeError, OverflowError):
        shares = np.zeros(0)
    if shares.shape != (4,) or not np.isfinite(shares).all():
        raise ValueError("This is not a box: drag one in the picture, from corner to corner.")
    return tuple((np.sort(shares.clip(0, 1).reshape(2, 2), axis=0) * size[::-1]).flatten().tolist())


def detect(
    detector: Detector, session: Session, name: str, on_pass: Callable[[], None]
) -> Instances:
    """Detect what the detector would explain in the visitor's image, best scores first."""
    if name not in session.detections:
        with detector.watched(on_pass) as explainer, torch.no_grad():
            explainer.model.saliency_head = None  # stock inference
            found = explainer.model([explainer.preprocess(session.image)])[0]["instances"].to("cpu")
            head = build_saliency_head(detector.cfg("Gradient", "score"))
        session.detections[name] = found[head.select(found).sort().values]
    return session.detections[name]


def explain(
    detector: Detector, session: Session, key: Tuple[str, str, str], on_pass: Callable[[], None]
) -> Instances:
    """The maps of all listed detections; ``key`` is (detector, method, class target)."""
    if key not in session.explained:
        with detector.watched(on_pass) as explainer:
            explainer.model.saliency_head = build_saliency_head(detector.cfg(*key[1:]))
            session.explained[key] = explainer(session.image)["instances"]
    return session.explained[key]


def explain_box(
    detector: Detector,
    session: Session,
    key: Tuple[str, str, str],
    box: Sequence[float],
    class_name: str,
    on_pass: Callable[[], None],
) -> Instances:
    """The maps of one object that the visitor names, whether it was detected or not."""
    with detector.watched(on_pass) as explainer:
        explainer.model.saliency_head = build_saliency_head(detector.cfg(*key[1:]))
        return explainer.explain_objects(session.image, [box], [class_name])["instances"]


def write_bundle(detectors: Dict[str, Detector], session: Session, folder: Path) -> Path:
    """
    Everything that was explained in the visitor's image, as "d2-saliency explain" writes it, one
    folder a detector.

    Returns:
        Path: a zip file inside of ``folder``.
    """
    content = folder / "explanations"
    writers: Dict[str, List[ResultsWriter]] = {}
    for key, instances in session.explained.items():
        name, method, class_target = key
        detector = detectors[name]
        cfg = detector.cfg(method, class_target)
        weights = detector.explainer.weights
        (described,) = build_methods(cfg, [cfg], weights, command="d2-saliency app")
        writer = ResultsWriter(content / f"{name}_{class_target}", described.run)
        names = detector.explainer.class_names
        writer.add_image("image", "", session.name, session.image, instances, names)
        save_panels(writer.output_dir / "image" / method, session.image, instances, names)
        writers.setdefault(str(writer.output_dir), []).append(writer)
    for group in writers.values():
        finish_results(group)
        write_report(group[0].output_dir)
    return Path(shutil.make_archive(str(content), "zip", content))
