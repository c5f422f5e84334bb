"""The record of one run of a detector, which heads work with and ask the detector about."""

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from detectron2.structures import Instances
from torch import Tensor


@dataclass
class ForwardPass:
    """
    One run of a detector over a batch of B images.

    Attributes:
        images: B tensors (C, H, W), float, 0..255, the network inputs before pixel normalisation
            and padding.
        features: level name -> (B, C, h, w), what the detections are read from. Its graph leads to
            ``images`` if those require gradients. Empty for architectures that are only known by
            their ``Instances``.
        padded_size: (height, width) that the batch of images was padded to, in pixels.
        instances: B ``Instances`` with N_b detections each, in pixels of the network input: the
            stock fields and the architecture's provenance fields (the proposal or anchor that each
            detection was computed from).
    """

    images: List[Tensor]
    features: Dict[str, Tensor]
    padded_size: Tuple[int, int]
    instances: List[Instances]
    results: Optional[List[Dict]] = None
    """The stock output for the user, where ``run`` has it already."""

    def select(self, index: int, keep: Tensor) -> "ForwardPass":
        """The part of this pass that belongs to image ``index`` and its detections ``keep``."""
        features = {name: f[index : index + 1] for name, f in self.features.items()}
        return ForwardPass(
            [self.images[index]], features, self.padded_size, [self.instances[index][keep]]
        )
