"""A detector whose answers to perturbed images can be worked out by hand."""

import torch

from d2_saliency import explainable
from d2_saliency.evaluation import ExplainedImage, MetricSettings
from d2_saliency.modeling.saliency_heads import Gradient
from d2_saliency.structures import SaliencyMaps
from d2_saliency.testing import ToyDetector

HEIGHT, WIDTH = 4, 8
LAMP = (slice(1, 3), slice(2, 4))  # its four pixels


def lamp_detector(logit_per_pixel: float = 50.0, moves: float = 0.0):
    """
    Sees one object, box (1, 0, 6, 4), while at least one of the four pixels of the lamp is lit
    (255).

    Args:
        logit_per_pixel: that a lit pixel (of three channels) adds to the class logit; the score of
            a dark lamp is 0.5, below the threshold.
        moves: pixels by which x_min is larger when the pixel in row 0, column 7 is lit.
    """
    class_weights, box_weights = (
        torch.zeros(1, 3, HEIGHT, WIDTH),
        torch.zeros(1, 4, 3, HEIGHT, WIDTH),
    )
    class_weights[0][:, LAMP[0], LAMP[1]] = logit_per_pixel / (3 * 255)
    box_weights[0, 0, :, 0, 7] = moves / (3 * 255)
    anchors = torch.tensor([[1.0, 0, 6, 4]])
    model = explainable(ToyDetector(anchors, class_weights, box_weights, score_thresh=0.55).eval())
    model.saliency_head = Gradient(score_thresh=0.0)
    return model


def lit_image() -> torch.Tensor:
    image = torch.zeros(3, HEIGHT, WIDTH)
    image[:, LAMP[0], LAMP[1]] = 255
    return image


def explained_lamp(model, maps, image=None, **settings) -> ExplainedImage:
    """
    The lamp's detection with these maps (5, h, w), or with its class map (h, w) in all five places.
    """
    image = lit_image() if image is None else image
    with torch.no_grad():
        (result,) = model([{"image": image}])
    instances = result["instances"]
    maps = maps if maps.dim() == 3 else maps.expand(5, -1, -1)
    instances.pred_saliency = SaliencyMaps.full_image(maps[None].float(), (HEIGHT, WIDTH))
    settings = MetricSettings(**{"deletion_fill": "black", "insertion_fill": "black", **settings})
    return ExplainedImage(model, {"image": image}, instances, [None], settings)
