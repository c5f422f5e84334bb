#!/usr/bin/env python
"""
Install Detectron2 for the Python that runs this script, unless it is there already.

Detectron2 is not on the package index under its own name and its official builds need a compiler.
This script decides, in this order:

1. ``import detectron2`` works, and it is not this script's own build: it is left alone.
2. The variable DETECTRON2 names a wheel, a folder or a requirement: pip installs that.
3. Otherwise the Python files of the official v0.6, taken from the index's sdist
   ``pb1-detectron2==0.6`` (sha256 checked, its setup.py never run), are made into a pure-Python
   wheel ``detectron2==0.6+pure`` that works with today's Pillow, numpy, setuptools and torch (see
   detectron2_pure.py). An up-to-date one stays.

In the pure build, operators that Detectron2 compiles (deformable convolution, rotated boxes) raise
an error that says so; Faster, Mask, Cascade and Keypoint R-CNN, RetinaNet and FCOS do not need
them.
Sdist and wheel are kept in pip's cache folder: the second time needs no network.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional

from detectron2_pure import (
    FINGERPRINT,
    SDIST,
    VERSION,
    SetupError,
    make_package,
    recipe_digest,
    unpack,
    verify,
    write_wheel,
)


def main() -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=as_written).parse_args()
    try:
        ensure_detectron2(os.environ.get("DETECTRON2", "").strip())
        print(describe_installed())
    except (SetupError, OSError) as e:
        print(f"install_detectron2: {e}", file=sys.stderr)
        return 1
    return 0


def ensure_detectron2(wanted: str) -> None:
    """
    Leave a working Detectron2 alone; otherwise install ``wanted`` or, if that is empty, the pure
    build.
    """
    version, error = find_detectron2()
    ours = version == VERSION
    if not error and not (ours and (wanted or is_outdated())):
        return
    if error and version and not ours:
        raise SetupError(
            f"Detectron2 {version} is installed but does not import ({error}). Repair it, or "
            f"remove it with '{sys.executable} -m pip uninstall detectron2' and run this again."
        )
    with tempfile.TemporaryDirectory() as tmp:
        wheel = "" if wanted else str(pure_wheel(cache_dir() or Path(tmp)))
        if ours:
            pip("uninstall", "--quiet", "--yes", "detectron2")
        if wanted:
            # The setup.py of official sources imports torch, so they are built in this environment.
            # Their model_zoo imports pkg_resources, which setuptools 81 removed.
            pip("install", "--quiet", "setuptools<81", "wheel")
            pip("install", "--no-build-isolation", wanted)
        else:
            pip("install", "--quiet", wheel)
    _, error = find_detectron2()
    if error:
        raise SetupError(f"Detectron2 was installed but does not import: {error}")


def run_python(code: str) -> subprocess.CompletedProcess:
    """
    Run code in a fresh interpreter outside this folder, so that only what is installed is seen.
    """
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=sys.prefix, check=False)


def last_line(result: subprocess.CompletedProcess) -> str:
    """The last line of what a failed process said."""
    lines = result.stderr.strip().splitlines()
    return lines[-1] if lines else f"it ended with code {result.returncode}"


def find_detectron2() -> "tuple[str, str]":
    """
    Version and error of ``import detectron2``.

    If the import works: the version and "". If not: the version of the installed distribution, ""
    if there is none, and the last line of the error.
    """
    result = run_python("import detectron2; print(detectron2.__version__)")
    if result.returncode == 0:
        return result.stdout.strip().splitlines()[-1], ""
    installed = run_python("from importlib.metadata import version; print(version('detectron2'))")
    return installed.stdout.strip(), last_line(result)


def is_outdated() -> bool:
    """True if the installed pure build was made by another recipe than today's."""
    code = f"print((pathlib.Path(detectron2.__file__).parent / {FINGERPRINT!r}).read_text())"
    return run_python("import detectron2, pathlib; " + code).stdout.strip() != recipe_digest()


