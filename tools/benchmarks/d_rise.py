"""D-RISE beside xaitk-saliency's, on the bundled RetinaNet and one bundled scene."""

from functools import partial
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency import BlackBox, explainable
from d2_saliency.modeling.meta_arch.build import as_generic
from d2_saliency.modeling.saliency_heads import DRISE
from d2_saliency.modeling.saliency_heads.d_rise.occlusions import grid_occlusions, random_grids
from d2_saliency.utils.image_io import read_image

from .detector import Stopwatch, build_bundled, detect
from .measure import Measure, agreement, peak_memory

GRID, P, BATCH = 16, 0.5, 4


class Scene(NamedTuple):
    """
    The stock detector, its picture (H, W, 3), the same as its input, and what it finds there above
    0.5.
    """

    stock: torch.nn.Module
    shown: np.ndarray
    inputs: Dict
    found: Instances


def build_scene(root, device: str) -> Scene:
    _, stock = build_bundled("retinanet_planted", device, root)
    shown = read_image(root / "demo" / "images" / "planted_0009.png")
    inputs = {"image": torch.from_numpy(shown.transpose(2, 0, 1).copy()).float().to(device)}
    found = detect(stock, inputs)[0]["instances"]
    return Scene(stock, shown, inputs, found[found.scores > 0.5])


def peer_call(
    scene: Scene, num_masks: int, masks: Optional[np.ndarray] = None
) -> Callable[[], np.ndarray]:
    """xaitk-saliency's D-RISE of the class; with ``masks`` (N, H, W), those in place of its own."""
    from smqtk_detection import DetectImageObjects
    from smqtk_image_io import AxisAlignedBoundingBox
    from xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring import DRISEScoring
    from xaitk_saliency.impls.gen_object_detector_blackbox_sal.drise import DRISEStack
    from xaitk_saliency.impls.gen_object_detector_blackbox_sal.occlusion_based import (
        PerturbationOcclusion,
    )

    class PeerDetector(DetectImageObjects):
        """
        The model as the peer wants a detector: images (H, W, 3) in, boxes with a score for each
        class out.
        """

        def detect_objects(self, img_iter: Iterable[np.ndarray]) -> Iterable:
            for image in img_iter:
                tensor = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(
                    scene.inputs["image"].device
                )
                found = detect(scene.stock, {"image": tensor})[0]["instances"].to("cpu")
                values = zip(
                    found.pred_boxes.tensor.numpy(),
                    found.pred_classes.tolist(),
                    found.scores.tolist(),
                )
                labels = range(scene.stock.num_classes)
                yield [
                    (
                        AxisAlignedBoundingBox(box[:2], box[2:]),
                        {k: s * (k == label) for k in labels},
                    )
                    for box, label, s in values
                ]

        def get_config(self) -> dict:
            return {}

    if masks is None:
        peer = DRISEStack(num_masks, GRID, P, seed=0, threads=0)
    else:
        peer = PerturbationOcclusion(lambda image: masks, DRISEScoring())
    found = scene.found.to("cpu")
    boxes, one_hot = (
        found.pred_boxes.tensor.numpy(),
        np.eye(scene.stock.num_classes)[found.pred_classes.numpy()],
    )
    return lambda: peer(scene.shown, boxes, one_hot, PeerDetector(), found.scores.numpy())


def our_model(scene: Scene, num_masks: int, raw_outputs: bool = True, **options) -> torch.nn.Module:
    model = explainable(scene.stock) if raw_outputs else as_generic(scene.stock)
    model.saliency_head = DRISE(
        num_masks=num_masks,
        estimator="mean",
        score_thresh=0.5,
        grid_size=GRID,
        p=P,
        batch_size=BATCH,
        **options,
    )
    return model


def rows(scene: Scene, num_masks: int, with_peer: bool) -> Dict[str, Measure]:
    """Seconds for one mask."""
    image = scene.inputs["image"]
    calls: Dict[str, Callable] = {
        "stock forward, batches of 4": partial(_batched_forward, scene, num_masks)
    }
    if with_peer:
        calls["xaitk-saliency"] = peer_call(scene, num_masks)
    for name, options in {
        "DRISE, Instances alone": {"raw_outputs": False},
        "DRISE": {},
        "DRISE, AUTOCAST": {"autocast": True},
    }.items():
        calls[name] = partial(detect, our_model(scene, num_masks, **options), {"image": image})

    def timed(call: Callable) -> float:
        watch = Stopwatch()
        with watch.running():
            call()
        return watch.seconds / num_masks

    return {name: partial(timed, call) for name, call in calls.items()}


def _batched_forward(scene: Scene, num_masks: int) -> None:
    with torch.no_grad():
        for _ in range(0, num_masks, BATCH):
            scene.stock([scene.inputs] * BATCH)


def map_agreement(scene: Scene, num_masks: int = 40) -> float:
    """
    The smallest Spearman of class maps, ours and the peer's from the same masks and ``Instances``
    alone.
    """
    grids = random_grids(num_masks, GRID, P, seed=0)
    masks = grid_occlusions(*grids, scene.shown.shape[:2]).numpy()
    theirs = torch.from_numpy(np.asarray(peer_call(scene, num_masks, masks)()))
    ours = detect(our_model(scene, num_masks, raw_outputs=False), scene.inputs)[0]["instances"]
    ours = ours[ours.pred_saliency.explained]
    return min(agreement(m[0], t) for m, t in zip(ours.pred_saliency.maps, theirs))


def extra_memory(num_masks: int) -> float:
    """
    MB that explaining 10 objects of a trivial detector at 480 x 640 adds; to be run in a process of
    its own.
    """
    boxes = torch.tensor([[20.0 + 60 * i, 40, 70 + 60 * i, 440] for i in range(10)])

    def find(images: List[np.ndarray]) -> List[Instances]:
        return [
            Instances(
                image.shape[:2],
                pred_boxes=Boxes(boxes),
                scores=torch.tensor(
                    [image[60:420:8, int(x0) : int(x1) : 8].mean() / 255 for x0, _, x1, _ in boxes]
                ),
                pred_classes=torch.arange(len(boxes)),
            )
            for image in images
        ]

    model = explainable(BlackBox(find))
    model.saliency_head = DRISE(num_masks=num_masks, score_thresh=0.0, estimator="mean")
    before = peak_memory("cpu")
    detect(model, {"image": torch.rand(3, 480, 640) * 255})
    return peak_memory("cpu") - before
