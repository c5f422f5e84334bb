"""A check that a model does what the kind that it is treated as does."""

from typing import Dict, List

import torch

from ..matching import match_repeated
from .base import SaliencyMixin


class ParityMixin(SaliencyMixin):
    """
    Compares the detections of the model's own inference with ours on the first images that have
    some; comes before the mixin of the kind.
    """

    _compared = False

    def forward(self, batched_inputs: List[Dict], *args, **kwargs):
        """
        See :meth:`SaliencyMixin.forward`.

        Raises:
            ValueError: the model detects something else than its kind would.
        """
        if not (self.training or self.saliency_head is None or self._compared):
            with torch.no_grad():
                self._compare(
                    [{**x, "image": x["image"].to(self.input_device)} for x in batched_inputs]
                )
        return super().forward(batched_inputs, *args, **kwargs)

    def _compare(self, batched_inputs: List[Dict]) -> None:
        expected = super(SaliencyMixin, self).forward(batched_inputs)
        clean = self.run(batched_inputs)
        found = self.postprocess(batched_inputs, clean, [{} for _ in batched_inputs])
        for a, b in zip(expected, found):
            own, ours = (r["instances"][r["instances"].pred_boxes.nonempty()] for r in (a, b))
            matched, _ = match_repeated(own, ours, iou_thresh=0.99, score_tol=1e-3)
            if not len(own) == len(ours) == len(matched):
                raise ValueError(
                    f"{type(self).__bases__[-1].__name__} cannot be treated as a known kind: of "
                    f"{len(own)} detections of its own inference {len(matched)} are among the "
                    f"{len(ours)} of that kind. Leave out kind= (or treat_as), so that it is "
                    "explained through the Instances it returns."
                )
            self._compared = self._compared or len(own) > 0
