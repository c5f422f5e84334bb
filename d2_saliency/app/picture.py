"""Draws the picture that visitors click."""

from typing import Optional, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .session import MAX_SIDE, Session


def shown_size(image: np.ndarray) -> Tuple[int, int]:
    """
    (height, width) of the picture to click: at most 1024 pixels, small images magnified to half of
    that.
    """
    longer = max(image.shape[:2])
    factor = min(max(longer, MAX_SIDE // 2), MAX_SIDE) / longer
    return tuple(max(1, round(side * factor)) for side in image.shape[:2])


def draw_picture(session: Session, name: str, chosen: Optional[int]) -> Image.Image:
    """The visitor's image with numbered detections and the box that is being drawn."""
    size = shown_size(session.image)
    picture = Image.fromarray(
        cv2.resize(session.image, size[::-1], interpolation=cv2.INTER_AREA)[:, :, ::-1]
    )
    scale = max(size) / max(session.image.shape[:2])
    draw = ImageDraw.Draw(picture)
    for i, box in enumerate(session.detections[name].pred_boxes.tensor.tolist()):
        x0, y0, x1, y1 = (v * scale for v in box)
        draw.rectangle([x0, y0, x1, y1], outline="black", width=4)
        draw.rectangle([x0, y0, x1, y1], outline="#00e5ff" if i == chosen else "white", width=2)
        draw.rectangle([x0, y0, x0 + 16, y0 + 16], fill="black")
        draw.text((x0 + 5, y0 + 2), str(i + 1), fill="white")
    if session.box:
        draw.rectangle([v * scale for v in session.box], outline="#ff9100", width=3)
    return picture
