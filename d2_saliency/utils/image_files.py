"""Finds the image files to read, and names for what is made of them."""

import glob
import itertools
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Set, Union

from .digest import digest
from .image_io import ImageError, read_image

IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff "
    ".webp".split()
)
"""
Suffixes of images in a folder or a pattern, in lower case. A file that is named itself always
counts.
"""

RESERVED_NAMES = frozenset({"maps", "records", "report", "inference"})
"""Folders of an output folder that are not an image's."""

MAX_NAME_LENGTH = 80  # file systems allow 255 bytes; suffixes and temporary names need some


def list_images(inputs: Sequence[str]) -> List[Path]:
    """
    Files to read, in the order of the inputs, each once, whatever links lead to it.

    - A file is kept whatever its suffix, and also if it does not exist: reading it says so, and the
      others are read all the same.
    - A folder stands for the images directly inside it (by suffix, ``IMAGE_SUFFIXES``; hidden files
      are none), sorted by name. Folders inside it are not entered: ask for them with a pattern,
      ``"folder/**/*.jpg"``.
    - A pattern (``*``, ``?``, ``[...]``, ``**``) that is not itself a file stands for the images it
      matches, sorted. ``**`` enters no hidden folders and no links to folders.

    Raises:
        ImageError: none of the files exists, or a folder or pattern is without an image.
    """
    if not inputs:
        raise ImageError("No input image was given: name at least one file, folder or pattern.")
    files: Dict[str, Path] = {}
    for text in inputs:
        for path in _expand(str(text)):
            files.setdefault(os.path.realpath(path), path)
    if not any(map(os.path.exists, files)):
        first = repr(str(next(iter(files.values()))))
        if len(files) == 1:
            raise ImageError(f"{first} does not exist: check the path.")
        raise ImageError(
            f"None of the {len(files)} input files exists, {first} for one: check the paths."
        )
    return list(files.values())


def check_any_readable(paths: Sequence[Path]) -> None:
    """Fail before a model is loaded if there is nothing to do for it.

    Raises:
        ImageError: none of the files can be read as an image.
    """
    errors = []
    for path in paths:
        try:
            read_image(path)
            return
        except ImageError as e:
            errors.append(e)
    if len(errors) > 1:
        raise ImageError(f"None of the {len(errors)} images can be read. The first: {errors[0]}")
    raise errors[0]


def output_names(paths: Sequence[Union[str, Path]]) -> List[str]:
    """
    A folder name for the outputs of each image: the file's stem in plain ASCII (letters, digits,
        "-", "_").

    Names differ from one another (on file systems that ignore case, too) and from
    ``RESERVED_NAMES``. Where stems do not, or have nothing in ASCII, a digest of the absolute path
    follows: "x_1a2b3c4d5e6f". So a name depends on no order, and a new file renames none but the
    one that had its stem alone. The same paths give the same names, which is what resuming a run
    needs.
    """
    stems = [safe_name(Path(path).stem) for path in paths]
    counts = Counter(stem.lower() for stem in stems)
    names = [
        stem
        if stem and counts[stem.lower()] == 1 and stem.lower() not in RESERVED_NAMES
        else f"{stem or 'image'}_{digest(os.path.abspath(path))[:12]}"
        for stem, path in zip(stems, paths)
    ]
    taken: Set[str] = set()
    copies: Counter = Counter()
    for i, name in enumerate(names):  # a path that is there twice; a stem that looks like a digest
        while names[i].lower() in taken:
            copies[name] += 1
            names[i] = f"{name}_{copies[name] + 1}"
        taken.add(names[i].lower())
    return names


def safe_name(text: str) -> str:
    """
    ``text`` as part of a file name: ASCII letters, digits, "-" and "_", at most 80; may be empty.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", ascii_text)[:MAX_NAME_LENGTH].strip("_-")


def _expand(text: str) -> List[Path]:
    path = Path(text).expanduser()
    if os.path.isdir(path):
        found = [p for p in _list_folder(path) if _looks_like_image(p)]
        if not found:
            raise ImageError(
                f"Folder {text!r} has no images directly inside: name its files or use a pattern."
            )
        return found
    if os.path.exists(path) or not glob.has_magic(text):  # "photo[1].jpg" may be a file
        return [path]
    found = [p for p in map(Path, sorted(set(_matches(str(path))))) if _looks_like_image(p)]
    if not found:
        raise ImageError(f"No image matches {text!r}: check the pattern.")
    return found


def _matches(pattern: str) -> Iterator[str]:
    """
    Files and folders as ``glob.glob(pattern, recursive=True)`` finds them, but ``**`` stands for
    folders without links to such, which may lead in circles.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index("**")
    after = list(itertools.dropwhile("**".__eq__, parts[at:])) or ["*"]
    for base in glob.iglob(os.path.join(*parts[:at])) if at else [os.curdir]:
        for folder, subfolders, _ in os.walk(base):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            yield from _matches(os.path.join(glob.escape(str(Path(folder))), *after))


def _list_folder(path: Path) -> List[Path]:
    try:
        return sorted(path.iterdir())
    except OSError as e:
        raise ImageError(
            f"Folder {str(path)!r} cannot be read ({e.strerror}): change its permissions."
        ) from e


def _looks_like_image(path: Path) -> bool:
    # Hidden: "._x.jpg" is what macOS leaves beside x.jpg, and no image.
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
