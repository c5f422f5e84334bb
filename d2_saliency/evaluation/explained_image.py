"""The input of a metric: one image, its explained detections and the objects that they are of."""

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Dict, List, Optional

import numpy as np
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..keys import check_values
from ..modeling.meta_arch.base import SaliencyMixin, head_of
from .ground_truth import Truth
from .perturbed_image import PerturbedImage


@dataclass(frozen=True)
class MetricSettings:
    """
    The settings of all metrics.

    Attributes:
        num_steps: steps of equal area of deletion and insertion.
        deletion_fill: fill of deleted pixels, a kind of :func:`baseline_image`.
        insertion_fill: the image that insertion starts from, likewise.
        coordinate_area: pixels that coordinate deletion removes, as a share of the box's area; an
            edge's strip (0.1 of the side on either side of it) is 0.2 of it.
        num_draws: noisy copies of the image that stability compares.
        noise: standard deviation of their noise, as a share of (max - min) of the image.
        batch_size: perturbed images computed at once on a GPU: memory, time, and the result by
            rounding. A CPU computes four at a time.
        seed: decides the order of pixels with equal saliency, and noise.
    """

    num_steps: int = 50
    deletion_fill: str = "mean"
    insertion_fill: str = "blur"
    coordinate_area: float = 0.2
    num_draws: int = 3
    noise: float = 0.05
    batch_size: int = 4
    seed: int = 0

    def __post_init__(self):
        check_values("TEST.SALIENCY", vars(self))

    @classmethod
    def from_options(cls, options: CfgNode) -> "MetricSettings":
        """The settings that ``cfg.TEST.SALIENCY`` says."""
        return cls(**{f.name: options[f.name.upper()] for f in fields(cls)})


@dataclass
class ExplainedImage:
    """
    One image with N > 0 explained detections.

    Attributes:
        model: the :class:`SaliencyMixin` that explained them.
        batched_input: the model's input, with "image" (C, H', W'), the network input, 0..255.
        instances: the N detections, in coordinates of the original image (H, W), with
            ``pred_saliency``.
        truth: the annotated object that each of them is of, or None.
        settings: settings of the metrics.
    """

    model: SaliencyMixin
    batched_input: Dict[str, Any]
    instances: Instances
    truth: List[Optional[Truth]]
    settings: MetricSettings = field(default_factory=MetricSettings)

    @cached_property
    def maps(self) -> np.ndarray:
        """(N, 5, H, W), aligned with the original image."""
        return self.instances.pred_saliency.resize(*self.instances.image_size).cpu().numpy()

    @cached_property
    def input_maps(self) -> Tensor:
        """(N, 5, H', W'), aligned with the network input, where images are perturbed."""
        return self.instances.pred_saliency.resize(*self.batched_input["image"].shape[-2:])

    @cached_property
    def perturbed(self) -> PerturbedImage:
        """Asks the detector for these detections in perturbed copies of the image."""
        height, width = self.batched_input["image"].shape[-2:]
        boxes = self.instances.pred_boxes.tensor
        scale = boxes.new_tensor(
            [width / self.instances.image_size[1], height / self.instances.image_size[0]] * 2
        )
        targets = Instances(
            (height, width),
            pred_boxes=Boxes(boxes * scale),
            pred_classes=self.instances.pred_classes,
            scores=self.instances.scores,
        )
        runner = head_of(self.model).runner(self.model, self.batched_input)
        return PerturbedImage(runner, self.batched_input, targets, self.settings.batch_size)
