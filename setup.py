#!/usr/bin/env python
"""
d2_saliency: explanations for Detectron2's detectors.

Detectron2 is not in install_requires on purpose: the index does not have it under its own name, so
pip could not install it. tools/install_detectron2.py (run by ``make setup``) does where it is
missing.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

# Four wheels bring cv2 (opencv-python, opencv-contrib-python, both also -headless) and overwrite
# each other's files. The headless one runs on servers without libGL. ``make setup`` names the one
# that is there already and works, so that it stays.
OPENCV = os.environ.get("D2_SALIENCY_OPENCV") or "opencv-python-headless>=4.6"


# Files of the repository that the command line needs; utils/bundled.py finds them in the package.
BUNDLED = ("configs/**/*.yaml", "demo/images*/*.png", "demo/weights/*.pth")


class BuildWithBundle(build_py):
    """Copies configs, images and weights into the package that is built, not into the sources."""

    def run(self) -> None:
        if not self.editable_mode:
            # What an earlier build left would be in the wheel, too.
            shutil.rmtree(Path(self.build_lib) / "d2_saliency", ignore_errors=True)
        super().run()
        for source, target in self._bundle().items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list:
        return super().get_outputs(include_bytecode) + [str(t) for t in self._bundle().values()]

    def _bundle(self) -> dict:
        """File of the repository -> where it goes."""
        if self.editable_mode:  # they are beside the package
            return {}
        target = Path(self.build_lib) / "d2_saliency" / "bundled"
        files = [file for pattern in BUNDLED for file in ROOT.glob(pattern)]
        return {file: target / file.relative_to(ROOT) for file in files}


def get_version() -> str:
    """
    The version, read from the package without importing it (that would need torch and Detectron2).
    """
    text = (ROOT / "d2_saliency" / "version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE).group(1)


def get_long_description() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="d2_saliency",
    version=get_version(),
    description="Saliency maps for each of the five outputs (class, box) of Detectron2's "
    "detections",
    long_description=get_long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["d2_saliency", "d2_saliency.*"]),
    package_data={"": ["*.html", "*.css", "*.js", "templates/*"]},
    entry_points={"console_scripts": ["d2-saliency = d2_saliency.cli.main:main"]},
    cmdclass={"build_py": BuildWithBundle},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.1",
        "torchvision>=0.16",
        "fvcore>=0.1.5",
        "numpy>=1.22",
        "scipy>=1.15",
        OPENCV,
        "Pillow>=9.1",
        "matplotlib>=3.5",
        "pycocotools>=2.0.4",
        "jinja2>=3.0",
        "tqdm>=4.60",
        "safetensors>=0.4",
    ],
    extras_require={
        # d2-saliency app
        "web": ["gradio>=6.0"],
        # other libraries that the benchmarks and tests/peers compare with; grad-cam before 1.5.7
        # brings another OpenCV
        "peers": ["captum>=0.6", "grad-cam>=1.5.7", "scikit-learn>=1.0", "xaitk-saliency>=0.7"],
        # make docs; l2m4m turns equations into MathML, which browsers show without a script
        "docs": ["mkdocs-material>=9.5", "mkdocstrings-python>=2.0", "l2m4m>=1.0.4"],
        # make test, make quality, make types, make coverage
        "dev": [
            "pytest>=7.0",
            "playwright>=1.40",
            "setuptools>=70.1",  # builds the wheel that a test installs
            "pytest-cov>=4.0",
            "pytest-xdist>=3.5",
            "hypothesis>=6.80",
            "ruff==0.17.5",
            "mypy==2.4.1",
        ],
    },
)
