"""
What CAM methods share: activations and gradients of a feature map in, five maps at feature
resolution out.
"""

import logging
import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Dict, Iterable, Iterator, List, Tuple

import torch
from detectron2.config import configurable
from torch import Tensor

from ...keys import check_values
from ...structures import SaliencyMaps
from ..detector import Detector
from ..feature_windows import FeatureWindow, joined_windows, region_mask, stride, widened
from ..fields import Fields
from ..forward_pass import ForwardPass
from ..layers import LayerError, layer_output, named_choices, recorded_output
from .head import SaliencyHead

logger = logging.getLogger(__name__)

DetectionWindows = Iterable[List[FeatureWindow]]
"""For each detection, the windows of its gradients."""


@dataclass
class Evidence:
    """
    One detection at one feature level. T targets, C channels, level of H x W cells.

    Attributes:
        activations: A (C, H, W), the whole level.
        total: sum_ab A_ab of each channel, (C,).
        gradient: g (T, C, h, w), the targets' gradients to A inside of the window at (top, left);
            zero outside of it.
        region: M (H, W), 1. where the cell belongs to the RoI or anchor that the detection was
            computed from.
    """

    activations: Tensor
    total: Tensor
    gradient: Tensor
    top: int
    left: int
    region: Tensor

    @property
    def num_cells(self) -> int:
        return self.activations[0].numel()

    def window(self, level: Tensor) -> Tensor:
        """The part of a map (..., H, W) that lies in the window, (..., h, w)."""
        h, w = self.gradient.shape[-2:]
        return level[..., self.top : self.top + h, self.left : self.left + w]


