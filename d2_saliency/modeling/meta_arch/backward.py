"""
Backward passes for the five outputs of detections. They start at the outputs themselves, or at
gradients on features.
"""

from itertools import zip_longest
from typing import Dict, Iterator, List, Tuple

import torch
from detectron2.structures import Instances
from torch import Tensor

from ...structures import OUTPUTS
from ..feature_windows import FeatureWindow
from ..saliency_heads.build import black_box_methods
from ..targets import differentiable_targets

Step = Tuple[int, Dict[int, Tensor], List[Tensor]]
"""
(i, factors, gradients): the gradients of detection i to each input are ``gradients`` (5, ...) times
``factors[b]`` (5,), b the image; only images that have a detection i have factors. They share a
backward pass, which is of ordinary size: half precision would lose small numbers on the way.
"""


def whole_level_windows(
    targets: Tensor, slopes: Tensor, b: int, leaves: Dict[str, Tensor]
) -> Iterator[List[FeatureWindow]]:
    """
    Find the levels that each row of :func:`differentiable_targets` depends on, whole, with its
    gradients to image ``b``.
    """
    for outputs, slope in zip(targets, slopes[..., None, None, None]):
        gradients = zip(*(_grad(y, list(leaves.values())) for y in outputs))
        levels = (
            (name, torch.stack([g[b] for g in per_output]))
            for name, per_output in zip(leaves, gradients)
        )
        windows = [FeatureWindow(name, 0, 0, g * slope) for name, g in levels]
        # A detection always has a window.
        yield [w for w in windows if w.gradient.any()] or windows[:1]


def backward_from_outputs(
    outputs: List[Instances], inputs: List[Tensor], class_target: str
) -> Iterator[Step]:
    """
    Plain way: differentiate the outputs themselves.

    Args:
        outputs: for each image the detections, whose ``scores``, ``raw_boxes``, ... lead to the
            inputs.
        inputs: what to differentiate with respect to.

    Raises:
        RuntimeError: the outputs carry no gradient.
    """
    targets, slopes = zip(
        *(differentiable_targets(instances, class_target) for instances in outputs)
    )
    if any(len(t) and not t.requires_grad for t in targets):
        raise RuntimeError(
            "The detections of this model carry no gradient (its forward detaches them or runs "
            "under no_grad), so gradient methods cannot explain it; use "
            f"{' or '.join(black_box_methods())}."
        )
    for i in range(max(map(len, targets), default=0)):
        members = [b for b, t in enumerate(targets) if i < len(t)]
        per_output = [
            _grad([targets[b][i, k] for b in members], inputs) for k in range(len(OUTPUTS))
        ]
        yield i, {b: slopes[b][i] for b in members}, [torch.stack(g) for g in zip(*per_output)]


def backward_from_features(
    per_image: List[Iterator[List[FeatureWindow]]],
    all_features: Dict[str, Tensor],
    inputs: List[Tensor],
) -> Iterator[Step]:
    """
    Fast way: only the backbone is differentiated, and only the levels that a detection was read
    from.

    Args:
        per_image: from :meth:`SaliencyMixin.feature_gradients`.
        all_features: the levels (B, C, H, W), whose graph leads to the inputs.
        inputs: what to differentiate with respect to.
    """
    for i, of_images in enumerate(zip_longest(*per_image)):
        windows_per_image = dict(enumerate(of_images))
        units = {
            b: _unit(windows) for b, windows in windows_per_image.items() if windows is not None
        }
        levels = sorted({w.level for b in units for w in windows_per_image[b]})
        features = [all_features[level] for level in levels]
        per_output = []
        for k in range(len(OUTPUTS)):
            cotangents = {level: torch.zeros_like(f) for level, f in zip(levels, features)}
            for b, unit in units.items():
                for w in windows_per_image[b]:
                    h, w_ = w.gradient.shape[-2:]
                    cotangents[w.level][b, :, w.top : w.top + h, w.left : w.left + w_] += (
                        w.gradient[k] / unit[k]
                    )
            per_output.append(_grad(features, inputs, list(cotangents.values())))
        yield i, units, [torch.stack(g) for g in zip(*per_output)]


def _unit(windows: List[FeatureWindow]) -> Tensor:
    """
    (5,): the power of 2 above each output's largest gradient, 1 where that is 0 or infinite.

    Dividing by a power of 2 and multiplying with it again changes no digit.
    """
    peak = torch.stack([w.gradient.abs().amax((1, 2, 3)) for w in windows]).amax(0).float()
    return torch.where((peak > 0) & peak.isfinite(), peak / torch.frexp(peak).mantissa, 1.0)


def _grad(outputs, inputs, grad_outputs=None) -> Tuple[Tensor, ...]:
    try:
        return torch.autograd.grad(
            outputs, inputs, grad_outputs, retain_graph=True, materialize_grads=True
        )
    except RuntimeError as e:
        if "compatible with .grad()" in str(e):
            raise RuntimeError(
                "The model computes activations again in its backward pass (reentrant "
                "checkpointing), where torch has no gradients to pixels: switch checkpointing off "
                "(model.backbone.net.use_act_checkpoint=False for ViTDet, "
                "MODEL.SWIN.USE_CHECKPOINT False for Swin), call checkpoint with "
                f"use_reentrant=False, or use {' or '.join(black_box_methods())}."
            ) from e
        if not isinstance(e, NotImplementedError):
            raise
        raise RuntimeError(
            f"The model has no gradient on this device ({e}): use "
            f"{' or '.join(black_box_methods())}. Where it is the backbone that has none, ODAM and "
            "the other CAM methods (LAYER auto) work, too."
        ) from e
