"""The R-CNN family: Faster, Mask and Keypoint R-CNN on FPN or DC5, C4 models, Cascade R-CNN."""

from functools import singledispatch
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional

import torch
from detectron2.config import configurable
from detectron2.layers import ROIAlign
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ...structures import OUTPUTS
from ..feature_windows import FeatureWindow
from ..raw_outputs import RawOutputs, clipped
from ..roi_align import roi_align_matrices
from ..saliency_heads.build import build_saliency_head
from ..targets import instance_targets
from .base import ForwardPass, SaliencyMixin

# Shape shorthand: R RoIs of all images together, K foreground classes, P the pooler's output size.


class RoIOutputs(NamedTuple):
    """
    What the box head says of R RoIs.

    Attributes:
        logits, probs: (R, K + 1), before and after softmax, background last. Cascade averages them over its stages.
        boxes: (R, K, 4), or (R, 1, 4) for class-agnostic regression; decoded, not clipped.
    """

    logits: Tensor
    probs: Tensor
    boxes: Tensor


Pool = Callable[[List[Boxes]], Tensor]


@singledispatch
def roi_outputs(roi_heads: nn.Module, pool: Pool, proposals: List[Instances]) -> RoIOutputs:
    """
    The box branch of ``roi_heads`` as a function of pooled features. New kinds of RoI heads register here.

    Args:
        roi_heads: the stock module.
        pool: boxes of each image -> pooled features (R, C, P, P) of them all.
        proposals: for each image, ``Instances`` with ``proposal_boxes``.
    """
    raise TypeError(f"{type(roi_heads).__name__} is not a known kind of RoI heads.")


@roi_outputs.register
def _standard_outputs(heads: StandardROIHeads, pool: Pool, proposals: List[Instances]) -> RoIOutputs:
    predictions = heads.box_predictor(heads.box_head(pool([p.proposal_boxes for p in proposals])))
    return _decode(heads.box_predictor, predictions, proposals)


@roi_outputs.register
def _res5_outputs(heads: Res5ROIHeads, pool: Pool, proposals: List[Instances]) -> RoIOutputs:
    box_features = heads.res5(pool([p.proposal_boxes for p in proposals]))
    return _decode(heads.box_predictor, heads.box_predictor(box_features.mean(dim=[2, 3])), proposals)


@roi_outputs.register
def _cascade_outputs(heads: CascadeROIHeads, pool: Pool, proposals: List[Instances]) -> RoIOutputs:
    # Stock `_run_stage` scales the gradient of each stage down, for training; an explanation wants the true one.
    stages = []
    sizes = [p.image_size for p in proposals]
    for box_head, predictor in zip(heads.box_head, heads.box_predictor):
        if stages:
            boxes = stages[-1].boxes[:, 0].split([len(p) for p in proposals])
            proposals = heads._create_proposals_from_boxes(boxes, sizes)
        predictions = predictor(box_head(pool([p.proposal_boxes for p in proposals])))
        stages.append(_decode(predictor, predictions, proposals))
    mean = [sum(values) * (1.0 / len(stages)) for values in zip(*((s.logits, s.probs) for s in stages))]
    return RoIOutputs(mean[0], mean[1], stages[-1].boxes)


