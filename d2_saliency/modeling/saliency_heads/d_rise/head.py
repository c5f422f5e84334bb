"""The saliency head of D-RISE."""

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

from ....keys import check_values
from ....structures import SaliencyMaps
from ...baselines import baseline_image
from ...batching import FORWARD_BATCH, reproducible_batch_size, run_in_batches
from ...detector import Detector
from ...fields import Fields
from ...forward_pass import ForwardPass
from ...optimize import half_precision
from ...raw_outputs import RawOutputs
from ...targets import target_objects
from ..build import SALIENCY_HEAD_REGISTRY
from ..head import SaliencyHead
from .estimators import OcclusionSums, mean_map, reliability, slope_map
from .occlusions import alternating_grids, grid_occlusions
from .weights import output_weights

logger = logging.getLogger(__name__)

ESTIMATORS = {"mean": mean_map, "multiscale": slope_map}
CHECK_EVERY = 100  # occlusions between two looks at TOLERANCE
NUM_HALVES = 2
BATCH_SIZE_KEY = "MODEL.SALIENCY_HEAD.DRISE.BATCH_SIZE"

Sums = Dict[Tuple[int, int], OcclusionSums]
"""The sums of each grid size and half: (place of the size, half) -> sums."""


@SALIENCY_HEAD_REGISTRY.register()
class DRISE(SaliencyHead):
    """
    D-RISE (Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps", 2021),
    for any detector.

        s(t, j) = IoU(t, j) * cos(P_t, P_j) * O_j                     Eqs. (2) to (5)
        w_m     = max_j s(t, j)                                       for the class
        w_m     = max_j s(t, j) * exp(-|c_t - c_j| / (0.1 * side))    for a coordinate c, ours
        map     = sum_m w_m M_m / sum_m M_m                           ESTIMATOR "mean", the paper's

    N random occlusions M_m hide parts of the image (:func:`grid_occlusions`; the paper calls them
    masks). j runs over all outputs of the detector under an occlusion, before score threshold and
    NMS (:class:`RawOutputs`). t is the detection, or an object that the user asks for. ESTIMATOR
    "multiscale" (ours) needs a tenth of the occlusions for the same insertion and deletion
    (BENCHMARKS.md): every second one has a grid of half as many rows and columns, and the map is
    :func:`slope_map`.

    The occlusions serve all detections and all outputs at once. The field ``num_masks`` holds how
    many were used.

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
        The arguments are the config keys ``DRISE.*``.

        Args:
            kwargs: arguments of :class:`SaliencyHead`.
        """
        check_values("MODEL.SALIENCY_HEAD.DRISE", locals())
        super().__init__(**kwargs)
        self.num_masks, self.p, self.context = num_masks, p, context
        self.estimator, self.tolerance = estimator, tolerance
        self.batch_size, self.autocast = batch_size, autocast
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
        """Sum over the occlusions of each grid size, in two halves if they are to be compared."""
        image = batched_input["image"].detach().float()
        hidden = baseline_image(image, self.context)
        sums: Sums = {}

        def compute(batch: List[Tuple]) -> Tuple[List[Tuple[int, int]], Tensor, Tensor]:
            size = image.shape[-2:]
            drawn = [(g[None].to(image.device), s[None]) for *_, g, s in batch]
            shown = torch.cat([grid_occlusions(g, s, size) for g, s in drawn])
            inputs = [{**batched_input, "image": hidden + (image - hidden) * m} for m in shown]
            with half_precision(image.device, self.autocast):
                outputs = detector.raw_outputs(inputs)
            exact = (RawOutputs(*(v.float() for v in raw)) for raw in outputs)
            weights = torch.stack([output_weights(targets, raw) for raw in exact])
            keys = [(k, number % NUM_HALVES if self.tolerance else 0) for k, number, *_ in batch]
            return keys, self._reduced(shown), weights

        batch_size = reproducible_batch_size(self.batch_size, image.device, FORWARD_BATCH)
        grids = alternating_grids(self.num_masks, self.grid_sizes, self.p, self.seed)
        bar = tqdm(total=self.num_masks, desc="D-RISE", unit="mask", leave=False, delay=5)
        with bar as progress:
            while block := list(islice(grids, CHECK_EVERY)):
                for parts in run_in_batches(block, batch_size, compute, BATCH_SIZE_KEY):
                    _add(sums, *parts)
                progress.update(len(block))
                if self.tolerance and self._unreliability(sums) < self.tolerance:
                    break
        return sums

    def _reduced(self, shown: Tensor) -> Tensor:
        """
        Reduce occlusions to the resolution of the maps: 8 pixels in each cell of the grid lose
        nothing, and many maps take little memory.
        """
        if self.estimator == "mean":
            return shown
        size = [-(-n // max(1, n // (8 * self.grid_sizes[0]))) for n in shown.shape[-2:]]
        return F.interpolate(shown[:, None], size, mode="area")[:, 0]

    def _unreliability(self, sums: Sums) -> float:
        maps = [ESTIMATORS[self.estimator](_joined(sums, [half])) for half in range(NUM_HALVES)]
        return 1 - float(reliability(*maps).min())


def _add(sums: Sums, keys: List[Tuple[int, int]], shown: Tensor, weights: Tensor) -> None:
    """Add occlusions (B, H, W) and their weights (B, N, 5) to the sums with their keys."""
    for key in set(keys):
        members = [i for i, k in enumerate(keys) if k == key]
        if key not in sums:
            height, width = shown.shape[-2:]
            sums[key] = OcclusionSums.zeros(weights.shape[1], (height, width), shown.device)
        sums[key].add(shown[members], weights[members])


def _joined(sums: Sums, halves: Iterable[int]) -> List[OcclusionSums]:
    """Join the sums of some halves: one for each grid size."""
    sizes = sorted({k for k, _ in sums})
    return [reduce(add, [sums[k, half] for half in halves if (k, half) in sums]) for k in sizes]
