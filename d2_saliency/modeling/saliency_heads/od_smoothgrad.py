"""ODSmoothGrad."""

from typing import Dict, Iterable, Optional

import torch
from detectron2.config import configurable
from torch import Tensor

from ...structures import OUTPUTS, SaliencyMaps
from ..noise import gaussian_noise, noise_arguments, noise_passes
from .build import SALIENCY_HEAD_REGISTRY
from .gradient import Gradient, gradient_map
from .head import Fields

MATCHES = ("detection", "index")


@SALIENCY_HEAD_REGISTRY.register()
class ODSmoothGrad(Gradient):
    """
    SmoothGrad for object detectors ("ODSmoothGrad: Generating Saliency Maps for Object Detectors", 2023).

        M_i = 1/|K_i| sum_{k in K_i} max_c |dY_{m_k(i)}(x_k) / dx_c|,    x_k = x + N(0, s^2),  k = 1..n

    The detector runs on n noisy images. Detection i of the clean image is found again in pass k (k in K_i) as m_k(i):
    the detection of the same class with IoU > 0.7, one to one. Each of its five outputs Y has its own map.

    Note:
        What the paper leaves open: s = sigma * (max x - min x); the reference is the clean image; the mean is over
        the matched passes, whose number is the field ``num_matched`` (0..n, long). A detection that no noise pass finds
        again has ``num_matched`` 0 and the map of :class:`Gradient`.
    """

    @configurable
    def __init__(
        self,
        *,
        num_samples: int = 20,
        sigma: float = 0.05,
        iou_thresh: float = 0.7,
        match: str = "detection",
        batch_size: int = 4,
        **kwargs,
    ):
        """
        Args:
            num_samples: noise passes n.
            sigma: noise level as a share of the image's range.
            iou_thresh: a match has an IoU strictly above this.
            match: "detection", or "index" to follow the detection's own proposal or anchor without matching.
            batch_size: noise passes computed at once; changes memory and time, not the result.
            kwargs: see :class:`SaliencyHead`.
        """
        super().__init__(**kwargs)
        if match not in MATCHES:
            raise ValueError(f"MODEL.SALIENCY_HEAD.SMOOTHGRAD.MATCH is '{match}'; choose one of {MATCHES}.")
        if num_samples < 1 or batch_size < 1:
            raise ValueError("MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES and BATCH_SIZE are numbers of at least 1.")
        self.num_samples = num_samples
        self.sigma = sigma
        self.iou_thresh = iou_thresh
        self.match = match
        self.batch_size = batch_size

    @classmethod
    def from_config(cls, cfg):
        return {**super().from_config(cfg), **noise_arguments(cfg)}

    def explain(self, detector, batched_input: Dict, clean, noise: Optional[Iterable[Tensor]] = None) -> Fields:
        """
        Args:
            noise: n tensors of the image's shape to add to it, in place of :func:`gaussian_noise`.
            others: see :meth:`SaliencyHead.explain`.
        """
        reference, image = clean.instances[0], batched_input["image"]
        if noise is None:
            noise = gaussian_noise(image, self.num_samples, self.sigma, self.seed)
        total = torch.zeros(len(reference), len(OUTPUTS), *image.shape[-2:], device=image.device)
        num_matched = torch.zeros(len(reference), dtype=torch.long, device=image.device)
        options = dict(iou_thresh=self.iou_thresh, match=self.match, batch_size=self.batch_size)
        for passes in noise_passes(detector, batched_input, reference, iter(noise), **options):
            for b, j, gradient in detector.input_gradients(passes.forward_pass, self.class_target):
                i = passes.matched[b][j]
                total[i] += gradient_map(gradient)
                num_matched[i] += 1
        maps = total / num_matched.clamp(min=1)[:, None, None, None]
        lost = (num_matched == 0).nonzero()[:, 0]
        if len(lost):
            fallback = super().explain(detector, batched_input, clean.select(0, lost))["pred_saliency"]
            maps[lost] = torch.stack(fallback.maps)
        return {"pred_saliency": SaliencyMaps.full_image(maps, image.shape[-2:]), "num_matched": num_matched}
