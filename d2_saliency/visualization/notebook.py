"""Pictures for Jupyter, of explained detections and of maps without their picture."""

import io
from typing import Optional, Sequence

import numpy as np
from detectron2.structures import Instances
from PIL import Image

from ..structures import SaliencyMaps
from .panel import draw_maps, draw_panel

MAX_SHOWN = 5  # detections: a notebook keeps its pictures, and shall stay small


class PanelFigure:
    """
    Panels of detections, one below the other, that Jupyter shows as a picture.

    Attributes:
        image (PIL.Image): RGB; ``figure.image.save("figure.png")`` keeps it.
    """

    def __init__(self, panels: Sequence[np.ndarray]):
        """
        Args:
            panels: uint8, (height_i, width_i, 3), RGB, from :func:`.draw_panel`; at least one
        """
        size = max(panel.shape[1] for panel in panels), sum(panel.shape[0] for panel in panels)
        self.image = Image.new("RGB", size, "white")
        y = 0
        for panel in panels:
            self.image.paste(Image.fromarray(panel), (0, y))
            y += panel.shape[0]

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.image.save(data, "PNG", optimize=True)
        return data.getvalue()


def show(
    image_bgr: np.ndarray,
    instances: Instances,
    class_names: Optional[Sequence[str]] = None,
    max_instances: int = MAX_SHOWN,
) -> Optional[PanelFigure]:
    """
    The panels of the first explained detections, for the last line of a notebook's cell.

    Args:
        image_bgr: uint8, (H, W, 3), as ``cv2.imread`` returns it
        instances: detections of that image with pred_saliency, as :class:`.DefaultExplainer`
            returns them
        class_names: e.g. ``explainer.class_names``; None: classes are called by their number
        max_instances: largest number of panels

    Returns:
        PanelFigure, or None if no detection was explained.
    """
    indices = instances.pred_saliency.explained.nonzero().flatten().tolist()[:max_instances]
    return (
        PanelFigure([draw_panel(image_bgr, instances, i, class_names) for i in indices])
        if indices
        else None
    )


def maps_png(maps: SaliencyMaps) -> Optional[bytes]:
    """A PNG of the five maps of the first detections without a picture; None if there is none."""
    indices = maps.explained.nonzero().flatten().tolist()[:MAX_SHOWN]
    return PanelFigure([draw_maps(maps[i]) for i in indices])._repr_png_() if indices else None


SaliencyMaps.draw = maps_png
