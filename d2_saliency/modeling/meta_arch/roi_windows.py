"""Windows of feature levels that RoIs were pooled from, and the gradients on them."""

from typing import Dict, Iterator, List, NamedTuple, Tuple

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import Tensor

from ..feature_windows import FeatureWindow
from ..roi_align import roi_align_matrices


class Read(NamedTuple):
    """
    One use of a pooler, whose result is a leaf that gradients can be taken to.

    Attributes:
        pooler, levels: the module, and the names of the levels it reads.
        boxes: pooled boxes of each image.
        pooled: (R, C, P, P), of all images together.
    """

    pooler: ROIPooler
    levels: List[str]
    boxes: List[Boxes]
    pooled: Tensor


class RecordingPool:
    """A pool function that remembers how it was used."""

    def __init__(self, pooler: ROIPooler, levels: List[str], features: Dict[str, Tensor]):
        self.pooler, self.levels, self.features = pooler, levels, features
        self.reads: List[Read] = []

    def __call__(self, boxes: List[Boxes]) -> Tensor:
        with torch.no_grad():
            pooled = self.pooler([self.features[name] for name in self.levels], boxes)
        self.reads.append(Read(self.pooler, self.levels, boxes, pooled.requires_grad_()))
        return pooled


def has_matrices(pooler: ROIPooler) -> bool:
    """Tell whether :func:`roi_align_matrices` knows all that a pooler does."""
    return all(isinstance(align, ROIAlign) for align in pooler.level_poolers)


def read_windows(
    features: Dict[str, Tensor], reads: List[Tuple[Read, Boxes, Tensor]]
) -> Iterator[List[FeatureWindow]]:
    """
    RoIAlign^T of the gradients of what one image's detections were read from.

    Args:
        reads: boxes of this image and gradients (N, 5, C, P, P), for each use of a pooler.
    """
    assigned = [_pooler_levels(read.pooler, boxes) for read, boxes, _ in reads]
    for i in range(len(reads[0][1])):
        windows = []
        for (read, boxes, gradients), levels in zip(reads, assigned):
            name, align = read.levels[levels[i]], read.pooler.level_poolers[levels[i]]
            size = features[name].shape[-2:]
            top, left, rows, columns = roi_align_matrices(boxes.tensor[i].tolist(), align, *size)
            rows, columns = rows.to(gradients), columns.to(gradients)
            windows.append(FeatureWindow(name, top, left, rows.T @ gradients[i] @ columns))
        yield windows


def _pooler_levels(pooler: ROIPooler, boxes: Boxes) -> List[int]:
    """Index of the pyramid level that each box is pooled from."""
    if len(pooler.level_poolers) == 1 or not len(boxes):
        return [0] * len(boxes)
    levels = (pooler.min_level, pooler.max_level, pooler.canonical_box_size, pooler.canonical_level)
    return assign_boxes_to_levels([boxes], *levels).tolist()
