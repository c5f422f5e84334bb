"""Coordinate deletion: how far does an edge of the box move when the pixels of its map go?"""

from typing import Dict, List

from torch import Tensor

from ..modeling.baselines import baseline_image
from ..structures import OUTPUTS
from .build import saliency_metric
from .deletion_insertion import pixel_ranks, transition
from .explained_image import ExplainedImage

COORDINATES = OUTPUTS[1:]


@saliency_metric(
    "own", "others", *COORDINATES, *(f"{name}_px" for name in COORDINATES), lower=("others",)
)
def coordinate_deletion(image: ExplainedImage) -> List[Dict[str, float]]:
    """
    The most salient pixels of each coordinate's map are deleted, as many as ``coordinate_area`` of
    the box's area, and the detection is looked for: its box is that of the raw output with the
    largest s2 (:func:`found_boxes`).

    Images are perturbed at the network input's resolution.

    Note:
        No paper has this metric. A good map moves its own edge, and not the others.

    Returns:
        for each detection and coordinate c: c, the share of the box's side that the edge moves by
        (see :func:`edge_moves`), and ``<c>_px``, the same in pixels of the original image; "own",
        the mean of the four shares; and "others", the mean share that the other three edges move
        by in the meantime.
    """
    perturbed, settings = image.perturbed, image.settings
    start, end = perturbed.image, baseline_image(perturbed.image, settings.deletion_fill)
    maps = image.input_maps[:, 1:].to(start.device)
    counts = [
        round(settings.coordinate_area * area)
        for area in perturbed.targets.pred_boxes.area().tolist()
    ]
    ranks = ((i, n, pixel_ranks(m, settings.seed)) for i, n in enumerate(counts) for m in maps[i])
    boxes = perturbed.boxes((i, next(transition(start, end, r, [n]))) for i, n, r in ranks)
    moves = edge_moves(perturbed.clean_boxes, boxes.view(-1, 4, 4)).cpu()
    corners = image.instances.pred_boxes.tensor.cpu()
    sides = (corners[:, 2:] - corners[:, :2]).repeat(1, 2)
    return [_named(m, s) for m, s in zip(moves, sides)]


def edge_moves(before: Tensor, after: Tensor) -> Tensor:
    """
    Measure by which share of the box's side each edge moves.

    An edge that moves by more than the side counts as moved by the side; so does that of a
    detection that is gone.

    Args:
        before: (N, 4), boxes.
        after: (N, M, 4), what they become; nan where the detection is gone.

    Returns:
        Tensor: (N, M, 4), in [0, 1].
    """
    sides = (before[:, 2:] - before[:, :2]).repeat(1, 2)[:, None]
    return ((after - before[:, None]).abs() / sides).nan_to_num(nan=1.0).clamp(max=1)


def _named(moves: Tensor, sides: Tensor) -> Dict[str, float]:
    """
    Moves (4, 4) of the edges (columns) when each coordinate's pixels (rows) are deleted; sides (4,)
    in pixels.
    """
    own = moves.diagonal()
    pixels = dict(zip((f"{name}_px" for name in COORDINATES), (own * sides).tolist()))
    others = (moves.sum() - own.sum()) / (moves.numel() - len(own))
    return {
        **dict(zip(COORDINATES, own.tolist())),
        **pixels,
        "own": own.mean().item(),
        "others": others.item(),
    }
