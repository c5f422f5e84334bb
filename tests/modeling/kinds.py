"""
ToyDetectors, whose gradients are known in closed form, with one habit each; what they must explain.
"""

import torch

from d2_saliency.modeling.saliency_heads import Gradient
from d2_saliency.testing import ToyDetector


def toy(cls, **attributes):
    """A random ToyDetector of 3 objects that has the habit of a class."""
    model = ToyDetector.random()
    model.__class__ = cls
    vars(model).update(attributes)
    return model


def picture(seed=0):
    pixels = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(seed)) * 255
    return {"image": pixels}


def true_maps(model, found):
    """Gradient's class map of each detection: the largest |d score / dx| of a pixel's channels."""
    weights, scores = model.class_weights[found.pred_classes], found.scores[:, None, None, None]
    return (scores * (1 - scores) * weights).abs().amax(1)


def explained(model, x, **options):
    model.saliency_head = Gradient(score_thresh=0.0, **options)
    with torch.no_grad():
        return model([x])[0]["instances"]


def assert_right(stock, found):
    expected, maps = true_maps(stock, found), found.pred_saliency.resize(24, 32)[:, 0]
    assert len(found) and (maps - expected).abs().max() <= 1e-4 * expected.max()
