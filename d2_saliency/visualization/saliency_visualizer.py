"""
Draws saliency maps for people: heat on a picture, and the row "image | class | x_min | y_min |
x_max | y_max".

What the colours mean, everywhere in this package: a map is blurred lightly (Gaussian, sigma 0.4 %
of the picture's diagonal) and divided by its own maximum. Colour and opacity are that share, so
that the photo stays readable where the map says nothing. The blur makes gradient maps visible,
whose few strongest pixels stand alone and would be all that is left of them after a division by the
maximum. It was preferred to clipping at a high percentile, which depends on how much of the picture
an object fills: for a small one, most of what is shown above the percentile is background noise.
The scale is linear and starts at 0. A map that is zero everywhere has no maximum: it is marked,
never stretched.
"""

from typing import List, Sequence, Tuple

import cv2
import matplotlib
import numpy as np
from detectron2.structures import Instances
from detectron2.utils.visualizer import VisImage, Visualizer

from ..results.class_names import class_name
from ..results.flags import noise_flags
from ..structures import OUTPUTS

BLUR = 0.004
"""Sigma of the blur as a share of the diagonal of the picture that is shown."""

COLOR_MAP = np.rint(matplotlib.colormaps["plasma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
"""uint8 (256, 3), RGB: perceptually uniform and safe for colour-blind people."""

EDGE_COLOR = "#00e5ff"  # not in the colour map
MAX_OPACITY = 0.85
MAX_MAP_SIDE = 2048  # pixels of the longer side of a map before it is laid on a larger picture
# Rows of a picture that are coloured at once. Floats of 100 million pixels would take gigabytes.
ROWS = 512

Line = Tuple[List[float], List[float]]
"""A line from (xs[0], ys[0]) to (xs[1], ys[1]), as (xs, ys)."""


def display_maps(maps: np.ndarray) -> np.ndarray:
    """
    Blur maps and divide each by its maximum, as described at the top of this file.

    Args:
        maps: (K, H, W), raw, >= 0, aligned with the picture

    Returns:
        ndarray: float32 (K, H, W), 0..1. A map without a positive, finite value is all zero.
    """
    maps = np.nan_to_num(np.asarray(maps, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    sigma = BLUR * float(np.hypot(*maps.shape[-2:]))
    peaks = maps.max(axis=(-2, -1), initial=0.0)
    shown = np.zeros_like(maps)
    for k in np.flatnonzero(peaks):
        # The map is divided before the blur, too: 1e-40 times the kernel would be zero.
        blurred = cv2.GaussianBlur(maps[k] / peaks[k], (0, 0), sigma)
        shown[k] = blurred / blurred.max()
    return shown


def overlay(image: np.ndarray, shown: np.ndarray, alpha: float = MAX_OPACITY) -> np.ndarray:
    """
    Lay one map on a picture, coloured, the more opaque the higher its value.

    Args:
        image: RGB, uint8, (H, W, 3)
        shown: (H, W), 0..1, from :func:`display_maps`
        alpha: opacity of values of 0.5 and more, 0..1; below, opacity is proportional to the value

    Returns:
        ndarray: RGB, uint8, (H, W, 3).
    """
    out = np.empty(image.shape, np.uint8)
    for rows in (slice(y, y + ROWS) for y in range(0, len(image), ROWS)):
        heat = COLOR_MAP[np.rint(shown[rows] * 255).astype(np.uint8)]
        opacity = (alpha * np.minimum(2 * shown[rows], 1)).astype(np.float32)
        out[rows] = cv2.blendLinear(heat, np.ascontiguousarray(image[rows]), opacity, 1 - opacity)
    return out


class SaliencyVisualizer(Visualizer):
    """
    Detectron2's visualizer that also draws ``pred_saliency``. Pictures are RGB, as there.

    Its letters are at least 10 pixels high: give a picture of less than some 200 pixels a
    ``scale``, e.g. 10.
    """

    def draw_saliency(
        self, instances: Instances, i: int, output: str = "class", alpha: float = MAX_OPACITY
    ) -> VisImage:
        """
        Draw one map of a detection, its box, its label and, for a coordinate, the edge that the map
        explains. The label says so if few noise passes of the method found the detection again.

        Args:
            instances: detections in the coordinates of this picture, with pred_saliency
            i: index of the detection
            output: one of ``OUTPUTS``
            alpha: opacity of the map where it is strongest, 0..1

        Returns:
            VisImage: the picture with the map, which replaces any map drawn before; boxes drawn
                before stay.
        """
        detection = select(instances, i, (self.output.height, self.output.width))
        shown = self._shown_map(detection, output)
        self.output.reset_image(overlay(self.img, shown, alpha))
        box = detection.pred_boxes.tensor[0].numpy()
        name = class_name(int(detection.pred_classes[0]), self.metadata.get("thing_classes", None))
        note = "" if shown.any() else " (zero map)"
        label = f"{name} {float(detection.scores[0]):.0%}: {output}{note}"
        label = "\n".join([label, *noise_flags(detection)[0]])
        self.overlay_instances(boxes=box[None], labels=[label], assigned_colors=["w"])
        if output != "class":
            self.draw_line(*edge_line(box, output), EDGE_COLOR)
        return self.output

    def draw_all_saliency(
        self, instances: Instances, output: str = "class", alpha: float = MAX_OPACITY
    ) -> VisImage:
        """
        Draw one map of all detections, with their boxes and labels.

        Each map is a share of its own maximum; where several lie on a pixel, the largest share is
        shown.

        Args, Returns: as of :meth:`draw_saliency`.
        """
        size = self.output.height, self.output.width
        shown, labels = np.zeros(size, np.float32), []
        for i in range(len(instances)):
            detection = select(instances, i, size)
            shown = np.maximum(shown, self._shown_map(detection, output))
            name = class_name(
                int(detection.pred_classes[0]), self.metadata.get("thing_classes", None)
            )
            labels.append(f"{name} {float(detection.scores[0]):.0%}")
        self.output.reset_image(overlay(self.img, shown, alpha))
        boxes = instances.pred_boxes.tensor.cpu().numpy()
        return self.overlay_instances(
            boxes=boxes, labels=labels, assigned_colors=["w"] * len(labels)
        )

    def _shown_map(self, detection: Instances, output: str) -> np.ndarray:
        """One map of a single detection at the size of the picture, 0..1."""
        if output not in OUTPUTS:
            raise ValueError(f"A detection has the outputs {OUTPUTS}, not {output!r}.")
        k, size = OUTPUTS.index(output), (self.output.height, self.output.width)
        factor = min(1.0, MAX_MAP_SIDE / max(size))
        small = [max(1, round(side * factor)) for side in size]
        shown = display_maps(detection.pred_saliency.resize(*small)[0, k : k + 1].numpy())[0]
        return cv2.resize(shown, size[::-1], interpolation=cv2.INTER_LINEAR)


def select(instances: Instances, i: int, image_size: Tuple[int, int]) -> Instances:
    """
    Detection ``i`` alone, on the CPU; a ValueError if the boxes lie in an image of another (height,
    width).
    """
    if tuple(instances.image_size) != tuple(image_size):
        raise ValueError(
            f"Detections of an image of {instances.image_size} pixels do not fit one of "
            f"{image_size}."
        )
    return instances[i].to("cpu")


def edge_line(box: Sequence[float], output: str) -> Line:
    """The edge of a box (x0, y0, x1, y1) that a coordinate output stands for."""
    x0, y0, x1, y1 = (float(v) for v in box)
    return {
        "x_min": ([x0, x0], [y0, y1]),
        "y_min": ([x0, x1], [y0, y0]),
        "x_max": ([x1, x1], [y0, y1]),
        "y_max": ([x0, x1], [y1, y1]),
    }[output]