def describe_installed() -> str:
    """One line for the user: version, compiler and place."""
    found = run_python("import detectron2 as d; print(d.__version__, d.__path__[0], sep='\\n')")
    version, place = found.stdout.strip().splitlines()[-2:]
    operators = run_python(
        "import torch; from detectron2 import _C; print(_C.get_compiler_version())"
    )
    if operators.returncode:
        reason = last_line(operators)
        return f"Detectron2 {version}, compiled operators do not load ({reason}), in {place}"
    return f"Detectron2 {version}, compiler: {operators.stdout.strip()}, in {place}"


def pip(*args: str) -> None:
    """Run pip for this Python; its messages go to the user."""
    command = [sys.executable, "-m", "pip", *args]
    if subprocess.run(command, check=False).returncode:
        raise SetupError(f"'{' '.join(command)}' failed; its message is above.")


def ask_pip(*args: str) -> str:
    """Ask pip; the answer is empty if it fails."""
    result = subprocess.run(
        [sys.executable, "-m", "pip", *args], capture_output=True, text=True, check=False
    )
    return "" if result.returncode else result.stdout.strip()


def cache_dir() -> Optional[Path]:
    """A folder of ours inside pip's cache; None if pip keeps no cache or may not write to it."""
    root = ask_pip("cache", "dir")
    path = Path(root) / "d2_saliency"
    try:
        if root:
            path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if root and os.access(path, os.W_OK) else None


def pure_wheel(cache: Path) -> Path:
    """The wheel ``detectron2==0.6+pure``, built in ``cache`` if it is not there yet."""
    wheel = cache / recipe_digest() / f"detectron2-{VERSION}-py3-none-any.whl"
    if not wheel.is_file():
        wheel.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wheel.parent) as tmp:
            source = unpack(fetch_sdist(cache), Path(tmp) / "sdist")
            package = make_package(source, Path(tmp) / "detectron2")
            write_wheel(package, source / "LICENSE", Path(tmp) / wheel.name)
            (Path(tmp) / wheel.name).replace(wheel)
    return wheel


def fetch_sdist(cache: Path) -> Path:
    """The sdist with the right sha256, from ``cache`` or from the package index."""
    path = cache / (SDIST.replace("==", "-") + ".tar.gz")
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=cache) as tmp:
            try:
                download(Path(tmp) / path.name)
            except SetupError as e:
                raise SetupError(
                    f"could not download {SDIST}: {e}\nCheck the network and pip's configuration, "
                    "or set DETECTRON2 to a wheel, a folder or a requirement to install instead."
                ) from e
            verify(Path(tmp) / path.name)
            (Path(tmp) / path.name).replace(path)
    verify(path)
    return path


def download(path: Path) -> None:
    """
    Download the sdist to ``path`` from the index that pip is configured for.

    ``pip download`` would run the sdist's setup.py, which needs torch and ends in an error; unearth
    only downloads. It is put in a throw-away folder, not in the user's environment.
    """
    pip("install", "--quiet", "--target", str(path.parent / "unearth"), "unearth>=0.9")
    env = {**os.environ, "PYTHONPATH": str(path.parent / "unearth")}
    settings = pip_settings()
    if "cert" in settings:
        env.setdefault("SSL_CERT_FILE", settings["cert"])
    command = [
        sys.executable,
        "-m",
        "unearth",
        SDIST,
        "--no-binary",
        "--download",
        str(path.parent),
    ]
    if "index-url" in settings:
        for url in (settings["index-url"], *settings.get("extra-index-url", "").split()):
            command += ["--index-url", url]
    for host in settings.get("trusted-host", "").split():
        command += ["--trusted-host", host]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if result.returncode or not path.is_file():
        raise SetupError(result.stderr.strip()[-300:] or "the index does not have it.")


def pip_settings() -> "dict[str, str]":
    """pip's configuration by option name; the environment goes before files, as in pip itself."""
    lines = sorted(
        ask_pip("config", "list").splitlines(), key=lambda line: line.startswith(":env:")
    )
    pairs = (line.partition("=") for line in lines)
    return {key.split(".")[-1]: value.strip("'\"").replace("\\n", " ") for key, _, value in pairs}


if __name__ == "__main__":
    sys.exit(main())
