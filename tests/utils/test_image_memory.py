"""What reading a large image costs beside the decoded image and the result."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from d2_saliency.utils import image_io
from d2_saliency.utils.image_io import read_image

SIDE = 5000  # pixels
CODE = """
import re, sys
from d2_saliency.utils.image_io import read_image
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) / 1000
before = peak()
read_image(sys.argv[1])
print(peak() - before)
"""


@pytest.mark.parametrize(
    "mode, bytes_per_pixel",
    # Pillow's decoded image, once more where it decompresses, and the three bytes of the result.
    [("I;16", 2 + 3), ("F", 4 + 3), ("RGB", 4 + 3), ("RGBA", 4 + 3), ("L", 1 + 3)],
)
def test_memory(tmp_path, mode, bytes_per_pixel):
    Image.new(mode, (SIDE, SIDE)).save(tmp_path / "x.tif", compression="tiff_adobe_deflate")
    run = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "x.tif"], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < SIDE**2 * bytes_per_pixel / 1e6 + 40  # MB


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_bands_change_nothing(tmp_path, monkeypatch, mode):
    values = np.random.default_rng(0).integers(0, 256, (37, 11, 4), np.uint8)
    if mode in ("I;16", "I", "F"):
        deep = values[:, :, 0].astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
        image = Image.fromarray(deep * (257 if mode == "I;16" else 1000))
    else:
        image = Image.fromarray(values).convert(mode)
    image.save(tmp_path / "x.tif")
    whole = read_image(tmp_path / "x.tif")
    monkeypatch.setattr(image_io, "BAND", 11 * 5)  # pixels: five rows, two in the last
    assert np.array_equal(read_image(tmp_path / "x.tif"), whole)
