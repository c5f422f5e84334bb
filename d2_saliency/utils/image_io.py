"""
Reads any photo a person has as the uint8 array that a detector wants.
"""

import logging
import os
from pathlib import Path
from typing import BinaryIO, List, Tuple, Union

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION

from .jpeg_scans import MAX_SCANS, START, num_scans
from .regular_files import MAX_IMAGE, open_regular

logger = logging.getLogger(__name__)

FORMATS = frozenset(
    "AVIF BMP DIB GIF HEIF ICO JPEG JPEG2000 MPO PCX PNG PPM PSD QOI SGI TGA TIFF WEBP "
    "XBM XPM".split()
)
"""
Pillow's decoders that read pixels alone, by content whatever the suffix. EPS is a program that
Ghostscript runs.
"""


BAND = 2**18  # pixels that are converted at once
ORIENTATION = 274  # tag of EXIF
WHITE_IS_ZERO = 0  # a value of PHOTOMETRIC_INTERPRETATION


class ImageError(ValueError):
    """
    An image that cannot be used; the message is one line that names the file and says what to do.
    """


def read_image(path: Union[str, Path], format: str = "BGR") -> np.ndarray:
    """
    Read a photo as Detectron2 wants it: 8 bits, three colours, upright (EXIF rotation applied).

    - Transparent pixels are laid on white.
    - Of an animation or a file of many pages, the first is read.
    - CMYK is converted without its colour profile, as Pillow does.
    - Grey images of more than 8 bits are scaled, not clipped: see :func:`_range`.
    - Negatives (TIFFs that say that 0 is white) are shown as positives.

    Args:
        path: a file
        format: "BGR" or "RGB"

    Returns:
        ndarray: uint8, (H, W, 3).

    Raises:
        ImageError: the file is missing, a folder, a pipe or a device, not an image, damaged, of
            more than a gigabyte, of more pixels than Pillow's safety limit, or a JPEG of more than
            100 scans.
    """
    if format not in ("BGR", "RGB"):
        raise ValueError(f"Image format must be 'BGR' or 'RGB', got {format!r}.")
    shown = repr(str(path))  # on one line, whatever the name contains
    try:
        # Given a name, Pillow maps an uncompressed TIFF into memory, and scrambles it if EXIF turns
        # it by a quarter.
        with _open(path) as file:
            _check_scans(file, shown)
            with Image.open(file, formats=_formats()) as image:
                image.load()
                is_negative = _is_negative(image)
                return _pixels(_upright(image, shown), shown, is_negative, format)
    except ImageError:
        raise
    except UnidentifiedImageError as e:
        raise ImageError(
            f"{shown} is not an image that can be read: save it as JPEG or PNG."
        ) from e
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise ImageError(
            f"{shown} has too many pixels to be safe ({e}): make it smaller first."
        ) from e
    except MemoryError as e:
        raise ImageError(f"{shown} does not fit into memory: make it smaller first.") from e
    except (
        Exception
    ) as e:  # decoders report damage as whatever they ran into: OSError, SyntaxError, struct.error
        raise ImageError(
            f"{shown} is damaged or incomplete ({_first_line(e)}): copy or save it again."
        ) from e


def _formats() -> List[str]:
    Image.init()
    return [
        name for name in Image.OPEN if name in FORMATS
    ]  # Pillow was built without some, and plugins bring others


def _open(path: Union[str, Path]) -> BinaryIO:
    shown = repr(str(path))
    if os.path.isdir(path):
        raise ImageError(f"{shown} is a folder: name an image file.")
    try:
        file = open_regular(path, MAX_IMAGE)
    except FileNotFoundError as e:
        raise ImageError(f"{shown} does not exist: check the path.") from e
    except PermissionError as e:
        raise ImageError(f"{shown} may not be read: change its permissions.") from e
    except OSError as e:
        raise ImageError(f"{shown} cannot be used ({e.strerror}): name an image file.") from e
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise ImageError(f"{shown} is empty: copy it again.")
    return file


def _check_scans(file: BinaryIO, shown: str) -> None:
    if file.read(len(START)) == START:
        file.seek(0)
        scans = num_scans(file.read())
        if scans > MAX_SCANS:
            raise ImageError(
                f"{shown} has {scans} scans, each as much work as a picture, and {MAX_SCANS} are "
                "allowed: save it again as JPEG or PNG."
            )
    file.seek(0)


def _upright(image: Image.Image, shown: str) -> Image.Image:
    try:
        if image.getexif().get(ORIENTATION, 1) == 1:
            return image  # exif_transpose would copy it
        return ImageOps.exif_transpose(image)
    except Exception as e:  # a damaged EXIF block (many kinds of error) must not cost the picture
        logger.warning(
            "%s: its EXIF data cannot be read (%s); it is not rotated.", shown, _first_line(e)
        )
        return image


def _is_negative(image: Image.Image) -> bool:
    """
    Say whether 0 is white. Pillow turns TIFFs of up to 8 bits itself, and none of more; once it has
    rotated an image, the tag is lost.
    """
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    return _is_deep(image) and tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _pixels(image: Image.Image, shown: str, is_negative: bool, format: str) -> np.ndarray:
    """
    uint8, (H, W, 3). Bands of rows are converted one by one: copies of a large image in each kind
    between its own and the last would take many times its memory.
    """
    width, height = image.size
    rows = max(1, BAND // width)
    bands = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    is_deep, has_alpha = _is_deep(image), _has_alpha(image)
    pixels, is_opaque = np.empty((height, width, 3), np.uint8), True
    low, high = _range(image, bands) if is_deep else (0.0, 0.0)
    for band in bands:
        part = image.crop(band)
        if is_deep:
            rgb = _to_8_bits(_values(part), low, high, is_negative)[:, :, None]
        else:
            if has_alpha:
                part = part.convert("RGBA")
                is_opaque &= part.getchannel("A").getextrema() == (255, 255)
                part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part)
            rgb = np.asarray(part.convert("RGB"))
        pixels[band[1] : band[3]] = rgb[:, :, ::-1] if format == "BGR" else rgb
    if not is_opaque:
        logger.info("%s has transparent pixels; they are laid on white.", shown)
    return pixels


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _range(image: Image.Image, bands: List[Tuple[int, int, int, int]]) -> Tuple[float, float]:
    """
    Find what is black and what is white in a grey image of more than 8 bits.

    16-bit files have a fixed range, 0..65535. Files of 32-bit integers or floats do not say theirs:
    it is taken to be the smallest of 0..1 (floats only), 0..255 and 0..65535 that holds all values,
    or else minimum to maximum.
    """
    if image.mode.startswith("I;"):
        return 0.0, 65535.0
    extremes = [(v.min(), v.max()) for v in (_values(image.crop(band)) for band in bands)]
    low, high = min(e[0] for e in extremes), max(e[1] for e in extremes)
    tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    fitting = [top for top in tops if low >= 0 and high <= top]
    return (0.0, fitting[0]) if fitting else (float(low), float(high))


def _values(image: Image.Image) -> np.ndarray:
    """Grey values of more than 8 bits, float64, (H, W); those that are not finite become 0."""
    values = np.asarray(image).astype(np.float64)
    return np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _to_8_bits(values: np.ndarray, low: float, high: float, is_negative: bool) -> np.ndarray:
    """Values of low..high as uint8; in a negative, the low end is white."""
    span = (high - low) or 1.0  # a picture of one value
    above = high - values if is_negative else values - low
    return np.rint(above / span * 255).astype(np.uint8)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
