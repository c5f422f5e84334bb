"""Smooth Grad-CAM++."""

from functools import partial
from typing import Any, Dict, List, Tuple

import torch
from detectron2.config import configurable
from torch import Tensor

from ...keys import check_values
from ..detector import Detector
from ..feature_windows import FeatureWindow, joined_windows
from ..fields import Fields
from ..forward_pass import ForwardPass
from ..layers import layer_output
from ..noise import NoiseMixin, NoisePasses, match_counts
from .build import SALIENCY_HEAD_REGISTRY
from .cam_head import CAMHead, DetectionWindows, level_windows
from .evidence import Evidence


@SALIENCY_HEAD_REGISTRY.register()
class SmoothGradCAMPlusPlus(NoiseMixin, CAMHead):
    """
    Smooth Grad-CAM++ (Omeiza et al., 2019).

        D1, D2, D3 = means of g, g^2, g^3 over n noisy images    Eqs. (4) to (6)
        a_ij = D2 / (2 D2 + (sum_ab A_ab) D3)                    Eq. (7)
        w_k  = sum_ij a_ij ReLU(D1)                              Eq. (8)
        L    = ReLU(sum_k w_k A^k)

    A is of the clean image. Detections are found again under noise as in :class:`ODSmoothGrad`; the
    means are over the matched passes, whose number is the field ``num_matched`` beside
    ``num_samples``. Without noise (n = 0) it is Grad-CAM++.

    Note:
        Eq. (7) of the paper prints D1 in the numerator where its own Eq. (5) gives D2; NUMERATOR
        "D1" is as printed. Where the denominator is not positive, a = 0.
    """

    odd = False
    moments = 3
    min_samples = 0

    @configurable
    def __init__(self, *, numerator: str = "D2", **kwargs):
        """
        Args:
            numerator: "D2", or "D1" as the paper prints it.
            kwargs: arguments of :class:`NoiseMixin` and :class:`CAMHead`.
        """
        check_values("MODEL.SALIENCY_HEAD", locals())
        super().__init__(**kwargs)
        self.numerator = numerator

    @classmethod
    def from_config(cls, cfg):
        return {**super().from_config(cfg), "numerator": cfg.MODEL.SALIENCY_HEAD.NUMERATOR}

    def combine(self, evidence: Evidence) -> Tensor:
        d1, d2, d3 = evidence.gradient.chunk(3)
        denominator = 2 * d2 + evidence.total[:, None, None] * d3
        numerator = d2 if self.numerator == "D2" else d1
        alpha = torch.where(denominator > 1e-6 * d2, numerator / denominator, 0.0)  # Eq. (7)
        if self.numerator == "D2":
            alpha = alpha.masked_fill(d2 == 0, 0.5)  # the limit: tiny g lose their g^2
        weights = (alpha * d1.relu()).nan_to_num(nan=0.0).sum((-2, -1))  # Eq. (8)
        return torch.einsum("tk,khw->thw", weights, evidence.activations)

    def feature_windows(
        self, detector: Detector, batched_input: Dict, clean: ForwardPass
    ) -> Tuple[Dict, DetectionWindows, Fields]:
        sums: List[List[FeatureWindow]] = [[] for _ in range(len(clean.instances[0]))]
        num_matched = torch.zeros(len(sums), dtype=torch.long, device=batched_input["image"].device)
        use = partial(self._noisy_windows, detector)
        layer = None if self.layer == "auto" else self.layer
        options: Dict[str, Any] = dict(layer=layer, differentiable=layer is not None)
        for batch in self.noise_passes(detector, batched_input, clean.instances[0], use, **options):
            for i, parts in batch:
                sums[i] = joined_windows([*sums[i], *_powers(parts)])
                num_matched[i] += 1
        lost = (num_matched == 0).nonzero()[:, 0]
        features, clean_windows, _ = super().feature_windows(
            detector, batched_input, clean.select(0, lost)
        )
        for i, parts in zip(lost.tolist(), clean_windows):
            sums[i] = _powers(parts)
        counts = num_matched.clamp(min=1).tolist()
        means = (
            [p._replace(gradient=p.gradient / n) for p in parts] for parts, n in zip(sums, counts)
        )
        counted: Fields = {}
        if self.num_samples:
            counted = match_counts(num_matched, self.num_samples)
        return features, means, counted

    def _noisy_windows(
        self, detector: Detector, passes: NoisePasses
    ) -> List[Tuple[int, List[FeatureWindow]]]:
        """
        (index of the reference detection, its windows of gradients) for every match of every pass.
        """
        forward_pass, matched, recorded = passes
        if self.layer == "auto":
            per_image = zip(matched, level_windows(detector, forward_pass, self.class_target))
            return [pair for index, windows in per_image for pair in zip(index.tolist(), windows)]
        output = layer_output(self.layer, recorded)
        gradients = detector.input_gradients(forward_pass, self.class_target, output)
        return [(int(matched[b][j]), [FeatureWindow(self.layer, 0, 0, g)]) for b, j, g in gradients]


def _powers(parts: List[FeatureWindow]) -> List[FeatureWindow]:
    """
    Windows of g, g^2 and g^3 of a detection in place of g, which on a level is the sum of all
    parts.
    """
    # g^3 underflows in half precision.
    joined = ((part, part.gradient.float()) for part in joined_windows(parts))
    return [part._replace(gradient=torch.cat([g, g**2, g**3])) for part, g in joined]
