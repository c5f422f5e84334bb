"""
Average drop and increase: how much of the score do the pixels that the map shows keep (Grad-CAM++,
section 4.1)?
"""

from typing import Dict, List, Tuple

import torch
from torch import Tensor

from .build import saliency_metric
from .explained_image import ExplainedImage


@saliency_metric("drop", "increase", lower=("drop",))
def average_drop(image: ExplainedImage) -> List[Dict[str, float]]:
    """
    The class score of a detection in its explanation image E = M / max(M) * image, at the network
    input's resolution:

        drop     = 100 * max(0, Y - O) / Y        Y, O: s1 of the detection in the image and in E
        increase = 100 if O > Y else 0

    The win % of a comparison (:func:`win_percentages`) counts who has the smallest drop.

    Note:
        A constant map shows the whole image, so that its drop is 0: this metric cannot tell it from
        a good one. A map of zeros shows nothing.

    Returns:
        for each detection "drop", "increase", in percent.
    """
    perturbed = image.perturbed
    maps = image.input_maps[:, 0].to(perturbed.image.device)
    shown = ((i, explanation_image(perturbed.image, m)) for i, m in enumerate(maps))
    after, before = perturbed.scores(shown)[:, 0].tolist(), perturbed.clean_scores[:, 0].tolist()
    return [dict(zip(("drop", "increase"), drop_and_increase(y, o))) for y, o in zip(before, after)]


def explanation_image(image: Tensor, saliency: Tensor) -> Tensor:
    """
    An image (C, H, W) multiplied by a map (H, W) that is divided by its maximum; black for a map of
    zeros.
    """
    peak = saliency.amax()
    return image * (saliency / peak if peak > 0 else torch.zeros_like(saliency))


def drop_and_increase(before: float, after: float) -> Tuple[float, float]:
    """Percent of a score > 0 that is lost, and 100 if it is higher than before."""
    return 100 * max(0.0, before - after) / before, 100.0 * (after > before)
