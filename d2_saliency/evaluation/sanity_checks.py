"""
Sanity checks: does a map belong to this image and this model? Stability under noise, and model
randomisation (Adebayo et al., 2018).
"""

import copy
from itertools import combinations
from typing import Dict, Iterator, List

import numpy as np
import torch
from scipy.stats import rankdata

from ..modeling.detector import Detector
from ..modeling.forward_pass import ForwardPass
from ..modeling.matching import match_instances
from ..modeling.meta_arch.base import SaliencyMixin, head_of
from ..modeling.noise import NoiseMixin, gaussian_noise
from ..modeling.optimize import frozen_parameters
from .build import saliency_metric
from .explained_image import ExplainedImage

IOU_THRESH = 0.7  # of a detection found again under noise, as in ODSmoothGrad
MAX_STAGES = 6  # of model randomisation
CORRELATIONS = ("class_correlation", "box_correlation")


@saliency_metric("found", "correlation", "matched")
def stability(image: ExplainedImage) -> List[Dict[str, float]]:
    """
    Measure how alike the maps of one detection in noisy copies of its image are.

    The image is explained anew with each of ``num_draws`` draws of noise, and its detections are
    found again.

    Returns:
        for each detection "found", the share of draws in which it was; "correlation", the mean
        Spearman correlation of its maps between two draws, over the five outputs (nan if it was
        found less than twice); and, from methods with noise passes of their own, "matched", the
        share of them in which it was found again.
    """
    settings, pixels = image.settings, image.batched_input["image"]
    draws: List[List[np.ndarray]] = [[] for _ in image.truth]
    for noise in gaussian_noise(pixels, settings.num_draws, settings.noise, settings.seed):
        with torch.no_grad():
            (result,) = image.model([{**image.batched_input, "image": pixels + noise}])
        found = result["instances"].to("cpu")
        found = found[found.pred_saliency.explained]
        index, partner = match_instances(image.instances.to("cpu"), found, IOU_THRESH)
        maps = found[partner].pred_saliency.resize(*found.image_size).numpy()
        for i, m in zip(index.tolist(), maps):
            draws[i].append(m)
    matched = _share_of_passes(image)
    return [
        {"found": len(d) / settings.num_draws, "correlation": _mean_correlation(d), **m}
        for d, m in zip(draws, matched)
    ]


def _share_of_passes(image: ExplainedImage) -> List[Dict[str, float]]:
    if not image.instances.has("num_samples"):
        return [{} for _ in image.truth]
    counts = zip(image.instances.num_matched.tolist(), image.instances.num_samples.tolist())
    return [{"matched": matched / passes} for matched, passes in counts]


def _mean_correlation(draws: List[np.ndarray]) -> float:
    pairs = [rank_correlation(a[k], b[k]) for a, b in combinations(draws, 2) for k in range(len(a))]
    return float(np.mean(pairs)) if pairs else float("nan")


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """
    Spearman correlation of two maps (H, W), in [-1, 1]: 0 if one of them is constant, 1 if both
    are.
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.ptp(a) == np.ptp(b))
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


@saliency_metric(*CORRELATIONS, lower=CORRELATIONS, provenance=True)
def model_randomisation(image: ExplainedImage) -> List[Dict]:
    """
    Measure how much of the maps is left when what the model has learned becomes noise, from its
    last layers to its first.

    A method whose maps stay alike does not explain the model: an edge detector would do as well.

    Note:
        The maps of a randomised model are those of the same proposals or anchors. "From the top" is
        the order in which layers ran, the last first, in at most 6 stages of about as many modules;
        a weight is redrawn from the normal distribution with its own mean and standard deviation,
        so that activations keep their scale.

    Returns:
        for each detection "class_correlation" and "box_correlation" (mean over the four
        coordinates), the Spearman correlation of its maps before and after all stages, and the
        curves "..._curve" over stages, which begin with 1.

    Raises:
        ValueError: the architecture does not say which proposal or anchor a detection came from.
    """
    if not image.model.knows_provenance:
        raise ValueError(
            "model_randomisation follows a detection's proposal or anchor, which are not known "
            f"for {type(image.model).__name__}: leave it out of the metrics."
        )
    model = copy.deepcopy(image.model)
    if isinstance(model.saliency_head, NoiseMixin):
        model.saliency_head.match = "index"  # a randomised model finds nothing again
    with torch.no_grad():
        clean = model.run([image.batched_input])
    targets = image.perturbed.targets
    _, same = match_instances(targets, clean.instances[0], IOU_THRESH)
    clean = clean.select(0, same)
    before = _explain(model, image, clean)
    curves = [np.ones(before.shape[:2])]
    for _ in randomisations(model, image.batched_input, image.settings.seed):
        with torch.no_grad():
            now = model.run([image.batched_input], clean.instances)
        after = _explain(model, image, now)
        curves.append(
            np.array(
                [[rank_correlation(x, y) for x, y in zip(a, b)] for a, b in zip(before, after)]
            )
        )
    return [_correlations(curve) for curve in np.stack(curves, axis=1)]


def _explain(model: SaliencyMixin, image: ExplainedImage, forward_pass: ForwardPass) -> np.ndarray:
    with torch.enable_grad(), frozen_parameters(model):
        fields = head_of(model)(model, image.batched_input, forward_pass)
    return fields["pred_saliency"].resize(*forward_pass.instances[0].image_size).cpu().numpy()


def _correlations(curve: np.ndarray) -> Dict:
    """Correlations (stages, 5) of one detection's maps by name."""
    parts = dict(zip(CORRELATIONS, (curve[:, 0], curve[:, 1:].mean(axis=1))))
    return {
        name: value
        for n, c in parts.items()
        for name, value in ((n, float(c[-1])), (f"{n}_curve", c.tolist()))
    }


def randomisations(model: Detector, batched_input: Dict, seed: int = 0) -> Iterator[List[str]]:
    """
    Redraw the weights of a model in place, stage by stage; yields the names of the modules of each
    stage.
    """
    generator = torch.Generator().manual_seed(seed)
    names = layers_by_run(model, batched_input)[::-1]
    for stage in np.array_split(names, min(MAX_STAGES, len(names))):
        for name in stage:
            weight = model.get_parameter(f"{name}.weight").data
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            weight.copy_(weight.mean() + weight.std() * noise)
        yield stage.tolist()


def layers_by_run(model: Detector, batched_input: Dict) -> List[str]:
    """Names of the modules with a weight matrix or kernel, in the order in which they first run."""
    layers = {
        m: n
        for n, m in model.named_modules()
        if getattr(getattr(m, "weight", None), "dim", lambda: 0)() > 1
    }
    order: Dict[str, None] = {}
    handles = [m.register_forward_hook(lambda m, *_: order.setdefault(layers[m])) for m in layers]
    try:
        with torch.no_grad():
            model.run([batched_input])
    finally:
        for handle in handles:
            handle.remove()
    return list(order)
