"""
Windows of an image that hold nearly all of a detection's gradient, and the detector's input cut
down to them.
"""

from typing import Dict, NamedTuple

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

STEP = 32
"""
Pixels. Windows begin at multiples of it, so that cells of strides up to 32 lie as they lie in the
whole image.
"""


class ImageWindow(NamedTuple):
    """Rows top..bottom - 1 and columns left..right - 1 of the network input."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def of(self, image: Tensor) -> Tensor:
        """The part (..., h, w) of an image or of maps (..., H, W); a view."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def cut(self, batched_input: Dict, instances: Instances) -> tuple:
        """
        The input for this part alone, and the same detections in its pixels: boxes and classes.
        """
        image = self.of(batched_input["image"])
        shift = instances.pred_boxes.tensor.new_tensor([self.left, self.top] * 2)
        fields = {
            name: instances.get(name)
            for name in ("pred_classes", "target_classes")
            if instances.has(name)
        }
        fields["pred_boxes"] = Boxes(instances.pred_boxes.tensor - shift)
        size = {"height": image.shape[-2], "width": image.shape[-1]}
        return {**batched_input, "image": image, **size}, Instances(
            tuple(image.shape[-2:]), **fields
        )


def energy_window(maps: Tensor, box: Tensor, share: float = 0.99) -> ImageWindow:
    """
    The smallest of the windows around a box, grown by :data:`STEP` on each side, with that share of
    each map's sum.

    Args:
        maps: (5, H, W), >= 0, magnitudes of gradients.
        box: (4,), in pixels of the maps.
    """
    height, width = maps.shape[-2:]
    sums = torch.zeros(len(maps), height + 1, width + 1, dtype=torch.double, device=maps.device)
    sums[:, 1:, 1:] = maps.double().cumsum(1).cumsum(2)
    margin = STEP
    while True:
        window = _around(box, margin, height, width)
        top, left, bottom, right = window
        inside = (
            sums[:, bottom, right]
            - sums[:, top, right]
            - sums[:, bottom, left]
            + sums[:, top, left]
        )
        if window.area == height * width or bool((inside >= share * sums[:, -1, -1]).all()):
            return window
        margin += STEP


def _around(box: Tensor, margin: int, height: int, width: int) -> ImageWindow:
    x0, y0, x1, y1 = box.tolist()
    top, left = (max(0, int(v - margin)) // STEP * STEP for v in (y0, x0))
    bottom, right = (-(-int(v + margin) // STEP) * STEP for v in (y1, x1))
    return ImageWindow(
        min(top, height), min(left, width), max(min(bottom, height), 0), max(min(right, width), 0)
    )
