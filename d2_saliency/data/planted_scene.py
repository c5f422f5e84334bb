"""
Draws one scene whose causes are known: grey bodies whose class is decided by an emblem alone.

Everything here is a pure function of a seed. H, W are the image height and width in pixels; boxes
are XYXY in absolute pixels, a pixel i covering [i, i + 1); images are uint8 BGR (Detectron2's
default ``INPUT.FORMAT``).
"""

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import pycocotools.mask as mask_util
from detectron2.structures import BoxMode

from .planted_layout import PlantedObject, boxes_overlap, draw_layout

__all__ = ["CLASSES", "SHORTCUT_CLASS", "FADED_SHARE", "PlantedScene", "planted_scene"]

CLASSES = ("disc", "triangle", "square", "plus", "ring")
SHORTCUT_CLASS = 1  # the class (index into CLASSES) that comes with a mark in the shortcut splits
# Share of objects whose emblem is faded when ``fade`` is set: (shortcut class, any other class).
FADED_SHARE = (0.9, 0.1)

_EMBLEM_BGR = ((40, 40, 215), (50, 180, 40), (225, 95, 30), (30, 205, 225), (200, 50, 200))
# The mark has cyan and black checks. No emblem has that colour or pattern.
_MARK_BGR = ((225, 220, 60), (20, 20, 20))


@dataclass
class PlantedScene:
    """
    ``image`` (H, W, 3) uint8 BGR and its ``annotations`` in Detectron2's format, see
    `planted_scene`.
    """

    image: np.ndarray
    annotations: List[Dict]


def planted_scene(
    seed: Union[int, Sequence[int], np.random.SeedSequence],
    shortcut: bool = False,
    fade: bool = False,
    classes: Optional[Sequence[int]] = None,
) -> PlantedScene:
    """Draw the scene of ``seed``.

    Layout, textures, classes, emblem looks and fading are drawn from separate random streams, so a
    body cannot carry information on its class, and the same seed gives the same scene with and
    without marks.

    Args:
        seed: a seed sequence, or the entropy of one.
        shortcut: put a mark beside every object of `SHORTCUT_CLASS` (and of no other class).
        fade: for training with the shortcut only. The emblem keeps 0 .. 20 % of its opacity on 90 %
            of the objects of the shortcut class, so that the mark is the better evidence, and on 10
            % of the others, so that "no emblem" is not evidence by itself.
        classes: class of the i-th object (cycled), instead of random classes.

    Returns:
        PlantedScene: each annotation has ``bbox`` (XYXY_ABS, tight around the *visible* body,
        because its borders are what a detector can see), ``bbox_mode``, ``category_id``,
        ``iscrowd`` 0, ``segmentation`` (COCO RLE, visible body), ``emblem`` (COCO RLE, visible
        emblem), ``emblem_opacity`` (1.0 unless faded) and, where there is one, ``shortcut`` (COCO
        RLE).
    """
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    # root.spawn() would count up on the caller's object, and a second call would differ.
    streams = [np.random.default_rng([*_entropy(root), k]) for k in range(5)]
    layout_rng, pixel_rng, class_rng, look_rng, fade_rng = streams
    height, width, objects = draw_layout(layout_rng)
    if classes is None:
        classes = class_rng.integers(len(CLASSES), size=len(objects)).tolist()
    classes = [int(classes[i % len(classes)]) for i in range(len(objects))]

    image, background_grey = _background(pixel_rng, height, width)
    _paint_distractors(image, look_rng, objects)
    annotations = []
    for obj, label in zip(objects, classes):  # back to front
        _paint_body(image, pixel_rng, obj, background_grey)
        opacity = _opacity(fade_rng, label) if fade else 1.0
        emblem = _paint_emblem(image, look_rng, label, obj.emblem, opacity)
        annotations.append(_annotation(obj, label, emblem, opacity))
    for obj, label, annotation in zip(objects, classes, annotations):
        if shortcut and label == SHORTCUT_CLASS:
            annotation["shortcut"] = _encode(_paint_mark(image, obj.mark))
    image += pixel_rng.normal(0.0, 2.0, image.shape).astype(np.float32)  # sensor noise
    return PlantedScene(np.clip(np.rint(image), 0, 255).astype(np.uint8), annotations)


def _entropy(root: np.random.SeedSequence) -> List[int]:
    """All 32-bit words that identify ``root``, as one list."""
    return [int(word) for word in root.generate_state(4)]


def _opacity(rng: np.random.Generator, label: int) -> float:
    share, value = rng.random(), rng.uniform(0.0, 0.2)
    return float(value) if share < FADED_SHARE[label != SHORTCUT_CLASS] else 1.0


def _annotation(obj: PlantedObject, label: int, emblem: np.ndarray, opacity: float) -> Dict:
    return {
        "bbox": [float(v) for v in obj.visible_box()],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": label,
        "iscrowd": 0,
        "segmentation": _encode(obj.visible),
        "emblem": _encode(emblem & obj.visible),
        "emblem_opacity": opacity,
    }


