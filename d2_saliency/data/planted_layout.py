"""
Lays out the bodies, emblems and marks of a planted-cause scene. It knows no class, on purpose.

H, W: image height and width in pixels. A box is (x_min, y_min, x_max, y_max) in whole pixels, the
last two exclusive; a square is (x, y, size).
"""

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

__all__ = [
    "PlantedObject",
    "boxes_overlap",
    "draw_layout",
    "SIDE_RANGE",
    "ASPECT_RANGE",
    "IMAGE_SIDES",
]

Box = Tuple[int, int, int, int]
Square = Tuple[int, int, int]

IMAGE_SIDES = (224, 320)  # pixels, inclusive
SIDE_RANGE = (32, 160)  # pixels, of a body's whole and visible box
ASPECT_RANGE = (0.4, 2.5)  # width / height, of the same boxes
MAX_OBJECTS = 5
EMBLEM_SHARE = (0.24, 0.34)  # of the body's short side
MARK_SHARE = (0.30, 0.40)  # of the body's short side
MARK_GAP = 0.15  # largest gap between box and mark, in sides of the box across it
MIN_VISIBLE = 0.65  # of a body's pixels
MIN_EMBLEM_VISIBLE = 0.9  # of the emblem's square, whatever shape gets into it


@dataclass
class PlantedObject:
    """
    ``body`` and ``visible`` are boolean (H, W): the whole body and what later bodies leave of it.
    """

    box: Box
    body: np.ndarray
    visible: np.ndarray
    emblem: Square
    mark: Square  # a place beside the box kept free for a mark, whether or not one is drawn

    def visible_box(self) -> Box:
        return _tight_box(self.visible)

    def mark_box(self) -> Box:
        return _square_box(self.mark)


def draw_layout(rng: np.random.Generator) -> Tuple[int, int, List[PlantedObject]]:
    """Image height, width, and 1 .. 5 objects from back to front."""
    height, width = (int(v) for v in rng.integers(IMAGE_SIDES[0], IMAGE_SIDES[1] + 1, size=2))
    objects: List[PlantedObject] = []
    wanted = int(rng.integers(1, MAX_OBJECTS + 1))
    for attempt in range(60 * wanted):
        if len(objects) == wanted or (attempt >= 40 * wanted and objects):
            break
        candidate = _draw_object(rng, height, width, objects)
        if candidate is not None and _accept(candidate, objects):
            for other in objects:
                other.visible = other.visible & ~candidate.body
            objects.append(candidate)
    return height, width, objects


def boxes_overlap(a: Box, b: Box, margin: int = 0) -> bool:
    """Tell whether the boxes share a pixel once ``a`` is grown by ``margin`` pixels."""
    return (
        a[0] - margin < b[2]
        and b[0] < a[2] + margin
        and a[1] - margin < b[3]
        and b[1] < a[3] + margin
    )


def _draw_object(
    rng: np.random.Generator, height: int, width: int, objects: Sequence[PlantedObject]
) -> Optional[PlantedObject]:
    w, h = _draw_size(rng)
    if w > width - 8 or h > height - 8:
        return None
    x, y = int(rng.integers(2, width - w - 1)), int(rng.integers(2, height - h - 1))
    if objects and rng.random() < 0.5:
        x, y = _beside(rng, objects[int(rng.integers(len(objects)))].box, w, h)
        if x < 2 or y < 2 or x + w > width - 2 or y + h > height - 2:
            return None
    box = (x, y, x + w, y + h)
    body = np.zeros((height, width), bool)
    body[y : y + h, x : x + w] = _body_shape(rng, w, h)
    emblem = _draw_emblem(rng, box, body)
    mark = _draw_mark(rng, box, height, width, objects)
    if emblem is None or mark is None:
        return None
    return PlantedObject(box, body, body, emblem, mark)


def _draw_size(rng: np.random.Generator) -> Tuple[int, int]:
    """Width and height, both log-uniform, within `SIDE_RANGE` and `ASPECT_RANGE`."""
    smallest, largest = np.log(SIDE_RANGE)
    while True:
        w, h = (int(round(np.exp(v))) for v in rng.uniform(smallest, largest, size=2))
        if ASPECT_RANGE[0] <= w / h <= ASPECT_RANGE[1]:
            return w, h


