"""
Panoptic FPN: an R-CNN whose detections are explained, beside a semantic segmentation that stays as
it is.
"""

from typing import Dict, List

from detectron2.modeling import META_ARCH_REGISTRY, PanopticFPN
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.modeling.postprocessing import sem_seg_postprocess
from torch import nn

from ..forward_pass import ForwardPass
from .rcnn import SaliencyRCNNMixin


class SaliencyPanopticFPNMixin(SaliencyRCNNMixin):
    """
    Explains the "instances" of ``PanopticFPN`` models; "sem_seg" and "panoptic_seg" are the stock
    ones.
    """

    sem_seg_head: nn.Module
    combine_overlap_thresh: float
    combine_stuff_area_thresh: float
    combine_instances_score_thresh: float

    def postprocess(
        self, batched_inputs: List[Dict], clean: ForwardPass, fields: List[Dict]
    ) -> List[Dict]:
        sizes = [instances.image_size for instances in clean.instances]
        segmentations, _ = self.sem_seg_head(clean.features, None)
        results = super().postprocess(batched_inputs, clean, fields)
        for result, segmentation, size, x in zip(results, segmentations, sizes, batched_inputs):
            height, width = x.get("height", size[0]), x.get("width", size[1])
            result["sem_seg"] = sem_seg_postprocess(segmentation, size, height, width)
            result["panoptic_seg"] = combine_semantic_and_instance_outputs(
                result["instances"],
                result["sem_seg"].argmax(dim=0),
                self.combine_overlap_thresh,
                self.combine_stuff_area_thresh,
                self.combine_instances_score_thresh,
            )
        return results


@META_ARCH_REGISTRY.register()
class SaliencyPanopticFPN(SaliencyPanopticFPNMixin, PanopticFPN):
    """``PanopticFPN`` that explains its detections; same configuration, same checkpoint keys."""