class CAMHead(SaliencyHead):
    """
    Base of the CAM family. A method implements :meth:`combine`, everything up to the final ReLU of
    its equation.

    Class attributes of a method:
        whole_level: the map covers the level (H, W), not only the window (h, w).
        moments: windows hold this many powers of the gradient, one after the other: (moments * 5,
            C, h, w).
        smooths: the method uses :meth:`smooth`, so the window must have room for the Gaussian.
        odd: ``combine(-g) = -combine(g)``, so that both directions of a coordinate come from one
            evaluation.
    """

    whole_level = False
    odd = True
    smooths = False
    moments = 1

    @configurable
    def __init__(
        self,
        *,
        layer: str = "auto",
        coord_sign: str = "both",
        smooth_sigma: float = 1.0,
        channels: Tuple[int, ...] = (),
        neurons: Tuple = (),
        **kwargs,
    ):
        """
        Args:
            layer: "auto", the pyramid level that a detection was read from, or the name of a
                module.
            coord_sign: "both" directions of a coordinate (the larger of the two maps, pixel by
                pixel), "positive", "negative", or "inward", the direction in which the box gets
                smaller.
            smooth_sigma: Gaussian of ODAM and of the space maps of SSGrad-CAM(++), in cells; 0:
                none.
            channels: use only these channels of A; empty: all.
            neurons: use only these cells (y, x) of A; empty: all. See the config key NEURONS.
            kwargs: see :class:`SaliencyHead`.
        """
        check_values("MODEL.SALIENCY_HEAD", locals())
        super().__init__(**kwargs)
        self.layer = layer
        self.coord_sign = coord_sign
        self.smooth_sigma = smooth_sigma
        self.channels = tuple(channels)
        self.neurons = tuple(tuple(cell) for cell in neurons)

    @classmethod
    def from_config(cls, cfg):
        head = cfg.MODEL.SALIENCY_HEAD
        neurons = head.NEURONS
        if head.REGION and len(neurons) == 2:
            (y0, x0), (y1, x1) = neurons
            neurons = [(y, x) for y in range(y0, y1 + 1) for x in range(x0, x1 + 1)]
        elif head.REGION:
            raise ValueError(
                "MODEL.SALIENCY_HEAD.REGION needs two corners [[y0, x0], [y1, x1]] in NEURONS."
            )
        return {
            **super().from_config(cfg),
            "layer": head.LAYER,
            "coord_sign": head.COORD_SIGN,
            "smooth_sigma": head.SMOOTH_SIGMA,
            "channels": head.CHANNELS,
            "neurons": neurons,
        }

    @abstractmethod
    def combine(self, evidence: Evidence) -> Tensor:
        """
        The method's equation up to its final ReLU, for T targets: (T, h, w), or (T, H, W) if
        ``whole_level``.
        """

    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        with named_choices(detector, lambda: detector.run([batched_input], clean.instances)):
            features, windows, fields = self.feature_windows(detector, batched_input, clean)
        levels = {name: self._selected(f[0].detach().float()) for name, f in features.items()}
        totals = {name: a.sum((1, 2)) for name, a in levels.items()}
        instances = clean.instances[0]
        placed = []
        for box, side, parts in zip(
            detector.source_boxes(instances), _box_sides(instances), windows
        ):
            scale = torch.cat([side**power for power in range(1, self.moments + 1)])[
                :, None, None, None
            ]
            per_level = []
            for part in joined_windows(parts):
                activations = levels[part.level]
                # One more cell, so that a map that is resized falls to zero as the level's would.
                margin = 1 + (math.ceil(3 * self.smooth_sigma) if self.smooths else 0)
                height, width = activations.shape[-2:]
                part = widened(part, margin, (height, width))
                cell = stride(clean.padded_size, (height, width))
                region = region_mask(box, cell, activations)
                gradient = part.gradient.float() / scale
                evidence = Evidence(
                    activations, totals[part.level], gradient, part.top, part.left, region
                )
                per_level.append(self._placed(self._signed_map(evidence), part, cell))
            placed.append(_sum_of_levels(per_level))
        maps, regions = zip(*placed)
        unread = sum(not bool(m.any()) for m in maps)
        if unread and self.layer != "auto":
            logger.warning(
                f"The maps of {unread} detections are zero at LAYER '{self.layer}': they were not "
                "read from it. Levels of a pyramid serve objects of different sizes; LAYER auto "
                "takes that of each detection."
            )
        return {
            "pred_saliency": SaliencyMaps(maps, torch.stack(regions), instances.image_size),
            **fields,
        }

    def feature_windows(
        self, detector: Detector, batched_input: Dict, clean: ForwardPass
    ) -> Tuple[Dict, DetectionWindows, Fields]:
        """
        Feature maps (1, C, H, W) by name, the windows of gradients of each detection on them, and
        extra fields.
        """
        if self.layer == "auto":
            return clean.features, level_windows(detector, clean, self.class_target)[0], {}
        image = batched_input["image"].detach().float().requires_grad_()
        with recorded_output(detector, self.layer) as recorded:
            forward_pass = detector.run([{**batched_input, "image": image}], clean.instances)
        output = layer_output(self.layer, recorded)
        gradients = detector.input_gradients(forward_pass, self.class_target, output)
        return (
            {self.layer: output.detach()},
            ([FeatureWindow(self.layer, 0, 0, g)] for _, _, g in gradients),
            {},
        )

    def _selected(self, activations: Tensor) -> Tensor:
        """
        Smooth Grad-CAM++, section 3: all activations but the chosen channels and neurons are
        clipped to zero.
        """
        sizes = activations.shape
        if any(c >= sizes[0] for c in self.channels) or any(
            y >= sizes[1] or x >= sizes[2] for y, x in self.neurons
        ):
            raise ValueError(
                "MODEL.SALIENCY_HEAD.CHANNELS or NEURONS lie outside of a feature map of "
                f"{tuple(sizes)}: "
                f"{sizes[0]} channels of {sizes[1]} x {sizes[2]} cells."
            )
        if self.channels:
            keep = torch.zeros(len(activations), device=activations.device)
            keep[list(self.channels)] = 1
            activations = activations * keep[:, None, None]
        if self.neurons:
            keep = torch.zeros_like(activations[0])
            rows, columns = zip(*self.neurons)
            keep[list(rows), list(columns)] = 1
            activations = activations * keep
        return activations

    def _signed_map(self, evidence: Evidence) -> Tensor:
        """
        The method's map (5, h, w) after its ReLU, coordinates in the direction(s) that COORD_SIGN
        names.
        """
        if self.odd:
            m = self.combine(evidence)
            m = torch.cat([m, -m[1:]]).relu()
        else:
            powers = evidence.gradient.chunk(self.moments)
            signed = [torch.cat([p, p[1:] * (-1) ** k]) for k, p in enumerate(powers, start=1)]
            m = self.combine(replace(evidence, gradient=torch.cat(signed))).relu()
        positive, negative = m[1:5], m[5:]
        chosen = {
            "both": torch.maximum(positive, negative),
            "positive": positive,
            "negative": negative,
        }
        chosen["inward"] = torch.cat(
            [positive[:2], negative[2:]]
        )  # x_min, y_min grow; x_max, y_max shrink
        return torch.cat([m[:1], chosen[self.coord_sign]])

    def _placed(
        self, m: Tensor, part: FeatureWindow, cell: Tuple[float, float]
    ) -> Tuple[Tensor, Tensor]:
        """A map with the area (x0, y0, x1, y1) that it covers, in pixels of the network input."""
        top, left = (0, 0) if self.whole_level else (part.top, part.left)
        height, width = m.shape[-2:]
        cells = m.new_tensor([left, top, left + width, top + height])
        return m, cells * cells.new_tensor([cell[1], cell[0]] * 2)

    def smooth(self, values: Tensor) -> Tensor:
        """
        Gaussian of ``smooth_sigma`` cells over the last two axes, (..., h, w); zeros beyond the
        border.
        """
        if self.smooth_sigma <= 0:
            return values
        height, width = values.shape[-2:]
        return self._gaussian_matrix(height, values) @ values @ self._gaussian_matrix(width, values)

    def _gaussian_matrix(self, size: int, like: Tensor) -> Tensor:
        """
        Rows of a normalised Gaussian that is cut at 3 sigma, (size, size), symmetric: convolution
        as a product.
        """
        radius = math.ceil(3 * self.smooth_sigma)
        x = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
        norm = (-0.5 * (x / self.smooth_sigma) ** 2).exp().sum()
        cells = torch.arange(size, device=like.device, dtype=like.dtype)
        distance = cells[:, None] - cells[None]
        weights = (-0.5 * (distance / self.smooth_sigma) ** 2).exp() / norm
        return weights.masked_fill(distance.abs() > radius, 0)


