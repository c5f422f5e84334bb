"""
Draws a detection as the row "image | class | x_min | y_min | x_max | y_max", as in Figure 2 of
ODSmoothGrad.
"""

from pathlib import Path
from typing import Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from PIL import Image, ImageDraw
from torch import Tensor

from ..results.class_names import class_name
from ..results.flags import noise_flags
from ..structures import OUTPUTS, SaliencyMaps, saliency_fields
from ..utils.files import atomic_path, output_errors
from ..utils.image_files import safe_name
from .fonts import default_font, font_for
from .saliency_visualizer import (
    BLUR,
    COLOR_MAP,
    EDGE_COLOR,
    Line,
    display_maps,
    edge_line,
    overlay,
    select,
)

MIN_SIDE, MAX_SIDE = 256, 352  # pixels of the longer side of a picture in the panel
MIN_CELL_WIDTH = 200  # room for titles over narrow pictures
GAP, LINE = 8, 22  # pixels between cells, and of a line of text
TEXT, SMALL = 14, 13  # pixels of letters, of titles and of the foot
INK, WARNING = "#222222", "#b33c00"
LEGEND = (
    f"Colour and opacity: share of each map's own maximum, after a Gaussian blur (σ = {BLUR:.1%} "
    "of the diagonal)"
)


def draw_panel(
    image_bgr: np.ndarray,
    instances: Instances,
    i: int,
    class_names: Optional[Sequence[str]] = None,
    resized_map: Optional[Tensor] = None,
) -> np.ndarray:
    """
    Draw the picture and the five maps of detection ``i`` side by side, and that of its mask where
    there is one.

    The box is thin and white in all of them, the edge that a map explains thick and cyan in its
    own. Under each map is its raw peak (the unit of the method); how colours come from values is in
    :mod:`.saliency_visualizer`, and in a line at the foot of the panel. A map that is zero
    everywhere is crossed out and called so; a detection that few noise passes found again has a
    note in that line, and so has a class whose name no font of this machine can write: it is called
    by its number.

    Args:
        image_bgr: uint8, (H, W, 3), any size: pictures are reduced or magnified to 256..352 pixels
        instances: detections in the coordinates of the image, with pred_saliency
        i: index of the detection
        class_names: None: classes are called by their number
        resized_map: maps of this detection aligned with the image, (5, h, w), any resolution, if
            there already

    Returns:
        ndarray: uint8, (height, width, 3), RGB.
    """
    height, width = image_bgr.shape[:2]
    detection = select(instances, i, (height, width))
    size = _shown_size(height, width)
    picture = cv2.resize(image_bgr, size[::-1], interpolation=cv2.INTER_AREA)[:, :, ::-1]
    fields = saliency_fields(detection)
    if resized_map is None:
        five = fields[0].resize(*size)[0]
    else:
        five = F.interpolate(resized_map[None].float(), size, mode="bilinear", antialias=True)[
            0
        ].cpu()
    maps = [five, *(field.resize(*size)[0] for field in fields[1:])]
    outputs = [output for field in fields for output in field.outputs]
    peaks = torch.cat([field.peaks[0] for field in fields]).tolist()
    box = detection.pred_boxes.tensor[0].numpy() * np.array([size[1] / width, size[0] / height] * 2)

    class_id = int(detection.pred_classes[0])
    name, notes = class_name(class_id, class_names), noise_flags(detection)[0]
    if font_for(_printable(name), TEXT) is None:
        name, notes = class_name(class_id, None), [*notes, "no font here has its name's characters"]
    cells = [_cell(picture, box, name, f"score {float(detection.scores[0]):.1%}")]
    explained = bool(detection.pred_saliency.explained[0])
    for output, values, peak in zip(outputs, display_maps(torch.cat(maps).numpy()), peaks):
        if values.any():
            edge = edge_line(box, output) if output in OUTPUTS[1:] else None
            cells.append(_cell(overlay(picture, values), box, output, f"peak {peak:.2g}", edge))
        else:
            reason = ("zero map" if peak == 0 else "not finite") if explained else "not explained"
            cells.append(_cell(_crossed_out(picture), box, output, reason, color=WARNING))
    return _join(cells, notes)


def draw_maps(maps: SaliencyMaps) -> np.ndarray:
    """
    Draw the maps of one detection side by side, without a picture and a box.

    Args:
        maps: maps of one explained detection

    Returns:
        ndarray: uint8, (height, width, 3), RGB.
    """
    size = _shown_size(*maps.image_size)
    nothing = np.zeros((*size, 3), np.uint8)
    shown = display_maps(maps.resize(*size)[0].cpu().numpy())
    cells = []
    for output, values, peak in zip(maps.outputs, shown, maps.peaks[0].tolist()):
        picture = (
            COLOR_MAP[np.rint(values * 255).astype(np.uint8)]
            if values.any()
            else _crossed_out(nothing)
        )
        cells.append(
            _cell(picture, None, output, f"peak {peak:.2g}", color=INK if values.any() else WARNING)
        )
    return _join(cells, [])


