"""
The common part of RetinaNet and FCOS, whose head of convolutions makes predictions at every cell of
every level.
"""

from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import torch
from detectron2.modeling import detector_postprocess
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ...structures import OUTPUTS
from ..feature_windows import FeatureWindow
from ..forward_pass import ForwardPass
from ..raw_outputs import RawOutputs, class_probability, clipped, target_iou
from ..targets import check_classes, differentiable_targets
from .base import SaliencyMixin
from .dense_provenance import PROVENANCE, distance_to_outputs, trace
from .dense_windows import cut_windows, receptive_radius

# Shape shorthand: H, W a level's size in cells, A anchors per cell, K classes, R anchors of all
# levels.


class SaliencyDenseMixin(SaliencyMixin):
    """
    Explains dense detectors with ``backbone``, ``head``, ``anchor_generator`` and
    ``box2box_transform`` as RetinaNet's.

    An architecture says what its head predicts through ``prediction_layers``, ``prediction_sizes``,
    ``class_probs`` and ``class_log_odds``.

    Provenance fields: ``level`` (N,) index of the pyramid level, ``anchor_index`` (N,) index into
    the level's H * W * A anchors, cells in row-major order, the anchors of a cell together;
    ``anchor_boxes``, the anchors.
    """

    backbone: nn.Module
    head: Any
    head_in_features: List[str]
    num_classes: int
    anchor_generator: DefaultAnchorGenerator
    box2box_transform: Box2BoxTransform
    forward_inference: Callable[..., List[Instances]]

    # ---- what an architecture provides

    def prediction_layers(self) -> List[Tuple[nn.Module, nn.Module]]:
        """
        The subnet and the layer that make each prediction of the head (class logits, box deltas,
        ...).
        """
        raise NotImplementedError

    def prediction_sizes(self) -> List[int]:
        """The number of values that each of these predictions has for one anchor."""
        raise NotImplementedError

    def class_probs(self, logits: Tensor, *others: Tensor) -> Tensor:
        """
        Scores (..., K) as stock inference has them, of class logits (..., K) and the predictions
        after the box.
        """
        raise NotImplementedError

    def class_log_odds(self, logits: Tensor, *others: Tensor) -> Tensor:
        """
        The log-odds of :meth:`class_probs`, exact where these round to 1; see :mod:`..log_odds`.
        """
        raise NotImplementedError

    # ---- the questions of SaliencyMixin

    def run(
        self, batched_inputs: List[Dict], instances: Optional[List[Instances]] = None
    ) -> ForwardPass:
        images = self._preprocess(batched_inputs)
        features = self.backbone(images.tensor)
        features = {name: features[name] for name in self.head_in_features}
        if instances is None:
            with torch.no_grad():
                instances = self._find_instances(images, [f.detach() for f in features.values()])
        padded_size = tuple(images.tensor.shape[-2:])
        return ForwardPass([x["image"] for x in batched_inputs], features, padded_size, instances)

    def _find_instances(self, images, features: List[Tensor]) -> List[Instances]:
        """Stock inference, and the anchor of each detection, which stock inference forgets."""
        predictions = self.head(features)
        anchors = self.anchor_generator(features)
        # Stock inference applies sigmoid in place, to a view of its argument where there is one
        # anchor per cell.
        found = self.forward_inference(
            images, features, [[x.clone() for x in levels] for levels in predictions]
        )
        per_level = list(zip(*self._per_anchor(predictions)))
        for b, instances in enumerate(found):
            distances = []
            for (logits, deltas, *others), a in zip(per_level, anchors):
                scores = self.class_probs(logits[b], *(x[b] for x in others))
                boxes = self.box2box_transform.apply_deltas(deltas[b], a.tensor)
                distances.append(distance_to_outputs(instances, scores, boxes))
            if not trace(instances, distances, anchors):
                raise RuntimeError(
                    f"{type(self).__name__} returns scores that are none of its head's, so its "
                    "detections cannot be traced to anchors; explain it with META_ARCHITECTURE: "
                    "SaliencyGeneric."
                )
        return found

    def _per_anchor(self, predictions: List[List[Tensor]]) -> List[List[Tensor]]:
        """Each prediction of each level, (B, A * size, H, W) -> (B, H * W * A, size)."""
        sized = zip(predictions, self.prediction_sizes())
        return [[permute_to_N_HWA_K(x, size) for x in levels] for levels, size in sized]

    def outputs(self, forward_pass: ForwardPass) -> List[Instances]:
        predictions = self._per_anchor(self.head(list(forward_pass.features.values())))
        result = []
        for b, instances in enumerate(forward_pass.instances):
            where = list(zip(instances.level.tolist(), instances.anchor_index.tolist()))
            picked = [
                torch.stack([levels[i][b, j] for i, j in where]) if where else levels[0][b, :0]
                for levels in predictions
            ]
            result.append(self._with_outputs(instances, *picked))
        return result

    def raw_outputs(self, batched_inputs: List[Dict]) -> List[RawOutputs]:
        """One output for each anchor of all levels; its class vector is the score of each class."""
        with torch.no_grad():
            images = self._preprocess(batched_inputs)
            features = self.backbone(images.tensor)
            features = [features[name] for name in self.head_in_features]
            anchors = Boxes.cat(self.anchor_generator(features)).tensor
            logits, deltas, *others = (
                torch.cat(levels, dim=1) for levels in self._per_anchor(self.head(features))
            )
            result = []
            for size, scores, d in zip(
                images.image_sizes, self.class_probs(logits, *others), deltas
            ):
                boxes = self.box2box_transform.apply_deltas(d, anchors)[:, None]
                result.append(
                    RawOutputs(clipped(boxes, size), scores, scores.new_ones(len(scores)))
                )
            return result

    def locate(self, batched_inputs: List[Dict], objects: List[Instances]) -> ForwardPass:
        """
        The anchor that comes closest to finding each object: the highest score for its class among
        those that predict a box with an IoU of at least 0.5 with the object's, or of the one that
        overlaps most where there is none.
        """
        check_classes(objects, self.num_classes)
        located = self.run(batched_inputs, objects)
        anchors = self.anchor_generator(list(located.features.values()))
        first = torch.tensor([0, *(len(a) for a in anchors)], device=anchors[0].device).cumsum(0)
        given = []
        for found, raw in zip(objects, self.raw_outputs(batched_inputs)):
            iou = target_iou(found, raw)
            close = iou >= iou.amax(dim=1, keepdim=True).clamp(max=0.5)
            scores, index = class_probability(found, raw).masked_fill(~close, -1).max(dim=1)
            level = torch.searchsorted(first, index, right=True) - 1
            source = dict(
                level=level,
                anchor_index=index - first[level],
                anchor_boxes=Boxes.cat(anchors)[index],
            )
            source = {**found.get_fields(), **source, "scores": scores}
            given.append(Instances(found.image_size, **source))
        return replace(located, instances=given)

    def _with_outputs(
        self, instances: Instances, logits: Tensor, deltas: Tensor, *others: Tensor
    ) -> Instances:
        boxes = self.box2box_transform.apply_deltas(deltas, instances.anchor_boxes.tensor)
        probs, log_odds = self.class_probs(logits, *others), self.class_log_odds(logits, *others)
        outputs = dict(class_logits=logits, class_probs=probs, class_log_odds=log_odds)
        outputs.update(class_vectors=probs, raw_boxes=boxes)
        return Instances(instances.image_size, **instances.get_fields(), **outputs)

    def postprocess(
        self, batched_inputs: List[Dict], clean: ForwardPass, fields: List[Dict]
    ) -> List[Dict]:
        results = []
        for x, instances, extra in zip(batched_inputs, clean.instances, fields):
            for name in PROVENANCE:
                instances.remove(name)
            for name, value in extra.items():
                instances.set(name, value)
            height, width = instances.image_size
            size = x.get("height", height), x.get("width", width)
            results.append({"instances": detector_postprocess(instances, *size)})
        return results

    def feature_gradients(
        self, forward_pass: ForwardPass, class_target: str
    ) -> List[Iterator[List[FeatureWindow]]]:
        """
        The head on small windows instead of whole levels, one backward pass for each output of all
        detections.

        The head is a stack of convolutions, so an output depends on the cells within their joint
        radius. The windows are shifted inside the level, never padded: where one touches the border
        of the level, its own zero padding is that of the level, and elsewhere the padding is beyond
        the radius. Other heads (GroupNorm couples all cells of a level) are differentiated as a
        whole.
        """
        radii = [receptive_radius(layers) for layers in self.prediction_layers()]
        known = [radius for radius in radii if radius is not None]
        if len(known) < len(radii):
            return super().feature_gradients(forward_pass, class_target)
        radius, images = max(known), range(len(forward_pass.images))
        return [iter(self._window_gradients(forward_pass, b, radius, class_target)) for b in images]

    def _window_gradients(
        self, forward_pass: ForwardPass, b: int, radius: int, class_target: str
    ) -> List[List[FeatureWindow]]:
        instances, names = forward_pass.instances[b], list(forward_pass.features)
        result: List[List[FeatureWindow]] = [[] for _ in range(len(instances))]
        for level in instances.level.unique().tolist():
            members = (instances.level == level).nonzero()[:, 0]
            index = instances.anchor_index[members]
            feature = forward_pass.features[names[level]][b].detach()
            cells = torch.div(
                index, self.anchor_generator.num_anchors[level], rounding_mode="floor"
            )
            corners, windows = cut_windows(feature, cells, radius)
            predictions = self._read_windows(windows, index, cells, corners, feature.shape[-1])
            found = self._with_outputs(instances[members], *predictions)
            targets, slopes = differentiable_targets(found, class_target)
            gradient = torch.stack(
                [
                    torch.autograd.grad(targets[:, k].sum(), windows, retain_graph=True)[0]
                    for k in range(len(OUTPUTS))
                ],
                dim=1,
            )
            gradient = gradient * slopes[:, :, None, None, None]
            for i, (top, left), g in zip(members.tolist(), corners.tolist(), gradient):
                result[i].append(FeatureWindow(names[level], top, left, g))
        return result

    def _read_windows(
        self, windows: Tensor, index: Tensor, cells: Tensor, corners: Tensor, width: int
    ) -> List[Tensor]:
        """
        The predictions (n, size) for the anchors ``index`` from the windows (n, C, h, w) around
        their cells.
        """
        rows = torch.div(cells, width, rounding_mode="floor") - corners[:, 0]
        columns = cells % width - corners[:, 1]
        which = torch.arange(len(windows), device=windows.device)
        layers = self.prediction_layers()
        hidden = {subnet: subnet(windows) for subnet in {subnet for subnet, _ in layers}}
        values = []
        for (subnet, layer), size in zip(layers, self.prediction_sizes()):
            per_anchor = layer(hidden[subnet]).unflatten(1, (-1, size))  # (n, A, size, h, w)
            values.append(per_anchor[which, index % per_anchor.shape[1], :, rows, columns])
        return values