def level_windows(
    detector: Detector, forward_pass: ForwardPass, class_target: str
) -> List[Iterator[List[FeatureWindow]]]:
    """
    ``detector.feature_gradients``, or an error that says what to do where an architecture has no
    known levels.
    """
    if not forward_pass.features:
        raise LayerError(
            f"The feature map behind a detection is not known for {type(detector).__name__}; name "
            "a layer with MODEL.SALIENCY_HEAD.LAYER."
        )
    return detector.feature_gradients(forward_pass, class_target)


def _box_sides(instances) -> Tensor:
    """(N, 5): 1 for the class, the box's width for x and its height for y, at least 1 pixel."""
    x0, y0, x1, y1 = instances.pred_boxes.tensor.unbind(1)
    width, height = (x1 - x0).clamp(min=1), (y1 - y0).clamp(min=1)
    return torch.stack([torch.ones_like(width), width, height, width, height], dim=1)


def _sum_of_levels(placed: List[Tuple[Tensor, Tensor]]) -> Tuple[Tensor, Tensor]:
    """
    The sum of maps (5, h, w) of several levels with their areas, on the finest grid. Cascade has
    such detections.
    """
    if len(placed) == 1:
        return placed[0]
    areas = torch.stack([area for _, area in placed])
    cell = min((area[2] - area[0]).item() / m.shape[-1] for m, area in placed)
    union = torch.cat([areas[:, :2].amin(0), areas[:, 2:].amax(0)])
    width, height = ((union[2:] - union[:2]) / cell).round().int().tolist()
    local = (areas - union[:2].repeat(2)) / cell
    maps = SaliencyMaps([m for m, _ in placed], local, (height, width)).resize(height, width)
    return maps.sum(0), union
