"""Smooth Grad-CAM++."""

from typing import Dict, List, Optional, Tuple

import torch
from detectron2.config import configurable
from torch import Tensor

from ..feature_windows import FeatureWindow, joined_windows
from ..layers import layer_output
from ..noise import gaussian_noise, noise_arguments, noise_passes
from .build import SALIENCY_HEAD_REGISTRY
from .cam_head import CAMHead, DetectionWindows, Evidence, level_windows
from .head import Fields

NUMERATORS = ("D2", "D1")


@SALIENCY_HEAD_REGISTRY.register()
class SmoothGradCAMPlusPlus(CAMHead):
    """
    Smooth Grad-CAM++ (Omeiza et al., 2019).

        D1, D2, D3 = means of g, g^2, g^3 over n noisy images    Eqs. (4) to (6)
        a_ij = D2 / (2 D2 + (sum_ab A_ab) D3)                    Eq. (7)
        w_k  = sum_ij a_ij ReLU(D1)                              Eq. (8)
        L    = ReLU(sum_k w_k A^k)

    A is of the clean image. Detections are found again under noise as in :class:`ODSmoothGrad`; the means are over the
    matched passes, whose number is the field ``num_matched``. Without noise (n = 0) it is Grad-CAM++.

    Note:
        Eq. (7) of the paper prints D1 in the numerator where its own Eq. (5) gives D2; NUMERATOR "D1" is as printed.
        Where the denominator is not positive, a = 0.
    """

    whole_level = True
    odd = False
    moments = 3

    @configurable
    def __init__(
        self,
        *,
        num_samples: int = 20,
        sigma: float = 0.05,
        iou_thresh: float = 0.7,
        match: str = "detection",
        batch_size: int = 4,
        numerator: str = "D2",
        **kwargs,
    ):
        """
        Args:
            num_samples, sigma, iou_thresh, match, batch_size: see :class:`ODSmoothGrad`.
            numerator: "D2", or "D1" as the paper prints it.
            kwargs: see :class:`CAMHead`.
        """
        super().__init__(**kwargs)
        if numerator not in NUMERATORS:
            raise ValueError(f"MODEL.SALIENCY_HEAD.NUMERATOR is '{numerator}'; choose one of {NUMERATORS}.")
        self.num_samples = num_samples
        self.sigma = sigma
        self.noise_options = dict(iou_thresh=iou_thresh, match=match, batch_size=batch_size)
        self.numerator = numerator

    @classmethod
    def from_config(cls, cfg):
        numerator = cfg.MODEL.SALIENCY_HEAD.NUMERATOR
        return {**super().from_config(cfg), **noise_arguments(cfg), "numerator": numerator}

    def combine(self, evidence: Evidence) -> Tensor:
        d1, d2, d3 = evidence.gradient.chunk(3)
        denominator = 2 * d2 + evidence.total[:, None, None] * d3
        numerator = d2 if self.numerator == "D2" else d1
        alpha = torch.where(denominator > 1e-6 * d2, numerator / denominator, 0.0)  # Eq. (7)
        weights = (alpha * d1.relu()).nan_to_num(nan=0.0).sum((-2, -1))  # Eq. (8)
        return torch.einsum("tk,khw->thw", weights, evidence.activations)

    def feature_windows(self, detector, batched_input: Dict, clean) -> Tuple[Dict, DetectionWindows, Fields]:
        reference, image = clean.instances[0], batched_input["image"]
        features, windows, _ = super().feature_windows(detector, batched_input, clean)
        fallback = [[_powers(part) for part in parts] for parts in windows]
        noise = gaussian_noise(image, self.num_samples, self.sigma, self.seed)
        sums: List[List[FeatureWindow]] = [[] for _ in fallback]
        num_matched = torch.zeros(len(reference), dtype=torch.long, device=image.device)
        layer = None if self.layer == "auto" else self.layer
        for i, parts in self._noisy_windows(detector, batched_input, reference, noise, layer):
            sums[i] = joined_windows([*sums[i], *(_powers(part) for part in parts)])
            num_matched[i] += 1
        means = [
            [part._replace(gradient=part.gradient / n) for part in total] if n else clean_parts
            for total, clean_parts, n in zip(sums, fallback, num_matched.tolist())
        ]
        return features, means, {"num_matched": num_matched} if self.num_samples else {}

    def _noisy_windows(self, detector, batched_input: Dict, reference, noise, layer: Optional[str]):
        """Yields (index of the reference detection, its windows of gradients) for every match of every pass."""
        # A model of unknown architecture may run its layers on one image after the other.
        options = {**self.noise_options, "batch_size": 1} if layer else self.noise_options
        passes = noise_passes(detector, batched_input, reference, noise, layer=layer, **options)
        for forward_pass, matched, recorded in passes:
            if layer is None:
                for index, per_image in zip(matched, level_windows(detector, forward_pass, self.class_target)):
                    yield from zip(index.tolist(), per_image)
            else:
                output = layer_output(detector, layer, recorded)
                for b, j, g in detector.input_gradients(forward_pass, self.class_target, output):
                    yield int(matched[b][j]), [FeatureWindow(layer, 0, 0, g)]


def _powers(part: FeatureWindow) -> FeatureWindow:
    """A window of g, g^2 and g^3 in place of g."""
    g = part.gradient
    return part._replace(gradient=torch.cat([g, g**2, g**3]))
