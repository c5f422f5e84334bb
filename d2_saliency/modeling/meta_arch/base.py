"""
The part that all explainable architectures share: their forward, which explains, and gradients.
"""

from dataclasses import replace
from typing import Callable, Dict, Iterator, List, Optional, Tuple, Union

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import ImageList
from torch import Tensor
from torch.nn import functional as F

from ...structures import SaliencyMaps
from ..detector import Detector
from ..feature_windows import FeatureWindow
from ..forward_pass import ForwardPass
from ..optimize import frozen_parameters, outside_autocast
from ..saliency_heads.build import build_saliency_head
from ..saliency_heads.head import SaliencyHead
from ..targets import differentiable_targets
from .backward import backward_from_features, backward_from_outputs, whole_level_windows


class SaliencyMixin(Detector):
    """
    Makes a detector explain what it detects. It comes before the stock architecture in the list of
    base classes.

    In training mode, and without a saliency head, ``forward`` is the stock one. In eval mode it
    returns the stock detections with the field ``pred_saliency`` (:class:`SaliencyMaps`) and
    whatever else the head adds.

    An architecture says how it works through the questions of :class:`Detector`; it overrides
    ``feature_gradients`` if it knows which part of which feature level a detection depends on.

    Args:
        saliency_head: the method, or None for the stock behaviour.
        kwargs: those of the stock architecture.
    """

    saliency_head: Optional[SaliencyHead]
    pixel_mean: Tensor
    preprocess_image: Callable[[List[Dict]], ImageList]

    @configurable
    def __init__(self, *, saliency_head: Optional[SaliencyHead] = None, **kwargs):
        super().__init__(**kwargs)
        self.saliency_head = saliency_head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        stock = super().from_config(cfg)  # type: ignore[misc]  # of the class that comes after
        return {**stock, "saliency_head": build_saliency_head(cfg)}

    def forward(self, batched_inputs: List[Dict], *args, **kwargs):
        """
        Same input and output format as the stock architecture; ``instances`` have the additional
        fields. A surrounding ``torch.autocast`` does not count: gradients need more digits than it
        leaves, so detections and maps are those of the model's own precision. Further
        arguments are those of a model that has some in training.

        Raises:
            TypeError: further arguments for an explanation.
            RuntimeError: under ``torch.inference_mode``, where no gradient exists.
        """
        if self.training or self.saliency_head is None:
            return super().forward(batched_inputs, *args, **kwargs)
        if args or kwargs:
            raise TypeError(
                f"{type(self).__name__} explains the detections that its forward returns without "
                "further arguments: pass the batch alone."
            )
        refuse_inference_mode()
        batched_inputs = [{**x, "image": x["image"].to(self.input_device)} for x in batched_inputs]
        with outside_autocast(self.input_device):
            with torch.no_grad():
                clean = self.run(batched_inputs)
            with torch.enable_grad(), frozen_parameters(self):
                explained = [
                    self._explain_image(self.saliency_head, x, clean, b)
                    for b, x in enumerate(batched_inputs)
                ]
            with torch.no_grad():
                return self.postprocess(batched_inputs, clean, explained)

    def _explain_image(
        self, head: SaliencyHead, batched_input: Dict, clean: ForwardPass, index: int
    ) -> Dict:
        """
        Fields that the head adds to the N detections of one image, empty maps where no map was
        asked for.
        """
        instances = clean.instances[index]
        keep = head.select(instances)
        explained = head(self, batched_input, clean.select(index, keep))
        num = len(instances)
        fields: Dict[str, Union[SaliencyMaps, Tensor]] = {}
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
        # Stock pixel normalisation returns single precision. Weights in half precision refuse it.
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

    def feature_gradients(
        self, forward_pass: ForwardPass, class_target: str
    ) -> List[Iterator[List[FeatureWindow]]]:
        """Five backward passes for each detection. Architectures that know better override it."""
        leaves = {name: f.detach().requires_grad_() for name, f in forward_pass.features.items()}
        outputs = self.outputs(replace(forward_pass, features=leaves))
        targets = [differentiable_targets(instances, class_target) for instances in outputs]
        return [whole_level_windows(y, slopes, b, leaves) for b, (y, slopes) in enumerate(targets)]

    def input_gradients(
        self, forward_pass: ForwardPass, class_target: str = "score", layer: Optional[Tensor] = None
    ) -> Iterator[Tuple[int, int, Tensor]]:
        """The images of a batch, which do not depend on each other, share backward passes."""
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


def head_of(model: SaliencyMixin) -> SaliencyHead:
    """The model's saliency head; ValueError where there is none."""
    if model.saliency_head is None:
        raise ValueError(f"{type(model).__name__} has no saliency_head to explain with: set one.")
    return model.saliency_head


def refuse_inference_mode() -> None:
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "Saliency maps need gradients, which torch.inference_mode() forbids; use "
            "torch.no_grad() instead."
        )
