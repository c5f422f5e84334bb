"""
Objects that the user names by box and class, whether the model detects them or not. Their maps
answer why one was missed.
"""

from typing import Dict, Tuple

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from .meta_arch.base import SaliencyMixin, head_of, refuse_inference_mode
from .optimize import frozen_parameters, outside_autocast
from .saliency_heads.build import black_box_methods

SAME_OBJECT_IOU = 0.5  # a detection of the same class with a larger IoU detects the object


def explain_objects(
    model: SaliencyMixin, batched_input: Dict, boxes: Tensor, classes: Tensor
) -> Instances:
    """
    Explain objects that the user names with the model's saliency head.

    A two-stage model reads the given boxes as proposals; of a RetinaNet the anchor that comes
    closest to finding the object is explained (:meth:`SaliencyMixin.locate`). Black-box methods ask
    which parts of the image make any output more like the object: this box, and this class alone.

    Args:
        model: a result of :func:`explainable`.
        batched_input: the image, as for the model's forward.
        boxes: (N, 4), pixels of the network input; clipped to it.
        classes: (N,), long, indices of classes.

    Returns:
        Instances: the N objects in pixels of the network input, with ``pred_boxes``,
        ``pred_classes``, ``pred_saliency`` and the method's other fields, ``scores`` (what the
        model gives to the class there) and ``detected`` (bool: whether it outputs the class there,
        with an IoU above 0.5 and a score above the head's ``score_thresh``).

    Raises:
        ValueError: for an empty box, one outside of the image, a class that the model does not
            have, or a method that cannot explain a given box on this architecture.
    """
    refuse_inference_mode()
    head = head_of(model)
    if not model.knows_provenance and not head.black_box:
        raise ValueError(
            f"{type(head).__name__} cannot explain a given box of {type(model).__name__}, whose "
            f"proposals or anchors are not known; use {' or '.join(black_box_methods())}."
        )
    image = batched_input["image"].to(model.input_device)
    batched_input = {**batched_input, "image": image}
    objects = _named_objects(
        boxes.to(image.device), classes.to(image.device), tuple(image.shape[-2:])
    )
    with outside_autocast(image.device):
        with torch.no_grad():
            found = model.run([batched_input]).instances[0]
            objects.detected = _is_detected(objects, found[found.scores > head.score_thresh])
            clean = model.locate([batched_input], [objects])
        with torch.enable_grad(), frozen_parameters(model):
            fields = head(model, batched_input, clean)
    scores = clean.instances[0].scores.detach()
    return Instances(
        objects.image_size,
        pred_boxes=objects.pred_boxes,
        pred_classes=objects.pred_classes,
        scores=scores,
        detected=objects.detected,
        **fields,
    )


def check_boxes(boxes: Tensor, image_size: Tuple[int, int]) -> None:
    """
    Raise ValueError for a box (x_min, y_min, x_max, y_max) that has no area inside of an image
    (height, width).
    """
    clipped = Boxes(boxes.nan_to_num())
    clipped.clip(image_size)
    valid = boxes.isfinite().all(dim=1) & clipped.nonempty()
    for given, is_valid in zip(boxes.tolist(), valid.tolist()):
        if not is_valid:
            raise ValueError(
                f"The box {', '.join(f'{v:g}' for v in given)} has no area inside of the image of "
                f"{image_size[1]} x {image_size[0]} pixels; give x_min, y_min, x_max, y_max."
            )


def _named_objects(boxes: Tensor, classes: Tensor, image_size: Tuple[int, int]) -> Instances:
    boxes = boxes.float().reshape(-1, 4)
    check_boxes(boxes, image_size)
    clipped = Boxes(boxes.clone())
    clipped.clip(image_size)
    return Instances(image_size, pred_boxes=clipped, pred_classes=classes, target_classes=classes)


def _is_detected(objects: Instances, found: Instances) -> Tensor:
    """(N,) bool: whether a detection of an object's class overlaps with it."""
    same_class = objects.pred_classes[:, None] == found.pred_classes[None]
    return (
        same_class & (pairwise_iou(objects.pred_boxes, found.pred_boxes) > SAME_OBJECT_IOU)
    ).any(dim=1)
