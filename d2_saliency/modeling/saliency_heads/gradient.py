"""Plain gradients to the pixels."""

from typing import Dict

import torch
from torch import Tensor

from ...structures import OUTPUTS, SaliencyMaps
from ..detector import Detector
from ..forward_pass import ForwardPass
from ..sparse_backward import skipping_zeros
from .build import SALIENCY_HEAD_REGISTRY
from .head import Fields, SaliencyHead


def gradient_map(gradient: Tensor) -> Tensor:
    """
    ``M = max_c |dY/dx_c|``: the largest magnitude over the colour channels, (..., C, H, W) -> (...,
    H, W).
    """
    return gradient.abs().amax(dim=-3)


@SALIENCY_HEAD_REGISTRY.register()
class Gradient(SaliencyHead):
    """
    The gradient of each output to the input pixels (Simonyan et al., "Deep Inside Convolutional
    Networks", 2014).

        M = max_c |dY/dx_c|

    Y is one of the five outputs of a detection, x the network input in 0..255. Units: score (or
    logit) per grey level for the class, pixels per grey level for coordinates.
    """

    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        image = batched_input["image"].detach().float().requires_grad_()
        runner = self.runner(detector, batched_input)
        with skipping_zeros(self.skip_zeros):
            forward_pass = runner.run([{**batched_input, "image": image}], clean.instances)
        maps = torch.zeros(
            len(clean.instances[0]), len(OUTPUTS), *image.shape[-2:], device=image.device
        )
        for _, i, gradient in detector.input_gradients(forward_pass, self.class_target):
            maps[i] = gradient_map(gradient)
        return {"pred_saliency": SaliencyMaps.full_image(maps, image.shape[-2:])}
