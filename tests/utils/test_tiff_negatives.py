"""TIFFs whose zero is white, as X-ray and non-destructive testing write them."""

import struct

import numpy as np
import pytest
from PIL import Image

from d2_saliency.utils.image_io import read_image

COMPRESSIONS = [None, "tiff_lzw", "tiff_adobe_deflate"]
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
PHOTOMETRIC = 262  # number of the tag


def by_hand(path, values, photometric):
    """A little-endian, uncompressed TIFF of one strip; photometric None leaves the tag out."""
    height, width = values.shape
    tags = {
        256: width,
        257: height,
        258: values.itemsize * 8,
        259: 1,
        PHOTOMETRIC: photometric,
        273: 8,  # the strip follows the header
        277: 1,
        278: height,
        279: values.nbytes,
        339: 3 if values.dtype.kind == "f" else 1,
    }
    tags = {tag: value for tag, value in tags.items() if value is not None}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + values.nbytes)
    path.write_bytes(head + values.tobytes() + struct.pack("<H", len(tags)) + entries + bytes(4))


def by_pillow(path, values, photometric, compression, **options):
    tags = {PHOTOMETRIC: photometric}
    Image.fromarray(values).save(path, tiffinfo=tags, compression=compression, **options)


SHARES = np.array([[0.0, 0.25, 1.0]], np.float32)


@pytest.mark.parametrize(
    "values, shown",
    [
        (np.array([[0, 257, 128 * 257, 65535]], np.uint16), [0, 1, 128, 255]),
        (SHARES, [0, 64, 255]),
        (SHARES * 200, [0, 50, 200]),
        (SHARES * 65535, [0, 64, 255]),
        (np.array([[-100.0, 0.0, 300.0]], np.float32), [0, 64, 255]),
    ],
)
class TestMoreThan8Bits:
    @pytest.mark.parametrize("compression", COMPRESSIONS)
    def test_by_pillow(self, tmp_path, values, shown, compression):
        by_pillow(tmp_path / "p.tif", values, BLACK_IS_ZERO, compression)
        by_pillow(tmp_path / "n.tif", values, WHITE_IS_ZERO, compression)
        self.check(tmp_path, shown)

    def test_by_hand(self, tmp_path, values, shown):
        by_hand(tmp_path / "p.tif", values, BLACK_IS_ZERO)
        by_hand(tmp_path / "n.tif", values, WHITE_IS_ZERO)
        self.check(tmp_path, shown)

    def check(self, folder, shown):
        assert read_image(folder / "p.tif")[0].tolist() == [[value] * 3 for value in shown]
        negative = [255 - value for value in shown]
        assert read_image(folder / "n.tif")[0].tolist() == [[value] * 3 for value in negative]


def test_halves_are_rounded_after_the_turn(tmp_path):
    by_hand(tmp_path / "n.tif", np.array([[0.0, 0.5, 1.0]], np.float32), WHITE_IS_ZERO)
    assert read_image(tmp_path / "n.tif")[0, :, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_with_exif_and_a_second_page(tmp_path, compression):
    values, exif = np.array([[0, 65535, 257]], np.uint16), Image.Exif()
    exif[274] = 6
    pages = [Image.fromarray(values)]
    options = {"exif": exif, "save_all": True, "append_images": pages}
    exif[PHOTOMETRIC] = WHITE_IS_ZERO
    pages[0].save(tmp_path / "x.tif", compression=compression, **options)
    assert read_image(tmp_path / "x.tif")[:, :, 0].tolist() == [[255], [0], [254]]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_8_bits_are_turned_once(tmp_path, compression):
    values = np.array([[0, 51, 255]], np.uint8)
    by_pillow(tmp_path / "n.tif", values, WHITE_IS_ZERO, compression)
    assert read_image(tmp_path / "n.tif")[0, :, 0].tolist() == [0, 51, 255]  # Pillow turns it, too
    by_hand(tmp_path / "n.tif", values, WHITE_IS_ZERO)
    assert read_image(tmp_path / "n.tif")[0, :, 0].tolist() == [255, 204, 0]


def test_without_the_tag_nothing_is_turned(tmp_path):
    by_hand(tmp_path / "x.tif", np.array([[0, 65535]], np.uint16), None)
    assert read_image(tmp_path / "x.tif")[0, :, 0].tolist() == [0, 255]