def _decode(predictor, predictions, proposals: List[Instances]) -> RoIOutputs:
    boxes = torch.cat(predictor.predict_boxes(predictions, proposals))
    probs = torch.cat(predictor.predict_probs(predictions, proposals))
    return RoIOutputs(predictions[0], probs, boxes.unflatten(1, (boxes.shape[1] // 4, 4)))


def box_pooler(roi_heads: nn.Module) -> nn.Module:
    return roi_heads.pooler if isinstance(roi_heads, Res5ROIHeads) else roi_heads.box_pooler


def box_levels(roi_heads: nn.Module) -> List[str]:
    return roi_heads.in_features if isinstance(roi_heads, Res5ROIHeads) else roi_heads.box_in_features


def _proposals(instances: Instances) -> Instances:
    return Instances(instances.image_size, proposal_boxes=instances.proposal_boxes)


def _with_outputs(instances: List[Instances], outputs: RoIOutputs) -> List[Instances]:
    """Put the outputs of all RoIs onto the instances they belong to."""
    result = []
    for found, *values in zip(instances, *(v.split([len(i) for i in instances]) for v in outputs)):
        logits, probs, boxes = values
        classes = found.pred_classes if boxes.shape[1] > 1 else torch.zeros_like(found.pred_classes)
        result.append(
            Instances(
                found.image_size,
                **found.get_fields(),
                class_logits=logits[:, :-1],
                class_probs=probs[:, :-1],
                class_vectors=probs,
                raw_boxes=boxes[torch.arange(len(found), device=boxes.device), classes],
            )
        )
    return result


class SaliencyRCNNMixin(SaliencyMixin):
    """
    Explains ``GeneralizedRCNN`` models with RoI heads known to :func:`roi_outputs`.

    Provenance field: ``proposal_boxes``, the RoI that a detection was computed from. Detectron2 detaches proposals,
    so a detection depends on the features through the RoIAlign of that RoI alone (METHODS section 2): explanations
    are of the second stage, given the proposal.
    """

    def run(self, batched_inputs: List[Dict], instances: Optional[List[Instances]] = None) -> ForwardPass:
        images = self._preprocess(batched_inputs)
        features = self.backbone(images.tensor)
        if instances is None:
            with torch.no_grad():
                detached = {name: f.detach() for name, f in features.items()}
                instances = self._find_instances(batched_inputs, images, detached)
        padded_size = tuple(images.tensor.shape[-2:])
        return ForwardPass([x["image"] for x in batched_inputs], features, padded_size, instances)

    def _find_instances(self, batched_inputs: List[Dict], images, features: Dict[str, Tensor]) -> List[Instances]:
        """Stock inference of the box branch, which also remembers the proposal of each detection."""
        proposals, outputs = self._all_outputs(batched_inputs, images, features)
        per_image = [len(p) for p in proposals]
        boxes, probs = outputs.boxes.flatten(1).split(per_image), outputs.probs.split(per_image)
        predictor = self.roi_heads.box_predictor
        predictor = predictor[-1] if isinstance(predictor, nn.ModuleList) else predictor
        thresholds = predictor.test_score_thresh, predictor.test_nms_thresh, predictor.test_topk_per_image
        found, kept = fast_rcnn_inference(boxes, probs, images.image_sizes, *thresholds)
        for i, k, p, b, s in zip(found, kept, proposals, boxes, probs):
            finite = b.isfinite().all(dim=1) & s.isfinite().all(dim=1)  # stock inference counts only these rows
            i.proposal_boxes = p.proposal_boxes[finite.nonzero()[:, 0][k]]
        return found

    def _all_outputs(self, batched_inputs: List[Dict], images, features: Dict[str, Tensor]):
        """The proposals of each image, and what the box branch says of all of them."""
        if self.proposal_generator is None:
            proposals = [x["proposals"].to(self.device) for x in batched_inputs]
        else:
            proposals, _ = self.proposal_generator(images, features, None)
        return proposals, roi_outputs(self.roi_heads, self._pool_from(features), proposals)

    def raw_outputs(self, batched_inputs: List[Dict]) -> List[RawOutputs]:
        """One output for each proposal; its class vector is the softmax with the background as last entry."""
        with torch.no_grad():
            images = self._preprocess(batched_inputs)
            proposals, outputs = self._all_outputs(batched_inputs, images, self.backbone(images.tensor))
            result = []
            per_image = [len(p) for p in proposals]
            for size, boxes, probs in zip(
                images.image_sizes, outputs.boxes.split(per_image), outputs.probs.split(per_image)
            ):
                result.append(RawOutputs(clipped(boxes, size), probs, probs.new_ones(len(probs))))
            return result

    def _pool_from(self, features: Dict[str, Tensor]) -> Pool:
        levels = [features[name] for name in box_levels(self.roi_heads)]
        return lambda boxes: box_pooler(self.roi_heads)(levels, boxes)

    def outputs(self, forward_pass: ForwardPass) -> List[Instances]:
        proposals = [_proposals(i) for i in forward_pass.instances]
        outputs = roi_outputs(self.roi_heads, self._pool_from(forward_pass.features), proposals)
        return _with_outputs(forward_pass.instances, outputs)

    def postprocess(self, batched_inputs: List[Dict], clean: ForwardPass, fields: List[Dict]) -> List[Dict]:
        for instances in clean.instances:
            instances.remove("proposal_boxes")
        results = self.roi_heads.forward_with_given_boxes(clean.features, clean.instances)
        for instances, extra in zip(results, fields):
            for name, value in extra.items():
                instances.set(name, value)
        return self._postprocess(results, batched_inputs, [i.image_size for i in results])

    def source_boxes(self, instances: Instances) -> Tensor:
        return instances.proposal_boxes.tensor

    def feature_gradients(self, forward_pass: ForwardPass, class_target: str) -> List[Iterator[List[FeatureWindow]]]:
        """
        Five backward passes of the box head serve all detections.

        With r_i the pooled features of detection i, the head treats RoIs independently in eval mode, so the gradient
        of sum_i y_i to r_i is dy_i/dr_i; the gradient to the feature level is RoIAlign^T of it.
        """
        pooler = box_pooler(self.roi_heads)
        if not all(isinstance(align, ROIAlign) for align in pooler.level_poolers):
            return super().feature_gradients(forward_pass, class_target)
        instances = forward_pass.instances
        pool = _RecordingPool(self._pool_from({n: f.detach() for n, f in forward_pass.features.items()}))
        outputs = roi_outputs(self.roi_heads, pool, [_proposals(i) for i in instances])
        targets = torch.cat([instance_targets(i, class_target) for i in _with_outputs(instances, outputs)])
        gradients = zip(
            *(
                torch.autograd.grad(targets[:, k].sum(), pool.pooled, retain_graph=True, materialize_grads=True)
                for k in range(len(OUTPUTS))
            )
        )
        stages = [torch.stack(g, dim=1) for g in gradients]  # for each use of the pooler, (R, 5, C, P, P)
        first, result = 0, []
        for b, found in enumerate(instances):
            boxes = [boxes_per_image[b] for boxes_per_image in pool.boxes]
            result.append(self._windows(forward_pass.features, boxes, [s[first : first + len(found)] for s in stages]))
            first += len(found)
        return result

    def _windows(
        self, features: Dict[str, Tensor], stage_boxes: List[Boxes], stage_gradients: List[Tensor]
    ) -> Iterator[List[FeatureWindow]]:
        """RoIAlign^T of the gradients (N, 5, C, P, P) of each pooled RoI of one image."""
        pooler = box_pooler(self.roi_heads)
        names = box_levels(self.roi_heads)
        assigned = [_pooler_levels(pooler, boxes) for boxes in stage_boxes]
        for i in range(len(stage_gradients[0])):
            windows = []
            for boxes, levels, gradients in zip(stage_boxes, assigned, stage_gradients):
                name, align = names[levels[i]], pooler.level_poolers[levels[i]]
                size = features[name].shape[-2:]
                top, left, rows, columns = roi_align_matrices(boxes.tensor[i].tolist(), align, *size)
                rows, columns = rows.to(gradients), columns.to(gradients)
                windows.append(FeatureWindow(name, top, left, rows.T @ gradients[i] @ columns))
            yield windows


class _RecordingPool:
    """A pool function whose results are leaves that gradients can be taken to, kept with their boxes."""

    def __init__(self, pool: Pool):
        self.pool, self.pooled, self.boxes = pool, [], []

    def __call__(self, boxes: List[Boxes]) -> Tensor:
        with torch.no_grad():
            pooled = self.pool(boxes)
        self.pooled.append(pooled.requires_grad_())
        self.boxes.append(boxes)
        return pooled


def _pooler_levels(pooler: nn.Module, boxes: Boxes) -> List[int]:
    """Index of the pyramid level that each box is pooled from."""
    if len(pooler.level_poolers) == 1 or not len(boxes):
        return [0] * len(boxes)
    levels = (pooler.min_level, pooler.max_level, pooler.canonical_box_size, pooler.canonical_level)
    return assign_boxes_to_levels([boxes], *levels).tolist()


@META_ARCH_REGISTRY.register()
class SaliencyRCNN(SaliencyRCNNMixin, GeneralizedRCNN):
    """
    ``GeneralizedRCNN`` that explains its detections; same configuration, same checkpoint keys.

    Args:
        saliency_head: a :class:`SaliencyHead`, or None for the stock behaviour.
        others: see :class:`GeneralizedRCNN`.
    """

    @configurable
    def __init__(self, *, saliency_head=None, **kwargs):
        super().__init__(**kwargs)
        self.saliency_head = saliency_head

    @classmethod
    def from_config(cls, cfg):
        return {**super().from_config(cfg), "saliency_head": build_saliency_head(cfg)}
