"""
What every explainable architecture has in common: a forward that explains, and the questions that
heads ask.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

import torch
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn
from torch.nn import functional as F

from ...structures import SaliencyMaps
from ..feature_windows import FeatureWindow
from ..forward_pass import ForwardPass
from ..optimize import frozen_parameters
from ..raw_outputs import RawOutputs
from ..targets import differentiable_targets
from .backward import backward_from_features, backward_from_outputs, whole_level_windows

Module: Any = nn.Module if TYPE_CHECKING else object
"""
What a mixin's methods find on ``self``: those of the stock architecture, which comes after it.
"""


class SaliencyMixin(Module):
    """
    Makes a detector explain what it detects; comes before the stock architecture in the list of
    base classes.

    In training mode, and without a saliency head, ``forward`` is the stock one. In eval mode it
    returns the stock detections with the field ``pred_saliency`` (:class:`SaliencyMaps`) and
    whatever else the head adds.

    An architecture says how it works through ``run``, ``outputs`` and ``postprocess``; it overrides
    ``feature_gradients`` if it knows which part of which feature level a detection depends on.
    """

    knows_provenance = True
    """Whether ``run`` can read the proposal or anchor of a detection again in another image."""

    knows_log_odds = True
    """
    Whether ``outputs`` has ``class_log_odds``, so that a score that rounds to 1 keeps its gradient.
    """

    def forward(self, batched_inputs: List[Dict]):
        """
        Same input and output format as the stock architecture; ``instances`` have the additional
        fields.

        Raises:
            RuntimeError: under ``torch.inference_mode``, where no gradient exists.
        """
        if self.training or self.saliency_head is None:
            return super().forward(batched_inputs)
        refuse_inference_mode()
        batched_inputs = [{**x, "image": x["image"].to(self.input_device)} for x in batched_inputs]
        with torch.no_grad():
            clean = self.run(batched_inputs)
        with torch.enable_grad(), frozen_parameters(self):
            explained = [self._explain_image(x, clean, b) for b, x in enumerate(batched_inputs)]
        with torch.no_grad():
            return self.postprocess(batched_inputs, clean, explained)

    @property
    def input_device(self) -> torch.device:
        """Where images go: to the weights, or to the CPU for a model without any here."""
        return next(self.parameters(), torch.empty(0)).device

    def _explain_image(self, batched_input: Dict, clean: ForwardPass, index: int) -> Dict:
        """
        Fields that the head adds to the N detections of one image, empty maps where no map was
        asked for.
        """
        head, instances = self.saliency_head, clean.instances[index]
        keep = head.select(instances)
        explained = head(self, batched_input, clean.select(index, keep))
        num = len(instances)
        fields = {}
        for name, value in explained.items():
            if isinstance(value, SaliencyMaps):
                maps = SaliencyMaps.unexplained(num, value.image_size, value.device, value.outputs)
                for i, m, region in zip(keep.tolist(), value.maps, value.regions):
                    maps.maps[i], maps.regions[i] = m, region
                fields[name] = maps
            else:
                fields[name] = value.new_full((num, *value.shape[1:]), -1).index_copy(
                    0, keep, value
                )
        return fields

    def _preprocess(self, batched_inputs: List[Dict]) -> ImageList:
        """
        The architecture's own ``preprocess_image``, differentiable for any number of images.

        Stock ``ImageList.from_tensors`` copies images of a batch into views of one tensor, which
        autograd refuses.
        """
        # In half precision, stock pixel normalisation returns single precision, which the weights
        # refuse.
        batched_inputs = [
            {**x, "image": x["image"].to(self.pixel_mean.dtype)} for x in batched_inputs
        ]
        if len(batched_inputs) == 1 or not torch.is_grad_enabled():
            return self.preprocess_image(batched_inputs)
        singles = [self.preprocess_image([x]) for x in batched_inputs]
        height, width = (max(s.tensor.shape[d] for s in singles) for d in (-2, -1))
        padded = [
            F.pad(t, (0, width - t.shape[-1], 0, height - t.shape[-2]))
            for t in (s.tensor for s in singles)
        ]
        return ImageList(torch.cat(padded), [s.image_sizes[0] for s in singles])

    # ---- what an architecture provides

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
        All outputs of each image before the score threshold and NMS. For black-box methods and
        metrics.
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

        This default makes five backward passes for each detection; architectures that know better
        override it.

        Returns:
            For each image an iterator over its detections; each item lists the windows outside of
            which the detection's gradients are zero.
        """
        leaves = {name: f.detach().requires_grad_() for name, f in forward_pass.features.items()}
        outputs = self.outputs(replace(forward_pass, features=leaves))
        targets = [differentiable_targets(instances, class_target) for instances in outputs]
        return [whole_level_windows(y, slopes, b, leaves) for b, (y, slopes) in enumerate(targets)]

    # ---- what heads ask

    def input_gradients(
        self, forward_pass: ForwardPass, class_target: str = "score", layer: Optional[Tensor] = None
    ) -> Iterator[Tuple[int, int, Tensor]]:
        """
        Gradients of the five outputs of every detection to the pixels of its image, or to a layer's
        output.

        Backward passes are shared by the images of the batch, which do not depend on each other.

        Args:
            forward_pass: a pass whose images require gradients.
            class_target: see :func:`instance_targets`.
            layer: output (B, C, h, w) of a layer during that pass, to take the place of the pixels.

        Yields:
            (b, i, gradient): image, detection, and a tensor (5, C, H, W) or (5, C, h, w).
        """
        inputs = forward_pass.images if layer is None else [layer]
        if forward_pass.features:
            windows = self.feature_gradients(forward_pass, class_target)
            backward = backward_from_features(windows, forward_pass.features, inputs)
        else:
            backward = backward_from_outputs(self.outputs(forward_pass), inputs, class_target)
        for i, factors, gradients in backward:
            for b, factor in factors.items():
                gradient = gradients[b] if layer is None else gradients[0][:, b]
                yield b, i, gradient * factor[:, None, None, None]


def refuse_inference_mode() -> None:
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "Saliency maps need gradients, which torch.inference_mode() forbids; use "
            "torch.no_grad() instead."
        )
