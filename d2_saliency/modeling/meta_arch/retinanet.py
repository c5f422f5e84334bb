"""RetinaNet: dense heads whose outputs depend on a small window of one pyramid level."""

from typing import Dict, Iterator, List, Optional, Tuple

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, detector_postprocess
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ...structures import OUTPUTS
from ..feature_windows import FeatureWindow
from ..raw_outputs import RawOutputs, clipped
from ..saliency_heads.build import build_saliency_head
from ..targets import instance_targets
from .base import ForwardPass, SaliencyMixin

# Shape shorthand: H, W a level's size in cells, A anchors per cell, K classes, R anchors of all levels.

PROVENANCE = ("level", "anchor_index", "anchor_boxes")


class SaliencyRetinaNetMixin(SaliencyMixin):
    """
    Explains ``RetinaNet`` models.

    Provenance fields: ``level`` (N,) index of the pyramid level, ``anchor_index`` (N,) index into the level's
    H * W * A anchors, cells in row-major order, the anchors of a cell together; ``anchor_boxes``, the anchors.
    """

    def run(self, batched_inputs: List[Dict], instances: Optional[List[Instances]] = None) -> ForwardPass:
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
        logits, deltas = self.head(features)
        anchors = self.anchor_generator(features)
        # Stock inference applies sigmoid in place, to a view of its argument where there is one anchor per cell.
        found = self.forward_inference(images, features, [[x.clone() for x in logits], deltas])
        scores = [permute_to_N_HWA_K(x, self.num_classes).sigmoid() for x in logits]
        deltas = [permute_to_N_HWA_K(x, 4) for x in deltas]
        for b, instances in enumerate(found):
            levels = zip(scores, deltas, anchors)
            per_level = [
                _distance_to_outputs(instances, s[b], self.box2box_transform.apply_deltas(d[b], a.tensor))
                for s, d, a in levels
            ]
            nearest = [d.min(dim=1) for d in per_level]
            instances.level = torch.stack([n.values for n in nearest]).argmin(dim=0)
            index = torch.stack([n.indices for n in nearest])
            instances.anchor_index = index.gather(0, instances.level[None])[0]
            first = torch.tensor([0, *(len(a) for a in anchors)], device=index.device).cumsum(0)
            instances.anchor_boxes = Boxes.cat(anchors)[first[instances.level] + instances.anchor_index]
        return found

    def outputs(self, forward_pass: ForwardPass) -> List[Instances]:
        features = list(forward_pass.features.values())
        logits, deltas = self.head(features)
        logits = [permute_to_N_HWA_K(x, self.num_classes) for x in logits]
        deltas = [permute_to_N_HWA_K(x, 4) for x in deltas]
        result = []
        for b, instances in enumerate(forward_pass.instances):
            where = list(zip(instances.level.tolist(), instances.anchor_index.tolist()))
            picked = [(logits[i][b, j], deltas[i][b, j]) for i, j in where]
            empty = logits[0].new_zeros(0, self.num_classes), deltas[0].new_zeros(0, 4)
            z, d = (torch.stack(v) for v in zip(*picked)) if picked else empty
            result.append(self._with_outputs(instances, z, d))
        return result

    def raw_outputs(self, batched_inputs: List[Dict]) -> List[RawOutputs]:
        """One output for each anchor of all levels; its class vector is the sigmoid of each class."""
        with torch.no_grad():
            images = self._preprocess(batched_inputs)
            features = self.backbone(images.tensor)
            features = [features[name] for name in self.head_in_features]
            logits, deltas = self.head(features)
            anchors = Boxes.cat(self.anchor_generator(features)).tensor
            probs = torch.cat([permute_to_N_HWA_K(x, self.num_classes) for x in logits], dim=1).sigmoid()
            deltas = torch.cat([permute_to_N_HWA_K(x, 4) for x in deltas], dim=1)
            result = []
            for size, p, d in zip(images.image_sizes, probs, deltas):
                boxes = self.box2box_transform.apply_deltas(d, anchors)[:, None]
                result.append(RawOutputs(clipped(boxes, size), p, p.new_ones(len(p))))
            return result

    def _with_outputs(self, instances: Instances, logits: Tensor, deltas: Tensor) -> Instances:
        boxes = self.box2box_transform.apply_deltas(deltas, instances.anchor_boxes.tensor)
        probs = logits.sigmoid()
        outputs = dict(class_logits=logits, class_probs=probs, class_vectors=probs, raw_boxes=boxes)
        return Instances(instances.image_size, **instances.get_fields(), **outputs)

    def postprocess(self, batched_inputs: List[Dict], clean: ForwardPass, fields: List[Dict]) -> List[Dict]:
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

    def source_boxes(self, instances: Instances) -> Tensor:
        return instances.anchor_boxes.tensor

    def feature_gradients(self, forward_pass: ForwardPass, class_target: str) -> List[Iterator[List[FeatureWindow]]]:
        """
        The head on small windows instead of whole levels, one backward pass for each output of all detections.

        The head is a stack of convolutions, so an output depends on the cells within their joint radius. The windows
        are shifted inside the level, never padded: where one touches the border of the level, its own zero padding
        is that of the level, and elsewhere the padding is beyond the radius. Other heads (GroupNorm couples all cells
        of a level) are differentiated as a whole.
        """
        subnets = [(self.head.cls_subnet, self.head.cls_score), (self.head.bbox_subnet, self.head.bbox_pred)]
        radii = [_receptive_radius(modules) for modules in subnets]
        if None in radii:
            return super().feature_gradients(forward_pass, class_target)
        radius, images = max(radii), range(len(forward_pass.images))
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
            cells = torch.div(index, self.anchor_generator.num_anchors[level], rounding_mode="floor")
            corners, windows = _cut_windows(feature, cells, radius)
            logits, deltas = self._read_windows(windows, index, cells, corners, feature.shape[-1])
            outputs = self._with_outputs(instances[members], logits, deltas)
            targets = instance_targets(outputs, class_target)
            gradient = torch.stack(
                [torch.autograd.grad(targets[:, k].sum(), windows, retain_graph=True)[0] for k in range(len(OUTPUTS))],
                dim=1,
            )
            for i, (top, left), g in zip(members.tolist(), corners.tolist(), gradient):
                result[i].append(FeatureWindow(names[level], top, left, g))
        return result

    def _read_windows(
        self, windows: Tensor, index: Tensor, cells: Tensor, corners: Tensor, width: int
    ) -> Tuple[Tensor, Tensor]:
        """Class logits (n, K) and box deltas (n, 4) of the anchors ``index`` from the windows (n, C, h, w)."""
        head = self.head
        rows = torch.div(cells, width, rounding_mode="floor") - corners[:, 0]
        columns = cells % width - corners[:, 1]
        which = torch.arange(len(windows), device=windows.device)

        def read(predictions: Tensor, size: int) -> Tensor:
            per_anchor = predictions.unflatten(1, (-1, size))  # (n, A, size, h, w)
            return per_anchor[which, index % per_anchor.shape[1], :, rows, columns]

        logits = read(head.cls_score(head.cls_subnet(windows)), self.num_classes)
        return logits, read(head.bbox_pred(head.bbox_subnet(windows)), 4)