def _beside(rng: np.random.Generator, other: Box, w: int, h: int) -> Tuple[int, int]:
    """Corner (x, y) of a w x h box that touches ``other`` or overlaps it a little."""
    overlap = rng.uniform(0.0, 0.3) if rng.random() < 0.7 else 0.0
    across = int(overlap * min(w, other[2] - other[0])), int(overlap * min(h, other[3] - other[1]))
    x = int(rng.integers(other[0] - w // 2, other[2] - w // 2 + 1))
    y = int(rng.integers(other[1] - h // 2, other[3] - h // 2 + 1))
    side = rng.integers(4)
    if side == 0:
        return other[0] - w + across[0], y
    if side == 1:
        return x, other[1] - h + across[1]
    if side == 2:
        return other[2] - across[0], y
    return x, other[3] - across[1]


def _body_shape(rng: np.random.Generator, w: int, h: int) -> np.ndarray:
    """Boolean (h, w) convex shape that reaches all four sides of its box."""
    u, v = np.meshgrid((np.arange(w) + 0.5) / w * 2 - 1, (np.arange(h) + 0.5) / h * 2 - 1)
    u, v = np.abs(u), v * rng.choice([-1.0, 1.0])
    cut = rng.uniform(0.3, 0.7)
    kind = rng.integers(6)
    if kind == 0:
        return np.ones((h, w), bool)  # rectangle
    if kind == 1:
        return _reach(u**2 + v**2 <= 1.0)  # ellipse
    if kind == 2:
        return _reach(u**4 + v**4 <= 1.0)  # rounded
    if kind == 3:
        return _reach(u + np.abs(v) <= 1.0 + cut)  # octagon
    if kind == 4:
        return _reach(u <= 1.0 - cut * (np.abs(v)))  # hexagon
    return _reach(u <= 1.0 - cut * (v + 1.0) / 2)  # trapezium


def _reach(shape: np.ndarray) -> np.ndarray:
    """Set the middle two pixels of a side of the box that rounding has left untouched."""
    h, w = shape.shape
    shape[[0, -1], (w - 1) // 2 : w // 2 + 1] = True
    rows = np.flatnonzero(shape[:, 1] | shape[:, 0])
    middle = int(rows.mean()) if rows.size else h // 2
    shape[middle, [0, -1]] = True
    return shape


def _draw_emblem(rng: np.random.Generator, box: Box, body: np.ndarray) -> Optional[Square]:
    """A square at a random place fully inside the body, 2 px off its border."""
    w, h = box[2] - box[0], box[3] - box[1]
    size = int(round(rng.uniform(*EMBLEM_SHARE) * min(w, h)))
    for _ in range(30):
        x = int(rng.integers(box[0] + 2, box[2] - size - 1))
        y = int(rng.integers(box[1] + 2, box[3] - size - 1))
        if body[y - 2 : y + size + 2, x - 2 : x + size + 2].all():
            return x, y, size
    return None


def _draw_mark(
    rng: np.random.Generator, box: Box, height: int, width: int, objects: Sequence[PlantedObject]
) -> Optional[Square]:
    """A square outside ``box``, close to one of its edges, clear of all other boxes and marks."""
    w, h = box[2] - box[0], box[3] - box[1]
    taken = [obj.box for obj in objects] + [obj.mark_box() for obj in objects]
    size = int(round(rng.uniform(*MARK_SHARE) * min(w, h)))
    for _ in range(12):
        side = int(rng.integers(4))
        gap = int(rng.uniform(0.0, MARK_GAP) * (w if side % 2 == 0 else h))
        x = (box[0] - gap - size, None, box[2] + gap, None)[side]
        y = (None, box[1] - gap - size, None, box[3] + gap)[side]
        x = int(rng.integers(box[0], box[2] - size + 1)) if x is None else x
        y = int(rng.integers(box[1], box[3] - size + 1)) if y is None else y
        inside = x >= 0 and y >= 0 and x + size <= width and y + size <= height
        if inside and not any(boxes_overlap((x, y, x + size, y + size), other) for other in taken):
            return x, y, size
    return None


def _accept(new: PlantedObject, objects: Sequence[PlantedObject]) -> bool:
    """
    Tell whether every object stays well visible behind ``new`` and no mark's place is covered by
    it.
    """
    for other in objects:
        visible = other.visible & ~new.body
        x, y, size = other.emblem
        if boxes_overlap(new.box, other.mark_box()):
            return False
        if visible.sum() < MIN_VISIBLE * other.body.sum():
            return False
        if visible[y : y + size, x : x + size].mean() < MIN_EMBLEM_VISIBLE:
            return False
        x_min, y_min, x_max, y_max = _tight_box(visible)
        w, h = x_max - x_min, y_max - y_min
        if min(w, h) < SIDE_RANGE[0] or not ASPECT_RANGE[0] <= w / h <= ASPECT_RANGE[1]:
            return False
    return True


def _tight_box(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _square_box(square: Square) -> Box:
    x, y, size = square
    return x, y, x + size, y + size
