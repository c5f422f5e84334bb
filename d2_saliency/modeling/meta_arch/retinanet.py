"""RetinaNet: class logits and box deltas for each anchor."""

from typing import List, Tuple

from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.structures import Instances
from torch import Tensor, nn

from ..log_odds import at_least_single
from .dense import SaliencyDenseMixin


class SaliencyRetinaNetMixin(SaliencyDenseMixin):
    """Explains ``RetinaNet`` models."""

    def prediction_layers(self) -> List[Tuple[nn.Module, nn.Module]]:
        return [
            (self.head.cls_subnet, self.head.cls_score),
            (self.head.bbox_subnet, self.head.bbox_pred),
        ]

    def prediction_sizes(self) -> List[int]:
        return [self.num_classes, 4]

    def class_probs(self, logits: Tensor, *others: Tensor) -> Tensor:
        return logits.sigmoid()

    def class_log_odds(self, logits: Tensor, *others: Tensor) -> Tensor:
        return at_least_single(logits)

    def source_boxes(self, instances: Instances) -> Tensor:
        return instances.anchor_boxes.tensor


@META_ARCH_REGISTRY.register()
class SaliencyRetinaNet(SaliencyRetinaNetMixin, RetinaNet):
    """``RetinaNet`` that explains its detections; same configuration, same checkpoint keys."""
