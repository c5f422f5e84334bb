"""The fields that methods add to detections."""

from typing import TypedDict

from torch import Tensor

from ..structures import SaliencyMaps


class Fields(TypedDict, total=False):
    """
    The fields that a method adds to N detections.

    Attributes:
        pred_saliency: the five maps; every method has them.
        pred_mask_saliency: the map of the mask, where MASK_OUTPUT asks for it.
        num_matched, num_samples: (N,), noise passes in which the detection was found again, and
            those that were made.
        num_masks: (N,), masks that a map was made from.
        num_overflowed: (N, 5), cells of a map that were not finite; absent where all are.
        rounded_score: (N,), 1 where a score rounds to 1 and only scores are known; absent where
            none does.
    """

    pred_saliency: SaliencyMaps
    pred_mask_saliency: SaliencyMaps
    num_matched: Tensor
    num_samples: Tensor
    num_masks: Tensor
    num_overflowed: Tensor
    rounded_score: Tensor
