"""Integrated gradients."""

from typing import Dict, List

import torch
from detectron2.config import configurable
from torch import Tensor

from ...keys import check_values
from ...structures import OUTPUTS, SaliencyMaps
from ..baselines import baseline_image
from ..batching import reproducible_batch_size, run_in_batches
from ..detector import Detector
from ..fields import Fields
from ..forward_pass import ForwardPass
from ..sparse_backward import skipping_zeros
from .build import SALIENCY_HEAD_REGISTRY, black_box_methods
from .head import SaliencyHead


@SALIENCY_HEAD_REGISTRY.register()
class IntegratedGradients(SaliencyHead):
    """
    Integrated gradients (Sundararajan et al., 2017), Eq. (1) as a midpoint sum of m steps.

        M = | sum_c (x_c - x'_c) * 1/m sum_{k=1..m} dY(x' + (k - 1/2)/m (x - x')) / dx_c |

    x' is a black or a strongly blurred image. On the way from there to x the detector does not
    detect the object, so the proposal or anchor of the detection is followed, not the detection.
    Before the magnitude is taken, the map of an output sums to Y(x) - Y(x'), the more exactly the
    more steps: on the demo RetinaNet and a blurred baseline, 40 steps missed the change of a
    coordinate by up to a quarter of the largest change, 640 steps by 2 %.
    """

    @configurable
    def __init__(
        self, *, num_steps: int = 20, baseline: str = "blur", batch_size: int = 4, **kwargs
    ):
        """
        Args:
            num_steps: m.
            baseline: x', "black", "mean" or "blur", see :func:`baseline_image`.
            batch_size: steps computed at once; see :mod:`..batching`.
            kwargs: arguments of :class:`SaliencyHead`.
        """
        check_values("MODEL.SALIENCY_HEAD.INTEGRATED_GRADIENTS", locals())
        super().__init__(**kwargs)
        self.num_steps = num_steps
        self.baseline = baseline
        self.batch_size = batch_size

    @classmethod
    def from_config(cls, cfg):
        options = cfg.MODEL.SALIENCY_HEAD.INTEGRATED_GRADIENTS
        return {
            **super().from_config(cfg),
            "num_steps": options.NUM_STEPS,
            "baseline": options.BASELINE,
            "batch_size": options.BATCH_SIZE,
        }

    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        maps = self.attributions(detector, batched_input, clean).sum(2).abs()
        return {"pred_saliency": SaliencyMaps.full_image(maps, clean.instances[0].image_size)}

    def attributions(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Tensor:
        """
        Signed attributions (N, 5, C, H, W) of the N detections of a pass, before the sum over
        channels.
        """
        if not detector.knows_provenance:
            raise ValueError(
                "IntegratedGradients follows a detection's proposal or anchor, which are not known "
                f"for {type(detector).__name__}; use ODSmoothGrad or "
                f"{' or '.join(black_box_methods())}."
            )
        image, instances = batched_input["image"].detach().float(), clean.instances[0]
        start = baseline_image(image, self.baseline)
        steps = (torch.arange(self.num_steps) + 0.5) / self.num_steps
        shape = len(instances), len(OUTPUTS), *image.shape
        runner = self.runner(detector, batched_input)

        def sum_of_gradients(batch: List[float]) -> Tensor:
            points = [(start + t * (image - start)).requires_grad_() for t in batch]
            with skipping_zeros(self.skip_zeros):
                forward_pass = runner.run(
                    [{**batched_input, "image": p} for p in points], [instances] * len(points)
                )
            gradients = torch.zeros(shape, device=image.device)
            for _, i, gradient in detector.input_gradients(forward_pass, self.class_target):
                gradients[i] += gradient
            return gradients

        batch_size = reproducible_batch_size(self.batch_size, image.device)
        total = torch.zeros(shape, device=image.device)
        for part in run_in_batches(
            steps.tolist(), batch_size, sum_of_gradients, "INTEGRATED_GRADIENTS.BATCH_SIZE"
        ):
            total += part
        return total / self.num_steps * (image - start)
