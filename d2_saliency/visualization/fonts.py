"""Finds a font of this machine that has the characters of a text."""

from functools import lru_cache
from pathlib import Path
from typing import FrozenSet, Optional

import matplotlib
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

DEFAULT = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
"""Comes with matplotlib; has Latin, Greek, Cyrillic and Arabic, but no Chinese, say."""

PLACEHOLDERS = ("Last Resort High-Efficiency", "Last Resort", "LastResort", ".LastResort")
"""Have a box for every character there is; matplotlib brings one."""


def font_for(text: str, size: int) -> Optional[ImageFont.FreeTypeFont]:
    """A font with all characters of ``text``, ``size`` pixels high; None if there is none here."""
    path = _path_for(frozenset(text))
    return None if path is None else ImageFont.truetype(path, size)


def default_font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(DEFAULT, size)


@lru_cache(maxsize=1024)
def _path_for(characters: FrozenSet[str]) -> Optional[str]:
    if _has(DEFAULT, characters):
        return DEFAULT
    known = [font for font in fontManager.ttflist if font.name not in PLACEHOLDERS]
    known.sort(key=lambda font: (font.style != "normal", font.weight != 400))  # plain ones first
    return next((font.fname for font in known if _has(font.fname, characters)), None)


def _has(path: str, characters: FrozenSet[str]) -> bool:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # removed since matplotlib made its list, or damaged
        return False
    return all(font.get_char_index(ord(character)) for character in characters)
