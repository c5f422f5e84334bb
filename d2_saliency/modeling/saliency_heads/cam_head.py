"""
The CAM family's base: it turns activations and gradients of a feature map into five maps at feature
resolution.
"""

from abc import abstractmethod
from dataclasses import replace
from typing import Dict, Iterable, Iterator, List, Tuple

import torch
from detectron2.config import configurable
from torch import Tensor

from ...keys import check_values
from ...structures import SaliencyMaps
from ..detector import Detector
from ..feature_windows import (
    FeatureWindow,
    joined_windows,
    region_cells,
    stride,
    sum_of_levels,
    widened,
)
from ..fields import Fields
from ..forward_pass import ForwardPass
from ..layers import LayerError, layer_output, named_choices, recorded_output, warn_of_zeros
from .evidence import Evidence
from .head import SaliencyHead

DetectionWindows = Iterable[List[FeatureWindow]]
"""For each detection, the windows of its gradients."""


class CAMHead(SaliencyHead):
    """
    Base of the CAM family. A method implements :meth:`combine`, everything up to the final ReLU of
    its equation.

    Class attributes of a method:
        odd: True where ``combine(-g) = -combine(g)``, so that both directions of a coordinate come
            from one evaluation. A class that writes :meth:`combine` must write this, too: a wrong
            answer gives wrong maps without an error.
        moments: windows hold this many powers of the gradient, one after the other: (moments * 5,
            C, h, w).

    Raises:
        TypeError: when a subclass is defined that writes :meth:`combine` without ``odd``.
    """

    odd: bool
    moments = 1

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "combine" in vars(cls) and not isinstance(vars(cls).get("odd"), bool):
            raise TypeError(
                f"{cls.__name__} writes combine(), but does not say whether it is odd. Add `odd = "
                "True` to the class where combine(-g) = -combine(g) for every gradient g, and "
                "`odd = False` otherwise, as behind a ReLU of g."
            )

    @configurable
    def __init__(
        self,
        *,
        layer: str = "auto",
        coord_sign: str = "both",
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
            channels: use only these channels of A; empty: all.
            neurons: use only these cells (y, x) of A; empty: all. See the config key NEURONS.
            kwargs: arguments of :class:`SaliencyHead`.
        """
        check_values("MODEL.SALIENCY_HEAD", locals())
        super().__init__(**kwargs)
        self.layer = layer
        self.coord_sign = coord_sign
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
            "channels": head.CHANNELS,
            "neurons": neurons,
        }

    @property
    def margin(self) -> int:
        """
        Cells that a window has around the gradient. With one, a map that is resized falls to zero
        as the level's would.
        """
        return 1

    @abstractmethod
    def combine(self, evidence: Evidence) -> Tensor:
        """
        The method's equation up to its final ReLU, for T targets: (T, h, w) of the window, or
        (T, H, W) of the whole level.
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
                height, width = activations.shape[-2:]
                part = widened(part, self.margin, (height, width))
                cell = stride(clean.padded_size, (height, width))
                region = region_cells(box, cell, activations)
                gradient = part.gradient.float() / scale
                evidence = Evidence(
                    activations, totals[part.level], gradient, part.top, part.left, region
                )
                per_level.append(_placed(self._signed_map(evidence), evidence, cell))
            placed.append(sum_of_levels(per_level))
        maps, regions = zip(*placed)
        if self.layer != "auto":
            warn_of_zeros(self.layer, maps)
        return {
            "pred_saliency": SaliencyMaps(maps, torch.stack(regions), instances.image_size),
            **fields,
        }

    def feature_windows(
        self, detector: Detector, batched_input: Dict, clean: ForwardPass
    ) -> Tuple[Dict, DetectionWindows, Fields]:
        """Feature maps (1, C, H, W) by name, each detection's windows of gradients, more fields."""
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
                f"{tuple(sizes)}: {sizes[0]} channels of {sizes[1]} x {sizes[2]} cells."
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
        # Inward: x_min and y_min grow, x_max and y_max shrink.
        chosen["inward"] = torch.cat([positive[:2], negative[2:]])
        return torch.cat([m[:1], chosen[self.coord_sign]])


def level_windows(
    detector: Detector, forward_pass: ForwardPass, class_target: str
) -> List[Iterator[List[FeatureWindow]]]:
    """``detector.feature_gradients``; LayerError where an architecture has no known levels."""
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


def _placed(m: Tensor, evidence: Evidence, cell: Tuple[float, float]) -> Tuple[Tensor, Tensor]:
    """A map with the area (x0, y0, x1, y1) that it covers, in pixels of the network input."""
    height, width = m.shape[-2:]
    whole_level = m.shape[-2:] == evidence.activations.shape[-2:]
    left, top = (0, 0) if whole_level else (evidence.left, evidence.top)
    cells = m.new_tensor([left, top, left + width, top + height])
    return m, cells * cells.new_tensor([cell[1], cell[0]] * 2)
