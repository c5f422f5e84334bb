"""
Asks a detector about given detections in perturbed copies of their image, at the resolution of its
input.
"""

from typing import Any, Dict, Iterable, Iterator, List, Tuple

import torch
from detectron2.structures import Instances
from torch import Tensor

from ..modeling.batching import FORWARD_BATCH, reproducible_batch_size, run_in_batches
from ..modeling.raw_outputs import (
    RawOutputs,
    best,
    class_probability,
    detection_similarity,
    target_iou,
)

IOU_THRESH = 0.5  # of s1: an output with more overlap speaks of the detection


class PerturbedImage:
    """
    Asks a detector about N detections in copies of one image, and scores them by the best of its
    raw outputs.

    Attributes:
        image: (C, H, W), the network input, 0..255, float.
        targets: the detections in pixels of the network input, with ``class_vectors`` (N, V).
        clean_scores: (N, 2), see :func:`detection_scores`, in the image as it is.
        clean_boxes: (N, 4), see :func:`found_boxes`.
    """

    def __init__(self, model, batched_input: Dict[str, Any], targets: Instances, batch_size: int):
        device = model.input_device
        self._model = model
        self._batch_size = reproducible_batch_size(batch_size, device, FORWARD_BATCH)
        self._input = batched_input
        self.image: Tensor = batched_input["image"].to(device).float()
        self.targets = targets.to(device)
        (_, clean), *_ = self.outputs([(None, self.image)])
        self.targets.class_vectors = class_vectors(self.targets, clean)
        self.clean_scores = detection_scores(self.targets, clean)
        self.clean_boxes = found_boxes(self.targets, clean)

    def outputs(self, images: Iterable[Tuple[Any, Tensor]]) -> Iterator[Tuple[Any, RawOutputs]]:
        """
        Raw outputs of perturbed images, computed in batches.

        Args:
            images: pairs of anything (say, the detection that the image is for) and an image (C, H,
                W).

        Yields:
            the first of each pair, and the outputs.
        """

        def compute(batch: List[Tuple[Any, Tensor]]) -> List[Tuple[Any, RawOutputs]]:
            raw = self._model.raw_outputs([{**self._input, "image": image} for _, image in batch])
            return [(tag, r) for (tag, _), r in zip(batch, raw)]

        for results in run_in_batches(
            images, self._batch_size, compute, "TEST.SALIENCY.BATCH_SIZE"
        ):
            yield from results

    def scores(self, images: Iterable[Tuple[int, Tensor]]) -> Tensor:
        """Scores (M, 2) of detection i in each of M images, given as pairs (i, image)."""
        scores = [detection_scores(self.targets[i : i + 1], raw) for i, raw in self.outputs(images)]
        # There are none if one step leads from the first image to the last.
        return torch.cat([self.clean_scores[:0], *scores])

    def boxes(self, images: Iterable[Tuple[int, Tensor]]) -> Tensor:
        """
        Box (M, 4) of detection i in each of M images, given as pairs (i, image), see
        :func:`found_boxes`.
        """
        return torch.stack(
            [found_boxes(self.targets[i : i + 1], raw)[0] for i, raw in self.outputs(images)]
        )

    def scores_of_all(self, image: Tensor) -> Tensor:
        """Scores (N, 2) of all detections in one image."""
        (_, raw), *_ = self.outputs([(None, image)])
        return detection_scores(self.targets, raw)


def detection_scores(targets: Instances, raw: RawOutputs) -> Tensor:
    """
    Measure how present each of N detections is in R raw outputs of an image, as (N, 2):

        s1 = max_j P_j(class of t)  over outputs j with IoU(t, j) > 0.5
        s2 = max_j IoU(t, j) * cos(P_t, P_j)                              SSGrad-CAM++, Eq. (11)

    P: class-probability vectors before score threshold and NMS. s2 is also multiplied by the
    objectness of j where the model has one (D-RISE), which for a model known only by its Instances
    is their score. Both are in [0, 1].
    """
    near = target_iou(targets, raw) > IOU_THRESH
    s1 = best(class_probability(targets, raw) * near)
    return torch.stack([s1, best(detection_similarity(targets, raw))], dim=1)


def found_boxes(targets: Instances, raw: RawOutputs) -> Tensor:
    """
    The box (N, 4) that the output with the largest s2 gives to each detection; nan where no output
    has any.
    """
    boxes = torch.full((len(targets), 4), float("nan"), device=targets.scores.device)
    similarity = detection_similarity(targets, raw)
    for i, class_id in enumerate(targets.pred_classes.tolist()):
        if best(similarity[i : i + 1]) > 0:
            boxes[i] = raw.boxes_of(class_id)[similarity[i].argmax()]
    return boxes


def class_vectors(targets: Instances, raw: RawOutputs) -> Tensor:
    """
    P_t (N, V) of N detections: of the raw output that each detection is, known by its box and
    score.

    Raises:
        RuntimeError: there are no outputs at all.
    """
    if not len(raw.boxes):
        raise RuntimeError(
            "The model finds nothing when it runs on the same image again: it is not deterministic."
        )
    difference = (class_probability(targets, raw) - targets.scores[:, None]).abs()
    return raw.vectors[(target_iou(targets, raw) - difference).argmax(dim=1)]
