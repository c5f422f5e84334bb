"""
Holds what a model of unknown architecture returned: checked, with boxes, in pixels of its input.
"""

import logging
from functools import cache
from typing import Any, Dict, List

import torch
from detectron2.structures import BitMasks, Boxes, Instances

from ..saliency_heads.build import black_box_methods

logger = logging.getLogger(__name__)

FIELDS = ("pred_boxes", "scores", "pred_classes")


def checked_results(results: Any, batched_inputs: List[Dict], model: str) -> List[Dict]:
    """
    Check what a model returned for some images.

    Where all boxes are empty and there are masks, as of Mask2Former, boxes are made of the masks.

    Raises:
        ValueError: for anything but a dict for each image with "instances" that have upright boxes,
            scores and classes in pixels of the image that was asked for.
    """
    num_images = len(batched_inputs)
    if not isinstance(results, (list, tuple)) or len(results) != num_images:
        shown = (
            f"{len(results)} results"
            if isinstance(results, (list, tuple))
            else type(results).__name__
        )
        raise ValueError(
            f"{model} returned {shown} for {num_images} images; a list with a dict for each is "
            "needed."
        )
    for x, result in zip(batched_inputs, results):
        instances: Any = result.get("instances") if isinstance(result, dict) else None
        missing = ["instances"]
        if isinstance(instances, Instances):
            missing = [name for name in FIELDS if not instances.has(name)]
        if missing:
            needed = ", ".join(FIELDS)
            raise ValueError(
                f"{model} returned no {', '.join(missing)}; Instances with {needed} are needed."
            )
        boxes = instances.pred_boxes
        if boxes.tensor.shape[1] != 4:
            raise ValueError(
                f"{model} returned {type(boxes).__name__}; only upright boxes can be explained."
            )
        size = tuple(instances.image_size)
        asked = x.get("height", size[0]), x.get("width", size[1])
        if size != asked:
            raise ValueError(
                f"{model} returned detections in an image of {size} pixels, but its input's "
                f"'height' and 'width' ask for {asked}; scale them with "
                "detectron2.modeling.detector_postprocess(instances, height, width)."
            )
        if instances.has("pred_masks") and len(instances) and not boxes.nonempty().any():
            instances.pred_boxes = _boxes_of_masks(instances)
            _warn_once(
                f"{model} returned boxes without area: those of its masks take their place. They "
                "have no gradient, so methods that differentiate explain the class alone; "
                f"{' or '.join(black_box_methods())} explains coordinates, too."
            )
    return list(results)


def in_input_pixels(result: Instances, image_size) -> Instances:
    """
    The three fields that every detector has, with boxes scaled from the output's size to the
    network input's.
    """
    height, width = int(image_size[0]), int(image_size[1])
    boxes = result.pred_boxes.tensor
    scale = boxes.new_tensor([width / result.image_size[1], height / result.image_size[0]] * 2)
    return Instances(
        (height, width),
        pred_boxes=Boxes((boxes * scale).detach()),
        scores=result.scores,
        pred_classes=result.pred_classes,
        raw_boxes=boxes * scale,
    )


def _boxes_of_masks(instances: Instances) -> Boxes:
    """The boxes around the masks, with the type and the device of the boxes that are there."""
    masks = instances.pred_masks
    masks = masks.tensor if isinstance(masks, BitMasks) else torch.as_tensor(masks)
    boxes = BitMasks(masks > 0.5).get_bounding_boxes().tensor
    return Boxes(boxes.to(instances.pred_boxes.tensor))


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)
