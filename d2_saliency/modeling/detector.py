"""The contract between saliency heads and the detectors that they explain."""

from typing import Dict, Iterator, List, Optional, Tuple

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from .feature_windows import FeatureWindow
from .forward_pass import ForwardPass
from .raw_outputs import RawOutputs


class Detector(nn.Module):
    """
    A detector that answers the questions of saliency heads and metrics.

    An architecture implements ``run``, ``outputs``, ``raw_outputs``, ``locate`` and
    ``postprocess``; :class:`SaliencyMixin` answers the rest from these.
    """

    knows_provenance = True
    """Whether ``run`` can read the proposal or anchor of a detection again in another image."""

    knows_log_odds = True
    """
    Whether ``outputs`` has ``class_log_odds``, so that a score that rounds to 1 keeps its gradient.
    """

    @property
    def input_device(self) -> torch.device:
        """
        The device that images go to: that of the weights, or the CPU for a model without any here.
        """
        return next(self.parameters(), torch.empty(0)).device

    def run(
        self, batched_inputs: List[Dict], instances: Optional[List[Instances]] = None
    ) -> ForwardPass:
        """
        Run the detector; differentiable to the images that require gradients.

        Args:
            batched_inputs: dicts with "image" (C, H, W), as for ``forward``.
            instances: detections (of another pass) whose proposals or anchors shall be read again
                in these images; by default the detections of stock inference.
        """
        raise NotImplementedError

    def outputs(self, forward_pass: ForwardPass) -> List[Instances]:
        """
        The detections of a pass with ``raw_boxes``, ``class_logits``, ``class_probs`` and
        ``class_log_odds`` (see :mod:`..log_odds`) that carry its graph.

        Also ``class_vectors`` (N, V): class probabilities in the form of :meth:`raw_outputs`.
        """
        raise NotImplementedError

    def raw_outputs(self, batched_inputs: List[Dict]) -> List[RawOutputs]:
        """
        Return all outputs of each image before the score threshold and NMS, for black-box methods
        and metrics.
        """
        raise NotImplementedError

    def locate(self, batched_inputs: List[Dict], objects: List[Instances]) -> ForwardPass:
        """
        A pass whose detections are given objects, each with the proposal or anchor that can speak
        of it.

        Args:
            batched_inputs: B dicts with "image" (C, H, W).
            objects: for each image, ``pred_boxes`` in pixels of the network input and
                ``pred_classes``.

        Returns:
            ForwardPass: ``instances`` are the objects with ``scores``, what the model gives to
            their class there, and the architecture's provenance fields.

        Raises:
            ValueError: for a class that the model does not have.
        """
        raise NotImplementedError

    def postprocess(
        self, batched_inputs: List[Dict], clean: ForwardPass, fields: List[Dict]
    ) -> List[Dict]:
        """
        The stock output for a pass, with the given additional fields on the instances of each
        image.
        """
        raise NotImplementedError

    def source_boxes(self, instances: Instances) -> Tensor:
        """
        The boxes (N, 4), in pixels of the network input, that detections were computed from: RoIs
        or anchors.

        Where an architecture does not reveal them, the detected boxes.
        """
        return instances.pred_boxes.tensor

    def feature_gradients(
        self, forward_pass: ForwardPass, class_target: str
    ) -> List[Iterator[List[FeatureWindow]]]:
        """
        Exact gradients of the five outputs of every detection to ``forward_pass.features``.

        Returns:
            For each image an iterator over its detections; each item lists the windows outside of
            which the detection's gradients are zero.
        """
        raise NotImplementedError

    def input_gradients(
        self, forward_pass: ForwardPass, class_target: str = "score", layer: Optional[Tensor] = None
    ) -> Iterator[Tuple[int, int, Tensor]]:
        """
        Gradients of the five outputs of every detection to the pixels of its image, or to a layer's
        output.

        Backward passes are shared by the images of the batch, which do not depend on each other.

        Args:
            forward_pass: a pass whose images require gradients.
            class_target: as for :func:`instance_targets`.
            layer: output (B, C, h, w) of a layer during that pass, to take the place of the pixels.

        Yields:
            (b, i, gradient): image, detection, and a tensor (5, C, H, W) or (5, C, h, w).
        """
        raise NotImplementedError
