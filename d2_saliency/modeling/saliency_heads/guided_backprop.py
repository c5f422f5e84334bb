"""Guided backpropagation, and its product with Grad-CAM."""

from contextlib import contextmanager
from typing import Dict, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ...structures import SaliencyMaps
from ..detector import Detector
from ..fields import Fields
from ..forward_pass import ForwardPass
from .build import SALIENCY_HEAD_REGISTRY
from .grad_cam import GradCAM
from .gradient import Gradient


class _GuidedReLU(torch.autograd.Function):
    """``R_l = [f_l > 0] [R_{l+1} > 0] R_{l+1}``"""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = x.clamp(min=0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (y > 0)


class _GuidedReLUs(TorchFunctionMode):
    """
    Replaces ReLU where torch dispatches functions: Detectron2 calls it as a function, in place or
    not.
    """

    RELUS = {torch.relu, torch.relu_, F.relu, F.relu_, Tensor.relu, Tensor.relu_}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in self.RELUS:
            return _GuidedReLU.apply(args[0])
        return function(*args, **(kwargs or {}))


@contextmanager
def guided_relus() -> Iterator[None]:
    """
    Inside, backward passes through every ReLU let only positive gradients through. The model is not
    changed.
    """
    with _GuidedReLUs():
        yield


@SALIENCY_HEAD_REGISTRY.register()
class GuidedBackprop(Gradient):
    """
    Guided backpropagation (Springenberg et al., 2015): :class:`Gradient`, with negative gradients
    zeroed at each ReLU.

        R_l = [f_l > 0] [R_{l+1} > 0] R_{l+1}

    Note:
        Such maps are sharp, but hardly depend on the class or on the weights of the upper layers
        (Adebayo et al., 2018); they are here because papers compare with them.
    """

    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        with guided_relus():
            return super().explain(detector, batched_input, clean)


@SALIENCY_HEAD_REGISTRY.register()
class GuidedGradCAM(GradCAM):
    """
    Guided Grad-CAM (Selvaraju et al., 2017, section 3.2): the map of :class:`GuidedBackprop` times
    the upsampled :class:`GradCAM` map.
    """

    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        cam = super().explain(detector, batched_input, clean)["pred_saliency"]
        with guided_relus():
            guided = Gradient.explain(self, detector, batched_input, clean)["pred_saliency"]
        size = guided.image_size
        maps = torch.stack(
            [a * b.resize(*size)[0] for a, b in zip(guided.maps, (cam[i] for i in range(len(cam))))]
        )
        return {"pred_saliency": SaliencyMaps.full_image(maps, size)}
