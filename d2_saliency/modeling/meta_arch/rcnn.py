"""The R-CNN family: Faster, Mask and Keypoint R-CNN on FPN or DC5, C4 models, Cascade R-CNN."""

from typing import Callable, Dict, Iterator, List, Optional

import torch
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.modeling.roi_heads import ROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Instances
from torch import Tensor, nn

from ...structures import OUTPUTS
from ..feature_windows import FeatureWindow
from ..forward_pass import ForwardPass
from ..raw_outputs import RawOutputs, clipped
from ..targets import check_classes, differentiable_targets
from .base import SaliencyMixin
from .roi_outputs import (
    Pool,
    RoIOutputs,
    box_levels,
    box_pooler,
    mask_levels,
    mask_logits,
    mask_pooler,
    roi_outputs,
)
from .roi_windows import Read, RecordingPool, has_matrices, read_windows


def _proposals(instances: Instances) -> Instances:
    return Instances(instances.image_size, proposal_boxes=instances.proposal_boxes)


def _with_outputs(instances: List[Instances], outputs: RoIOutputs) -> List[Instances]:
    """Put the outputs of all RoIs onto the instances they belong to."""
    result = []
    for found, *values in zip(instances, *(v.split([len(i) for i in instances]) for v in outputs)):
        logits, probs, log_odds, boxes = values
        classes = found.pred_classes if boxes.shape[1] > 1 else torch.zeros_like(found.pred_classes)
        result.append(
            Instances(
                found.image_size,
                **found.get_fields(),
                class_logits=logits[:, :-1],
                class_probs=probs[:, :-1],
                class_log_odds=log_odds[:, :-1],
                class_vectors=probs,
                raw_boxes=boxes[torch.arange(len(found), device=boxes.device), classes],
            )
        )
    return result