def _distance_to_outputs(instances: Instances, scores: Tensor, boxes: Tensor) -> Tensor:
    """
    How far each of N detections is from what each of R anchors says, to find the anchor it came from.

    Detections are copies of anchors' outputs, so one distance is 0, or as small as rounding; anchors with another
    score for the detection's class are out of the question.

    Returns:
        Tensor: (N, R), in pixels; inf where the scores differ.
    """
    same_score = (scores.T[instances.pred_classes] - instances.scores[:, None]).abs() < 1e-6
    distance = torch.cdist(instances.pred_boxes.tensor, boxes, p=1)
    return distance.masked_fill(~same_score, float("inf"))


def _receptive_radius(modules: Tuple[nn.Module, nn.Module]) -> Optional[int]:
    """Radius in cells of a stack of stride-1 convolutions and pointwise activations; None for any other module."""
    radius = 0
    for module in (m for part in modules for m in part.modules() if not list(m.children())):
        if isinstance(module, nn.Conv2d):
            same_size = all(
                2 * p == d * (k - 1) for p, d, k in zip(module.padding, module.dilation, module.kernel_size)
            )
            if module.stride != (1, 1) or not same_size or module.padding_mode != "zeros":
                return None
            radius += max(module.padding)
        elif not isinstance(module, (nn.ReLU, nn.Identity)):
            return None
    return radius


def _cut_windows(feature: Tensor, cells: Tensor, radius: int) -> Tuple[Tensor, Tensor]:
    """
    Windows of a level (C, H, W) around n cells, shifted inside the level.

    Returns:
        corners (n, 2) as (top, left), and the windows (n, C, h, w), leaves that gradients can be taken to.
    """
    height, width = feature.shape[-2:]
    h, w = min(2 * radius + 1, height), min(2 * radius + 1, width)
    top = (torch.div(cells, width, rounding_mode="floor") - radius).clamp(0, height - h)
    left = (cells % width - radius).clamp(0, width - w)
    windows = [feature[:, y : y + h, x : x + w] for y, x in zip(top.tolist(), left.tolist())]
    return torch.stack([top, left], dim=1), torch.stack(windows).requires_grad_()


@META_ARCH_REGISTRY.register()
class SaliencyRetinaNet(SaliencyRetinaNetMixin, RetinaNet):
    """
    ``RetinaNet`` that explains its detections; same configuration, same checkpoint keys.

    Args:
        saliency_head: a :class:`SaliencyHead`, or None for the stock behaviour.
        others: see :class:`RetinaNet`.
    """

    @configurable
    def __init__(self, *, saliency_head=None, **kwargs):
        super().__init__(**kwargs)
        self.saliency_head = saliency_head

    @classmethod
    def from_config(cls, cfg):
        return {**super().from_config(cfg), "saliency_head": build_saliency_head(cfg)}
