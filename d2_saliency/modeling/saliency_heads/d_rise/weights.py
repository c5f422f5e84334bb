"""Weights of D-RISE: how much the outputs of a detector say of an object in a hidden image."""

import torch
from detectron2.structures import Instances
from torch import Tensor

from ...raw_outputs import RawOutputs, detection_similarity

COORD_SCALE = 0.1  # a coordinate that is off by this share of the box's side weighs 1/e

# Shape shorthand: N target objects, R raw outputs of one image, S of them for each target.


def output_weights(targets: Instances, raw: RawOutputs) -> Tensor:
    """
    Weigh an image by how well its best output speaks of each of the five outputs of N targets.

        class           max_j s(t, j)                                            D-RISE, Eq. (1)
        coordinate c    max_j s(t, j) * exp(-|c_t - c_j| / (0.1 * side))   ours; side: width, height

    Returns:
        Tensor: (N, 5), in [0, 1].
    """
    similarity = detection_similarity(targets, raw)
    if not len(raw.boxes):
        return similarity.new_zeros(len(targets), 5)
    most_similar = similarity.max(dim=1)
    first = _coordinate_weights(
        targets, raw, most_similar.values[:, None], most_similar.indices[:, None]
    )[..., 0]
    # An output that is less similar than this weighs less whatever its coordinates are. Nearly all
    # outputs of a dense detector are.
    close = (similarity > first.amin(0)[:, None]).any(dim=0).nonzero()[:, 0]
    rivals = close.expand(len(targets), -1)
    weights = _coordinate_weights(targets, raw, similarity.gather(1, rivals), rivals)
    return torch.stack(
        [most_similar.values, *torch.cat([weights, first[..., None]], dim=2).amax(2)], dim=1
    )


def _coordinate_weights(
    targets: Instances, raw: RawOutputs, similarity: Tensor, index: Tensor
) -> Tensor:
    """Weights (4, N, S) of the outputs ``index`` (N, S) whose similarity is given, (N, S)."""
    corners = targets.pred_boxes.tensor
    sides = (corners[:, 2:] - corners[:, :2]).clamp(min=1).repeat(1, 2)
    classes = (
        targets.pred_classes if raw.boxes.shape[1] > 1 else torch.zeros_like(targets.pred_classes)
    )
    boxes = raw.boxes[index, classes[:, None]]  # (N, S, 4)
    distance = (boxes - corners[:, None]).abs() / sides[:, None]
    return (similarity[..., None] * (-distance / COORD_SCALE).exp()).permute(2, 0, 1)
