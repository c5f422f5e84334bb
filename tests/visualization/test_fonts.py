"""Class names in scripts that the bundled font does not have."""

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from d2_saliency.visualization import draw_panel
from d2_saliency.visualization.fonts import DEFAULT, _path_for, font_for
from tests.visualization.test_panel import make_instances

DOG = "\u72d7"  # Chinese
SQUARE = [(50, 0), (50, 800), (850, 800), (850, 0)]


@pytest.fixture
def fonts(monkeypatch):
    """The fonts of this machine, without any that has the character."""
    bundled = [font for font in fontManager.ttflist if "DejaVu" in font.name]
    bundled += [font for font in fontManager.ttflist if "Last" in font.name]
    monkeypatch.setattr(fontManager, "ttflist", bundled)
    _path_for.cache_clear()
    yield bundled
    _path_for.cache_clear()


@pytest.fixture
def chinese(fonts, tmp_path):
    """A font in which the character is a solid square."""
    pen = TTGlyphPen(None)
    pen.moveTo(SQUARE[0])
    for point in SQUARE[1:]:
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(DOG): "square", ord(" "): ".notdef"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (900, 50)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900, usWeightClass=400)
    builder.setupPost()
    builder.save(tmp_path / "square.ttf")
    fontManager.addfont(str(tmp_path / "square.ttf"))
    return str(tmp_path / "square.ttf")


def title_and_foot(name):
    """Dark pixels above the first picture of a panel, and pixels of the notes at its foot."""
    instances = make_instances([torch.ones(5, 4, 4)], 300, 300)
    panel = draw_panel(np.full((300, 300, 3), 128, np.uint8), instances, 0, [name])
    foot = panel[-24:].astype(int)
    return panel[8:30, 8:308], int((np.abs(foot - (179, 60, 0)).max(-1) < 60).sum())


def test_a_font_that_has_the_name_is_used(chinese):
    assert font_for(DOG, 14).path == chinese and font_for("dog", 14).path == DEFAULT
    title, notes = title_and_foot(DOG)
    rows, columns = np.nonzero(title.max(-1) < 100)
    solid = title[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].max(-1) < 100
    assert solid.all() and 8 <= solid.shape[0] <= 13 and notes == 0  # 0.8 of 14 pixels


def test_without_one_the_number_is_shown_and_a_note(fonts):
    assert font_for(DOG, 14) is None and font_for("dog \u00e9\u0416", 14).path == DEFAULT
    title, notes = title_and_foot(DOG)
    expected, none = title_and_foot("class 0")
    assert np.array_equal(title, expected) and notes > 20 and none == 0


def test_fonts_that_are_gone_are_passed_over(chinese, tmp_path):
    (tmp_path / "square.ttf").write_bytes(b"no font")
    _path_for.cache_clear()
    assert font_for(DOG, 14) is None
