"""Noise passes: the detector on noisy copies of an image, its detections found again. For all Smooth* methods."""

from contextlib import nullcontext
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from detectron2.structures import Instances
from torch import Tensor

from .layers import recorded_output
from .matching import match_instances


class NoisePasses(NamedTuple):
    """
    A batch of B noise passes.

    Attributes:
        forward_pass: the detector's run on B noisy images that require gradients. ``instances[b]`` are the matched
            detections of pass b alone, in the order of ``matched[b]``.
        matched: for each pass, indices (P_b,) of the reference detections that were found again.
        recorded: what the named layer returned, see ``noise_passes``; empty without one.
    """

    forward_pass: object
    matched: List[Tensor]
    recorded: List[Tensor]


def noise_arguments(cfg) -> Dict:
    """The keys of ``MODEL.SALIENCY_HEAD.SMOOTHGRAD`` as keyword arguments of a Smooth* method."""
    return {key.lower(): value for key, value in cfg.MODEL.SALIENCY_HEAD.SMOOTHGRAD.items()}


def gaussian_noise(image: Tensor, num_samples: int, sigma: float, seed: int) -> Iterator[Tensor]:
    """
    ``N(0, s^2)`` with ``s = sigma * (max(x) - min(x))`` (SmoothGrad, section 3).

    Drawn on the CPU one pass after the other, so that it depends on the seed alone, not on device or batch size.

    Args:
        image: (C, H, W).
        sigma: the noise level, a share of the image's range.

    Yields:
        ``num_samples`` tensors like ``image``, float32.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = sigma * float(image.max() - image.min())
    for _ in range(num_samples):
        yield scale * torch.randn(image.shape, generator=generator).to(image.device)


def noise_passes(
    detector,
    batched_input: Dict,
    reference: Instances,
    noise: Iterator[Tensor],
    *,
    iou_thresh: float,
    match: str,
    batch_size: int,
    layer: Optional[str] = None,
) -> Iterator[NoisePasses]:
    """
    Run the detector on ``x + noise`` and find the reference detections again.

    Args:
        detector: a :class:`SaliencyMixin`.
        batched_input: the clean image x, as for the detector's forward.
        reference: its detections.
        noise: tensors of the shape of the image, one for each pass.
        iou_thresh, match: see the config keys ``SMOOTHGRAD.IOU_THRESH`` and ``SMOOTHGRAD.MATCH``.
        batch_size: noise passes computed at once.
        layer: name of a module whose output is to be recorded, with its graph.

    Raises:
        ValueError: for match "index" where the architecture's proposals or anchors are not known.
    """
    if match == "index" and not detector.knows_provenance:
        raise ValueError(
            "SMOOTHGRAD.MATCH 'index' follows a detection's proposal or anchor, which are not known for "
            f"{type(detector).__name__}; use 'detection'."
        )
    for batch in _batched(noise, batch_size):
        inputs = [{**batched_input, "image": _noisy(batched_input["image"], n)} for n in batch]
        follow = [reference] * len(batch) if match == "index" else None
        with recorded_output(detector, layer) if layer else nullcontext([]) as recorded:
            forward_pass = detector.run(inputs, follow)
        pairs = [_pair(reference, found, iou_thresh, match) for found in forward_pass.instances]
        forward_pass.instances = [instances for _, instances in pairs]
        yield NoisePasses(forward_pass, [index for index, _ in pairs], recorded)


def _noisy(image: Tensor, noise: Tensor) -> Tensor:
    return (image.detach().float() + noise).requires_grad_()


def _pair(reference: Instances, found: Instances, iou_thresh: float, match: str) -> Tuple[Tensor, Instances]:
    """Indices of the matched reference detections, and their counterparts in ``found`` in the same order."""
    if match == "index":
        return torch.arange(len(reference), device=reference.pred_classes.device), found
    index, partner = match_instances(reference, found, iou_thresh)
    found = found[partner]
    if reference.has("target_classes"):
        found.target_classes = reference.target_classes[index]
    return index, found


def _batched(items: Iterator, size: int) -> Iterator[List]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