class SaliencyRCNNMixin(SaliencyMixin):
    """
    Explains ``GeneralizedRCNN`` models with RoI heads known to :func:`roi_outputs`.

    Provenance field: ``proposal_boxes``, the RoI that a detection was computed from. Detectron2
    detaches proposals, so a detection depends on the features through the RoIAlign of that RoI
    alone: explanations are of the second stage, given the proposal.
    """

    device: torch.device
    backbone: nn.Module
    proposal_generator: Optional[nn.Module]
    roi_heads: ROIHeads
    _postprocess: Callable[..., List[Dict]]

    def run(
        self, batched_inputs: List[Dict], instances: Optional[List[Instances]] = None
    ) -> ForwardPass:
        images = self._preprocess(batched_inputs)
        features = self.backbone(images.tensor)
        if instances is None:
            with torch.no_grad():
                detached = {name: f.detach() for name, f in features.items()}
                instances = self._find_instances(batched_inputs, images, detached)
        padded_size = tuple(images.tensor.shape[-2:])
        return ForwardPass([x["image"] for x in batched_inputs], features, padded_size, instances)

    def _find_instances(
        self, batched_inputs: List[Dict], images, features: Dict[str, Tensor]
    ) -> List[Instances]:
        """
        Stock inference of the box branch, which also remembers the proposal of each detection.
        """
        proposals, outputs = self._all_outputs(batched_inputs, images, features)
        per_image = [len(p) for p in proposals]
        boxes, probs = outputs.boxes.flatten(1).split(per_image), outputs.probs.split(per_image)
        predictor = self.roi_heads.box_predictor
        predictor = predictor[-1] if isinstance(predictor, nn.ModuleList) else predictor
        thresholds = (
            predictor.test_score_thresh,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )
        found, kept = fast_rcnn_inference(boxes, probs, images.image_sizes, *thresholds)
        for i, k, p, b, s in zip(found, kept, proposals, boxes, probs):
            # Stock inference counts only these rows.
            finite = b.isfinite().all(dim=1) & s.isfinite().all(dim=1)
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
        """
        One output for each proposal; its class vector is the softmax with the background as last
        entry.
        """
        with torch.no_grad():
            images = self._preprocess(batched_inputs)
            proposals, outputs = self._all_outputs(
                batched_inputs, images, self.backbone(images.tensor)
            )
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

    def locate(self, batched_inputs: List[Dict], objects: List[Instances]) -> ForwardPass:
        """Second stage alone: the boxes of the objects are its proposals."""
        check_classes(objects, self.roi_heads.num_classes)
        given = [
            Instances(o.image_size, **{**o.get_fields(), "proposal_boxes": o.pred_boxes})
            for o in objects
        ]
        located = self.run(batched_inputs, given)
        for found, outputs in zip(given, self.outputs(located)):
            found.scores = outputs.class_probs.gather(1, found.pred_classes[:, None])[:, 0]
        return located

    def postprocess(
        self, batched_inputs: List[Dict], clean: ForwardPass, fields: List[Dict]
    ) -> List[Dict]:
        for instances in clean.instances:
            instances.remove("proposal_boxes")
        results = self.roi_heads.forward_with_given_boxes(clean.features, clean.instances)
        for instances, extra in zip(results, fields):
            for name, value in extra.items():
                instances.set(name, value)
        return self._postprocess(results, batched_inputs, [i.image_size for i in results])

    def source_boxes(self, instances: Instances) -> Tensor:
        return instances.proposal_boxes.tensor

    def feature_gradients(
        self, forward_pass: ForwardPass, class_target: str
    ) -> List[Iterator[List[FeatureWindow]]]:
        """
        Five backward passes of the box head serve all detections.

        With r_i the pooled features of detection i, the head treats RoIs independently in eval
        mode, so the gradient of sum_i y_i to r_i is dy_i/dr_i; the gradient to the feature level is
        RoIAlign^T of it.
        """
        heads, instances = self.roi_heads, forward_pass.instances
        if not has_matrices(box_pooler(heads)):
            return super().feature_gradients(forward_pass, class_target)
        features = {name: f.detach() for name, f in forward_pass.features.items()}
        pool = RecordingPool(box_pooler(heads), box_levels(heads), features)
        found = _with_outputs(
            instances, roi_outputs(heads, pool, [_proposals(i) for i in instances])
        )
        reads = pool.reads
        if class_target == "mask":
            reads = reads + self._add_mask_logits(found, features)
        targets, slopes = (
            torch.cat(t) for t in zip(*(differentiable_targets(i, class_target) for i in found))
        )
        pooled = [read.pooled for read in reads]
        gradients = zip(
            *(
                torch.autograd.grad(
                    targets[:, k].sum(), pooled, retain_graph=True, materialize_grads=True
                )
                for k in range(len(OUTPUTS))
            )
        )
        slopes, per_image = slopes[:, :, None, None, None], [len(i) for i in instances]
        # (N, 5, C, P, P) for each use of a pooler and each image
        per_read = [(torch.stack(g, dim=1) * slopes).split(per_image) for g in gradients]
        return [
            read_windows(
                features, [(read, read.boxes[b], g[b]) for read, g in zip(reads, per_read)]
            )
            for b in range(len(instances))
        ]

    def _add_mask_logits(
        self, instances: List[Instances], features: Dict[str, Tensor]
    ) -> List[Read]:
        """Put ``mask_logits`` (N,) onto the instances; returns what was read for them."""
        heads = self.roi_heads
        pool = RecordingPool(mask_pooler(heads), mask_levels(heads), features)
        if not has_matrices(pool.pooler):
            raise ValueError(
                "MODEL.SALIENCY_HEAD.MASK_OUTPUT needs ROI_MASK_HEAD.POOLER_TYPE ROIAlign or "
                "ROIAlignV2."
            )
        logits = mask_logits(heads, pool, instances)
        for found, own in zip(instances, logits.split([len(i) for i in instances])):
            found.mask_logits = own
        return pool.reads


@META_ARCH_REGISTRY.register()
class SaliencyRCNN(SaliencyRCNNMixin, GeneralizedRCNN):
    """``GeneralizedRCNN`` that explains its detections; same keys of config and checkpoint."""