def save_panels(
    folder: Union[str, Path],
    image_bgr: np.ndarray,
    instances: Instances,
    class_names: Optional[Sequence[str]] = None,
) -> None:
    """
    Write the panel of every explained detection to ``folder`` as ``<index>_<class>.png``, in place
    of any others.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    with output_errors(folder):
        for old in Path(folder).glob("[0-9]*_*.png"):  # of a run with other detections
            old.unlink()
    for i in instances.pred_saliency.explained.nonzero().flatten().tolist():
        panel = Image.fromarray(draw_panel(image_bgr, instances, i, class_names))
        name = safe_name(class_name(int(instances.pred_classes[i]), class_names))
        with atomic_path(Path(folder) / f"{i}_{name}.png") as temporary:
            # The default of 6 takes three times as long for a sixth less.
            panel.save(temporary, compress_level=1)


def _shown_size(height: int, width: int) -> Tuple[int, int]:
    longer = max(height, width)
    factor = min(max(longer, MIN_SIDE), MAX_SIDE) / longer
    return max(1, round(height * factor)), max(1, round(width * factor))


def _crossed_out(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    grey = Image.fromarray((picture.mean(axis=2) * 0.5 + 110).astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(grey)
    draw.line([(0, 0), (width - 1, height - 1)], fill=WARNING, width=3)
    draw.line([(0, height - 1), (width - 1, 0)], fill=WARNING, width=3)
    return np.asarray(grey)


def _cell(
    picture: np.ndarray,
    box: Optional[np.ndarray],
    title: str,
    caption: str,
    edge: Optional[Line] = None,
    color: str = INK,
) -> Image.Image:
    """
    One picture with its box on white, a line of text above and one, of the given colour, below.
    """
    height, width = picture.shape[:2]
    shown = Image.fromarray(np.ascontiguousarray(picture))
    draw = ImageDraw.Draw(shown)
    if box is not None:
        # The line stays inside of the picture where the box ends at its border. A light line on a
        # dark one is seen on any photo.
        x0, y0, x1, y1 = np.clip(box, 0, [width - 1, height - 1] * 2).tolist()
        draw.rectangle([x0, y0, x1, y1], outline="black", width=2)
        draw.rectangle([x0, y0, x1, y1], outline="white", width=1)
    if edge is not None:
        points = [(min(max(x, 1), width - 2), min(max(y, 1), height - 2)) for x, y in zip(*edge)]
        draw.line(points, fill=EDGE_COLOR, width=3)
    cell = Image.new("RGB", (max(width, MIN_CELL_WIDTH), height + 2 * LINE), "white")
    cell.paste(shown, ((cell.width - width) // 2, LINE))
    _write(cell, 0, title, INK)
    _write(cell, height + LINE, caption, color)
    return cell


def _join(cells: Sequence[Image.Image], notes: Sequence[str]) -> np.ndarray:
    width, height = cells[0].size
    panel = Image.new("RGB", (len(cells) * (width + GAP) + GAP, height + LINE + 2 * GAP), "white")
    for column, cell in enumerate(cells):
        panel.paste(cell, (GAP + column * (width + GAP), GAP))
    bar = Image.fromarray(np.repeat(COLOR_MAP[None], 10, axis=0))
    note = "; ".join(notes)
    draw, font, y = ImageDraw.Draw(panel), default_font(SMALL), height + GAP
    draw.text((GAP, y), "0", fill=INK, font=font)
    panel.paste(bar, (GAP + 12, y + 4))
    draw.text((GAP + 12 + bar.width + 4, y), "1", fill=INK, font=font)
    draw.text((GAP + bar.width + 40, y), LEGEND, fill=INK, font=font)
    draw.text((panel.width - GAP - font.getlength(note), y), note, fill=WARNING, font=font)
    return np.asarray(panel)


def _write(cell: Image.Image, y: int, text: str, color: str) -> None:
    """A centred line of text, shortened to the width of the cell."""
    text = _printable(text)
    font = font_for(f"{text}…", TEXT) or font_for(text, TEXT) or default_font(TEXT)
    while font.getlength(text) > cell.width and len(text) > 1:
        text = text[:-2].rstrip() + "…"
    ImageDraw.Draw(cell).text(
        ((cell.width - font.getlength(text)) / 2, y + 2), text, fill=color, font=font
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
