"""
Deletion and insertion: does the detection go when the pixels of its map go, and come when they
come?
"""

from typing import Dict, Iterator, List, Sequence

import torch
from scipy.integrate import trapezoid
from torch import Tensor

from ..modeling.baselines import baseline_image
from .build import saliency_metric
from .explained_image import ExplainedImage

CURVES = ("deletion", "insertion")
SCORES = ("s1", "s2")


@saliency_metric(
    *(f"{way}_{s}" for way in CURVES for s in SCORES), lower=[f"deletion_{s}" for s in SCORES]
)
def deletion_insertion(image: ExplainedImage) -> List[Dict]:
    """
    Area under the curve of a detection's score over the share of pixels, most salient of the class
    map first, that

    - deletion turns from the image into a fill (lower is better),
    - insertion turns from a fill into the image (higher is better).

    The scores s1 and s2 are those of :func:`detection_scores`. Images are perturbed at the network
    input's resolution. What detections share (the image and the two fills) is computed once.

    Returns:
        for each detection the areas "deletion_s1", "deletion_s2", "insertion_s1", "insertion_s2",
        in [0, 1], and the curves "deletion_s1_curve", ...: ``num_steps + 1`` scores.
    """
    perturbed, settings = image.perturbed, image.settings
    full = perturbed.image
    ways = [
        (full, baseline_image(full, settings.deletion_fill)),
        (baseline_image(full, settings.insertion_fill), full),
    ]
    deleted, unseen = (perturbed.scores_of_all(i) for i in (ways[0][1], ways[1][0]))
    ends = [(perturbed.clean_scores, deleted), (unseen, perturbed.clean_scores)]
    counts = step_counts(full.shape[-2] * full.shape[-1], settings.num_steps)
    ranks = [pixel_ranks(m, settings.seed) for m in image.input_maps[:, 0].to(full.device)]
    between = (
        (i, x)
        for i, r in enumerate(ranks)
        for way in ways
        for x in transition(*way, r, counts[1:-1])
    )
    inner = perturbed.scores(between).view(
        len(ranks), len(CURVES), settings.num_steps - 1, len(SCORES)
    )
    results = []
    for i in range(len(ranks)):
        values = {}
        for way, (first, last), scores in zip(CURVES, ends, inner[i]):
            curves = torch.cat([first[i : i + 1], scores, last[i : i + 1]]).T.tolist()
            for name, curve in zip(SCORES, curves):
                values[f"{way}_{name}"] = area_under_curve(curve, counts)
                values[f"{way}_{name}_curve"] = curve
        results.append(values)
    return results


def pixel_ranks(saliency: Tensor, seed: int = 0) -> Tensor:
    """
    Place (H, W) of each pixel in descending order of a map (H, W), 0 first; ties in a random order,
    seeded.
    """
    flat = saliency.flatten()
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed)).to(flat.device)
    order = order[flat[order].argsort(descending=True, stable=True)]
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(flat), device=flat.device)
    return ranks.view_as(saliency)


def step_counts(num_pixels: int, num_steps: int) -> List[int]:
    """Count the pixels that are changed after 0, 1, ..., num_steps steps of equal area."""
    return [round(k * num_pixels / num_steps) for k in range(num_steps + 1)]


def transition(
    start: Tensor, end: Tensor, ranks: Tensor, counts: Sequence[int]
) -> Iterator[Tensor]:
    """
    Images (C, H, W) on the way from ``start`` to ``end``: the first n pixels by rank show the end.
    """
    for n in counts:
        yield torch.where(ranks < n, end, start)


def area_under_curve(scores: Sequence[float], counts: Sequence[int]) -> float:
    """Trapezoid rule over the share of pixels, 0 to 1."""
    return float(trapezoid(scores, [n / counts[-1] for n in counts]))
