"""D-RISE."""

import logging
from functools import reduce
from itertools import islice
from operator import add
from typing import Dict, Iterable, List, Tuple

import torch
from detectron2.config import configurable
from detectron2.structures import Instances
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ...keys import check_values
from ...structures import SaliencyMaps
from ..baselines import baseline_image
from ..batching import FORWARD_BATCH, reproducible_batch_size, run_in_batches
from ..detector import Detector
from ..forward_pass import ForwardPass
from ..mask_sums import MaskSums, mean_map, reliability, slope_map
from ..masks import alternating_grids, grid_masks
from ..optimize import half_precision
from ..raw_outputs import RawOutputs, output_weights
from ..targets import target_objects
from .build import SALIENCY_HEAD_REGISTRY
from .head import Fields, SaliencyHead

logger = logging.getLogger(__name__)

ESTIMATORS = {"mean": mean_map, "multiscale": slope_map}
CHECK_EVERY = 100  # masks between two looks at TOLERANCE
NUM_HALVES = 2
BATCH_SIZE_KEY = "MODEL.SALIENCY_HEAD.DRISE.BATCH_SIZE"

Sums = Dict[Tuple[int, int], MaskSums]
"""Of the masks of each (place of the grid size, half)."""


@SALIENCY_HEAD_REGISTRY.register()
class DRISE(SaliencyHead):
    """
    D-RISE (Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps", 2021),
    for any detector.

        s(t, j) = IoU(t, j) * cos(P_t, P_j) * O_j                     Eqs. (2) to (5)
        w_m     = max_j s(t, j)                                       for the class
        w_m     = max_j s(t, j) * exp(-|c_t - c_j| / (0.1 * side))    for a coordinate c, ours
        map     = sum_m w_m M_m / sum_m M_m                           ESTIMATOR "mean", the paper's

    The image is shown through N random masks M_m (:func:`grid_masks`); j runs over all that the
    detector says under a mask before score threshold and NMS (:class:`RawOutputs`), t is the
    detection, or an object that the user asks for. ESTIMATOR "multiscale" (ours) needs a tenth of
    the masks for the same insertion and deletion (BENCHMARKS.md): every second mask has a grid of
    half as many rows and columns, and the map is :func:`slope_map`.

    The masks serve all detections and all outputs at once. The field ``num_masks`` says how many it
    took.

    Note:
        CLASS_TARGET has no meaning here: the class map is of the similarity of boxes and class
        vectors, as in the paper. With TARGET_CLASS, P_t is all of that class.
    """

    black_box = True

    @configurable
    def __init__(
        self,
        *,
        num_masks: int = 500,
        estimator: str = "multiscale",
        grid_size: int = 16,
        p: float = 0.5,
        context: str = "black",
        tolerance: float = 0.0,
        batch_size: int = 4,
        autocast: bool = False,
        **kwargs,
    ):
        """
        Args:
            others: see the config keys ``DRISE.*``.
            kwargs: see :class:`SaliencyHead`.
        """
        check_values("MODEL.SALIENCY_HEAD.DRISE", locals())
        super().__init__(**kwargs)
        self.num_masks, self.p, self.tolerance, self.batch_size = (
            num_masks,
            p,
            tolerance,
            batch_size,
        )
        self.estimator, self.context, self.autocast = estimator, context, autocast
        self.grid_sizes = [grid_size] if estimator == "mean" else [grid_size, grid_size // 2]

    @classmethod
    def from_config(cls, cfg):
        options = {key.lower(): value for key, value in cfg.MODEL.SALIENCY_HEAD.DRISE.items()}
        return {**super().from_config(cfg), **options}

    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        with torch.no_grad():
            targets = target_objects(detector.outputs(clean)[0])
            sums = self._sums(self.runner(detector, batched_input), batched_input, targets)
            maps = ESTIMATORS[self.estimator](_joined(sums, range(NUM_HALVES)))
        said = torch.stack([s.w[:, 0] for s in sums.values()]).sum(0)
        for i in (said == 0).nonzero()[:, 0].tolist():
            logger.warning(
                f"DRISE: under no mask did the model say anything of object {i}; its maps are zero."
            )
        num_masks = sum(s.num for s in sums.values())
        return {
            "pred_saliency": SaliencyMaps.full_image(maps, targets.image_size),
            "num_masks": torch.full((len(targets),), num_masks, device=maps.device),
        }

    def _sums(self, detector: Detector, batched_input: Dict, targets: Instances) -> Sums:
        """Sums over the masks of each grid size, in two halves if they are to be compared."""
        image = batched_input["image"].detach().float()
        hidden = baseline_image(image, self.context)
        sums: Sums = {}

        def compute(batch: List[Tuple]) -> Tuple[List[Tuple[int, int]], Tensor, Tensor]:
            masks = torch.cat(
                [
                    grid_masks(g[None].to(image.device), s[None], image.shape[-2:])
                    for *_, g, s in batch
                ]
            )
            inputs = [{**batched_input, "image": hidden + (image - hidden) * m} for m in masks]
            with half_precision(image.device, self.autocast):
                outputs = detector.raw_outputs(inputs)
            weights = [
                output_weights(targets, RawOutputs(*(v.float() for v in raw))) for raw in outputs
            ]
            keys = [(k, number % NUM_HALVES if self.tolerance else 0) for k, number, *_ in batch]
            return keys, self._reduced(masks), torch.stack(weights)

        batch_size = reproducible_batch_size(self.batch_size, image.device, FORWARD_BATCH)
        masks = alternating_grids(self.num_masks, self.grid_sizes, self.p, self.seed)
        with tqdm(
            total=self.num_masks, desc="D-RISE", unit="mask", leave=False, delay=5
        ) as progress:
            while block := list(islice(masks, CHECK_EVERY)):
                for keys, shown, weights in run_in_batches(
                    block, batch_size, compute, BATCH_SIZE_KEY
                ):
                    for key in set(keys):
                        members = [i for i, k in enumerate(keys) if k == key]
                        if key not in sums:
                            height, width = shown.shape[-2:]
                            sums[key] = MaskSums.zeros(len(targets), (height, width), shown.device)
                        sums[key].add(shown[members], weights[members])
                progress.update(len(block))
                if self.tolerance and self._unreliability(sums) < self.tolerance:
                    break
        return sums

    def _reduced(self, masks: Tensor) -> Tensor:
        """
        Masks at the resolution of the maps: cells of 8 pixels lose nothing, and many maps take
        little memory.
        """
        if self.estimator == "mean":
            return masks
        size = [-(-n // max(1, n // (8 * self.grid_sizes[0]))) for n in masks.shape[-2:]]
        return F.interpolate(masks[:, None], size, mode="area")[:, 0]

    def _unreliability(self, sums: Sums) -> float:
        maps = [ESTIMATORS[self.estimator](_joined(sums, [half])) for half in range(NUM_HALVES)]
        return 1 - float(reliability(*maps).min())


def _joined(sums: Sums, halves: Iterable[int]) -> List[MaskSums]:
    """Sums over the masks of each grid size."""
    sizes = sorted({k for k, _ in sums})
    return [reduce(add, [sums[k, half] for half in halves if (k, half) in sums]) for k in sizes]