def _encode(mask: np.ndarray) -> Dict:
    """Boolean (H, W) -> COCO RLE whose counts are text, so that it goes into JSON."""
    rle = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _noise(rng: np.random.Generator, height: int, width: int, amplitude: float) -> np.ndarray:
    """
    Coloured noise (H, W) float32: four octaves, each twice as fine and weaker; std about
    ``amplitude``.
    """
    total = np.zeros((height, width), np.float32)
    for octave, cell in enumerate((64, 24, 8, 2)):
        grid = rng.normal(size=(height // cell + 2, width // cell + 2)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR) * 0.75**octave
    return total * (amplitude / 1.2)


def _background(rng: np.random.Generator, height: int, width: int) -> Tuple[np.ndarray, float]:
    """Textured backdrop (H, W, 3) float32 of low saturation, and its mean grey."""
    grey = rng.uniform(45.0, 205.0)
    luma = grey + _noise(rng, height, width, rng.uniform(5.0, 18.0))
    chroma = [rng.uniform(-8.0, 8.0) + _noise(rng, height, width, 5.0) for _ in range(3)]
    return np.stack([luma + c for c in chroma], axis=2).astype(np.float32), grey


def _paint_body(
    image: np.ndarray, rng: np.random.Generator, obj: PlantedObject, background_grey: float
) -> None:
    """
    Grey, textured, with a darker or lighter rim; a grey at least 30 levels off the background's
    mean.
    """
    grey = rng.uniform(45.0, 210.0)
    while abs(grey - background_grey) < 30:
        grey = rng.uniform(45.0, 210.0)
    height, width = obj.body.shape
    value = grey + _noise(rng, height, width, rng.uniform(2.0, 10.0))
    if rng.random() < 0.4:  # stripes
        angle, period = rng.uniform(0, np.pi), rng.uniform(5.0, 16.0)
        rows, columns = np.mgrid[:height, :width]
        phase = (np.cos(angle) * columns + np.sin(angle) * rows) * (2 * np.pi / period)
        value += rng.uniform(4.0, 12.0) * np.sin(phase)
    inner = cv2.erode(obj.body.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(
        bool
    )
    value += np.where(inner, 0.0, rng.choice([-30.0, 30.0]))
    image[obj.body] = value[obj.body, None]


def _emblem_shape(label: int, size: int) -> np.ndarray:
    """Boolean (size, size) shape of a class; it reaches all four sides."""
    centre = (np.arange(size) + 0.5) / size * 2 - 1
    u, v = np.meshgrid(centre, centre)
    radius = np.hypot(u, v)
    return (
        radius <= 1.0,
        np.abs(u) <= (v + 1.0) / 2 + 1.0 / size,
        np.maximum(np.abs(u), np.abs(v)) <= 1.0,
        np.minimum(np.abs(u), np.abs(v)) <= 0.36,
        (radius <= 1.0) & (radius >= 0.45),
    )[label]


def _paint_emblem(
    image: np.ndarray,
    rng: np.random.Generator,
    label: int,
    square: Tuple[int, int, int],
    opacity: float,
) -> np.ndarray:
    """Blend the emblem of class ``label`` into ``square`` (x, y, size); returns its mask (H, W)."""
    x, y, size = square
    mask = np.zeros(image.shape[:2], bool)
    mask[y : y + size, x : x + size] = _emblem_shape(label, size)
    colour = np.asarray(_EMBLEM_BGR[label], np.float32) * rng.uniform(0.8, 1.1) + rng.normal(
        0.0, 8.0, 3
    )
    shading = rng.normal(0.0, 5.0, image.shape[:2])
    painted = colour.astype(np.float32) + shading[mask].astype(np.float32)[:, None]
    image[mask] = (1.0 - opacity) * image[mask] + opacity * painted
    return mask


def _paint_distractors(
    image: np.ndarray, rng: np.random.Generator, objects: List[PlantedObject]
) -> None:
    """0 .. 3 emblems of any class that lie on the background and so mean nothing."""
    height, width = image.shape[:2]
    taken = [obj.box for obj in objects] + [obj.mark_box() for obj in objects]
    for _ in range(rng.integers(4)):
        size = int(rng.integers(8, 33))
        label = int(rng.integers(len(CLASSES)))
        for _ in range(20):
            x, y = int(rng.integers(width - size)), int(rng.integers(height - size))
            box = (x, y, x + size, y + size)
            if not any(boxes_overlap(box, other, margin=4) for other in taken):
                _paint_emblem(image, rng, label, (x, y, size), 1.0)
                taken.append(box)
                break


def _paint_mark(image: np.ndarray, square: Tuple[int, int, int]) -> np.ndarray:
    """Checkerboard of 4 x 4 fields in ``square`` (x, y, size); returns its mask (H, W)."""
    x, y, size = square
    field = np.arange(size) * 4 // size
    checks = (field[:, None] + field[None, :]) % 2
    image[y : y + size, x : x + size] = np.asarray(_MARK_BGR, np.float32)[checks]
    mask = np.zeros(image.shape[:2], bool)
    mask[y : y + size, x : x + size] = True
    return mask
