"""JPEGs of thousands of scans, each of which passes over the whole picture."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from d2_saliency.utils.image_io import ImageError, read_image
from d2_saliency.utils.jpeg_scans import MAX_SCANS, num_scans

SOS, EOI = b"\xff\xda", b"\xff\xd9"


def jpeg(size=(40, 24), mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def segment(marker, content):
    return b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content


def many_scans(size, number):
    """A flat progressive picture whose last scan is there some more times."""
    file = io.BytesIO()
    Image.new("L", size, 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content[content.rindex(SOS) : content.rindex(EOI)]
    return content[:-2] + last * number + EOI


@pytest.mark.parametrize(
    "content, number",
    [
        (jpeg(), 1),
        (jpeg(mode="L"), 1),
        (jpeg(restart_marker_blocks=1), 1),
        (jpeg(progressive=True), 10),  # libjpeg's default of three components, and of one
        (jpeg(mode="L", progressive=True), 6),
        (many_scans((40, 24), 30), 36),
        (b"", 0),
        (b"\xff\xd8\xff", 0),
        (b"\xff\xd8\xff\xda\0", 1),
        (jpeg()[:-50], 1),
    ],
)
def test_numbers_of_scans(content, number):
    assert num_scans(content) == number


def test_scans_of_thumbnails_and_of_what_follows_the_picture_do_not_count():
    """An APP segment with JPEGs in it, as EXIF has; a film behind the picture, as of phones."""
    thumbnail = segment(0xE1, b"Exif\0\0" + jpeg() * 3)
    assert num_scans(jpeg()[:2] + thumbnail + jpeg()[2:] + SOS * 1000) == 1


def test_no_scan_is_hidden():
    """What libjpeg skips byte by byte is not skipped as a segment."""
    content = many_scans((8, 8), 1)
    in_data = content[:-2] + b"\xff\x02\xff\xff" + segment(0xDA, bytes(6)) * 5 + EOI
    assert num_scans(in_data) >= num_scans(content) + 5
    fill = content[:-2] + b"\xff" * 9 + segment(0xDA, bytes(6))[1:] + EOI
    assert num_scans(fill) == num_scans(content) + 1


def test_many_scans_are_refused_before_they_are_decoded(tmp_path):
    path = tmp_path / "x.png"  # by content, whatever the suffix
    path.write_bytes(many_scans((3000, 3000), 1000))
    start = time.process_time()
    with pytest.raises(ImageError, match=f"x.png' .*1006 scans.*{MAX_SCANS}") as error:
        read_image(path)
    assert time.process_time() - start < 1 and "\n" not in str(error.value)


def test_counting_takes_no_time_whatever_the_bytes_are():
    for content in (b"\xff\xd8" + b"\xff\0" * 10**7, b"\xff\xd8" + b"\xff" * 10**7):
        start = time.process_time()
        num_scans(content)
        assert time.process_time() - start < 1


def test_pictures_of_many_scans_are_read(tmp_path):
    (tmp_path / "x.jpg").write_bytes(many_scans((8, 8), MAX_SCANS - 6))
    assert read_image(tmp_path / "x.jpg").tolist() == np.full((8, 8, 3), 128).tolist()
