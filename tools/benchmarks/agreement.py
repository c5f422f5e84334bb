"""Compares our gradients with captum's, with the same noise."""

import torch

from .detector import Bench
from .measure import agreement
from .peers import noise_tunnel_map


def od_smoothgrad_agreement(bench: Bench, num_samples: int = 2) -> float:
    """
    Spearman of the class maps of the best detection; ours is explained with the noise that captum
    drew.
    """
    theirs, noise = noise_tunnel_map(bench, 0, 0, num_samples)
    model = bench.ours("ODSmoothGrad", 1, num_samples=num_samples)
    with torch.no_grad():
        clean = model.run([bench.inputs])
    clean = clean.select(0, torch.tensor([0]))
    with torch.enable_grad():
        found = model.saliency_head.explain(model, bench.inputs, clean, noise=noise)
    if int(found["num_matched"]) < num_samples:
        raise RuntimeError(
            "The best detection is not found again under the benchmark's noise: lower its SIGMA."
        )
    return agreement(found["pred_saliency"].maps[0][0], theirs)
