"""ODSmoothGrad."""

from typing import Dict, Iterable, Optional, Tuple

import torch
from torch import Tensor

from ...structures import OUTPUTS, SaliencyMaps
from ..noise import NoiseMixin, NoisePasses
from .build import SALIENCY_HEAD_REGISTRY
from .gradient import Gradient, gradient_map
from .head import Fields


@SALIENCY_HEAD_REGISTRY.register()
class ODSmoothGrad(NoiseMixin, Gradient):
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

    def explain(self, detector, batched_input: Dict, clean, noise: Optional[Iterable[Tensor]] = None) -> Fields:
        """
        Args:
            noise: n tensors of the image's shape to add to it, in place of :func:`gaussian_noise`.
            others: see :meth:`SaliencyHead.explain`.
        """
        reference, image = clean.instances[0], batched_input["image"]
        shape = len(reference), len(OUTPUTS), *image.shape[-2:]

        def sums(passes: NoisePasses) -> Tuple[Tensor, Tensor]:
            maps = torch.zeros(shape, device=image.device)
            num_matched = torch.zeros(len(reference), dtype=torch.long, device=image.device)
            for b, j, gradient in detector.input_gradients(passes.forward_pass, self.class_target):
                i = passes.matched[b][j]
                maps[i] += gradient_map(gradient)
                num_matched[i] += 1
            return maps, num_matched

        total = torch.zeros(shape, device=image.device)
        num_matched = torch.zeros(len(reference), dtype=torch.long, device=image.device)
        for maps, matched in self.noise_passes(detector, batched_input, reference, sums, noise, may_autocast=True):
            total += maps
            num_matched += matched
        maps = total / num_matched.clamp(min=1)[:, None, None, None]
        lost = (num_matched == 0).nonzero()[:, 0]
        if len(lost):
            fallback = super().explain(detector, batched_input, clean.select(0, lost))["pred_saliency"]
            maps[lost] = torch.stack(fallback.maps)
        return {"pred_saliency": SaliencyMaps.full_image(maps, image.shape[-2:]), "num_matched": num_matched}
