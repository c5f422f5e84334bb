"""Any file in place of a photo: the right pixels, or one line that names it."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2_saliency.utils.image_io import ImageError, read_image
from tests.robustness.conftest import CASES, fuzz, is_one_line

FORMATS = {  # format -> modes that it stores
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16", "LAB"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "TGA": ("L", "LA", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
}
LOSSLESS_RGB = ("PNG", "TIFF", "BMP", "PPM", "TGA")
EXIF_FORMATS = ("PNG", "TIFF", "JPEG", "WEBP")
SUFFIXES = (".jpg", ".png", ".tiff", ".txt", "", ".JPG", ".webp", ".eps")
TURNS = {  # EXIF orientation -> what an upright viewer does to the stored (H, W, 3) array
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}
side = st.one_of(st.integers(1, 40), st.sampled_from([1, 2, 255, 256, 257, 1023, 4999, 5000]))


@st.composite
def photos(draw):
    """(stored RGB array, format, mode, orientation, content of the file)."""
    width, height = draw(side), draw(side)
    if width * height > 50_000:
        width, height = draw(st.sampled_from([(width, min(height, 7)), (min(width, 7), height)]))
    format = draw(st.sampled_from(sorted(FORMATS)))
    mode = draw(st.sampled_from(FORMATS[format]))
    orientation = draw(st.sampled_from(range(1, 9))) if format in EXIF_FORMATS else 1
    array = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )
    image = Image.fromarray(array)
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(array[:, :, 0].astype(dtype) * (257 if mode == "I;16" else 1))
    elif mode == "LAB":
        image = Image.merge("LAB", image.split())
    else:
        image = image.convert(mode)
    options = {}
    if format in EXIF_FORMATS:
        exif = Image.Exif()
        exif[274] = orientation
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, format, **options)
    return array, format, mode, orientation, file.getvalue()


@st.composite
def damage(draw, content: bytes) -> bytes:
    """The content cut short, with some of its bytes replaced, or with others around it."""
    content = bytearray(content)
    kind = draw(st.sampled_from(["cut", "flip", "head", "tail", "other"]))
    if kind == "cut":
        return bytes(content[: draw(st.integers(0, len(content) - 1))])
    if kind == "other":
        return draw(st.binary(max_size=200))
    if kind == "flip":
        for _ in range(draw(st.integers(1, 8))):
            content[draw(st.integers(0, min(len(content) - 1, 400)))] = draw(st.integers(0, 255))
        return bytes(content)
    more = draw(st.binary(min_size=1, max_size=50))
    return more + content if kind == "head" else content + more


@fuzz(short=40, long=1500)
@given(photo=photos(), suffix=st.sampled_from(SUFFIXES))
def test_whole_photos(tmp_path, photo, suffix):
    array, format, mode, orientation, content = photo
    (tmp_path / f"x{suffix}").write_bytes(content)
    found = read_image(tmp_path / f"x{suffix}", "RGB")
    expected = TURNS[orientation](array)
    assert found.shape == expected.shape and found.dtype == np.uint8 and found.flags.c_contiguous
    if mode == "RGB" and format in LOSSLESS_RGB:
        assert np.array_equal(found, expected)
    elif mode in ("I;16", "I") or (
        mode == "F" and expected[:, :, 0].max() > 1
    ):  # floats up to 1 have that range
        assert np.array_equal(found, expected[:, :, :1].repeat(3, axis=2))
    CASES["images read"] += 1


@pytest.mark.filterwarnings("ignore")
@fuzz(short=60, long=2000)
@given(data=st.data(), photo=photos(), suffix=st.sampled_from(SUFFIXES))
def test_damaged_photos(tmp_path, data, photo, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data.draw(damage(photo[4])))
    try:
        found = read_image(path)
        assert (
            found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3 and found.size > 0
        )
        CASES["damaged images that can be read"] += 1
    except ImageError as e:
        assert is_one_line(e) and str(path) in str(e)
        CASES["damaged images with an error"] += 1
