"""
Makes the wheel ``detectron2==0.6+pure`` from the sdist of Detectron2 v0.6.

The recipe is the data at the top: which files to change and why. It needs nothing but the standard
library, and the same sdist gives the same wheel, byte for byte.
"""

import base64
import hashlib
import shutil
import tarfile
import zipfile
from pathlib import Path

SDIST = "pb1-detectron2==0.6"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
VERSION = "0.6+pure"
FINGERPRINT = "pure_build.txt"  # in the installed package: digest of the recipe that built it

# Detectron2's own list without the pins of 2021 and without what only caffe2 export and its linters
# need.
REQUIREMENTS = """
    Pillow>=9.1  matplotlib  pycocotools>=2.0.2  termcolor>=1.1  yacs>=0.1.8  tabulate  cloudpickle
    tqdm>4.29.0  tensorboard  fvcore>=0.1.5,<0.1.6  iopath>=0.1.7  omegaconf>=2.1  hydra-core>=1.1
    torch>=1.8  torchvision
""".split()

STUB = '''"""Stand-in for Detectron2's compiled extension in the pure-Python build 0.6+pure."""


def get_compiler_version():
    return "none (pure-Python build)"


def get_cuda_version():
    return "none (pure-Python build)"


def has_cuda():
    return False


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)

    def missing_operator(*args, **kwargs):
        raise RuntimeError(
            f"detectron2._C.{name} is a compiled operator and this is the pure-Python build of "
            "Detectron2. "
            "Install an official build (see Detectron2's INSTALL.md) to use models that need it."
        )

    return missing_operator
'''

# (file, what it says, what it shall say). Each must match, or the build stops.
PATCHES = (
    # Pillow 10 removed the alias.
    ("data/transforms/transform.py", "Image.LINEAR", "Image.BILINEAR"),
    # numpy 1.24 removed the aliases of Python's own types.
    ("evaluation/pascal_voc_evaluation.py", "np.bool)", "bool)"),
    ("evaluation/sem_seg_evaluation.py", "np.int)", "int)"),
    ("evaluation/sem_seg_evaluation.py", "np.float)", "float)"),
    ("structures/masks.py", "np.bool)", "bool)"),
    ("data/datasets/pascal_voc.py", "np.str)", "str)"),
    ("data/build.py", "np.int)", "int)"),
    ("data/build.py", "dtype=np.int\n", "dtype=int\n"),
    ("utils/visualizer.py", "np.bool)", "bool)"),
    ("utils/video_visualizer.py", "np.bool)", "bool)"),
    # setuptools 81 removed pkg_resources.
    ("model_zoo/model_zoo.py", "import pkg_resources\n", ""),
    (
        "model_zoo/model_zoo.py",
        "pkg_resources.resource_filename(\n"
        '        "detectron2.model_zoo", os.path.join("configs", config_path)\n    )',
        'os.path.join(os.path.dirname(__file__), "configs", config_path)',
    ),
    # torch checks that GroupNorm's 32 groups divide the channels (as fixed on Detectron2's main).
    ("modeling/meta_arch/retinanet.py", "get_norm(norm, 1)", "get_norm(norm, 32)"),
    # COCOEvaluator's C++ twin of pycocotools' COCOeval: use the original.
    (
        "evaluation/coco_evaluation.py",
        "from detectron2.evaluation.fast_eval_api import COCOeval_opt\n",
        "COCOeval_opt = COCOeval  # the compiled twin is not in the pure-Python build\n",
    ),
    # The one operator that is called as torch.ops.detectron2.*, where the stub cannot answer.
    ("layers/nms.py", "torch.ops.detectron2.nms_rotated(", "_C.nms_rotated("),
    ("layers/nms.py", "import torch\n", "import torch\n\nfrom detectron2 import _C\n"),
    ("__init__.py", '__version__ = "0.6"', f'__version__ = "{VERSION}"'),
)

METADATA = f"""Metadata-Version: 2.1
Name: detectron2
Version: {VERSION}
Summary: Pure-Python build of Detectron2 v0.6, made by d2_saliency's tools/install_detectron2.py
License: Apache-2.0
Requires-Python: >=3.8
""" + "".join(f"Requires-Dist: {requirement}\n" for requirement in REQUIREMENTS)

WHEEL = "Wheel-Version: 1.0\nGenerator: d2_saliency\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class SetupError(Exception):
    """Something the user can act on; printed without a traceback."""


def recipe_digest() -> str:
    """Changes when the recipe does, so that a wheel made by an older one is replaced."""
    return hashlib.sha256(repr((SHA256, STUB, PATCHES, METADATA, WHEEL)).encode()).hexdigest()[:16]


def verify(sdist: Path) -> None:
    """Raise SetupError, and remove the file, unless its sha256 is the known one."""
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if digest != SHA256:
        sdist.unlink()
        raise SetupError(
            f"{sdist} has sha256 {digest}, expected {SHA256}. It was removed; run this again."
        )


def unpack(sdist: Path, target: Path) -> Path:
    """Unpack a verified sdist; returns the one folder in it."""
    with tarfile.open(sdist) as archive:
        # Python before 3.10.12 and 3.11.4 has no filters; by its sha256 this archive is harmless
        # anyway.
        archive.extractall(
            target, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )
    return next(target.iterdir())


def make_package(source: Path, package: Path) -> Path:
    """Copy the sdist's files to ``package``, then add the stub and apply the patches."""
    shutil.copytree(source / "detectron2", package)
    for project in ("PointRend/point_rend", "DeepLab/deeplab", "Panoptic-DeepLab/panoptic_deeplab"):
        shutil.copytree(source / "projects" / project, package / "projects" / Path(project).name)
    (package / "_C.py").write_text(STUB, encoding="utf-8")
    (package / FINGERPRINT).write_text(recipe_digest(), encoding="utf-8")
    for name, old, new in PATCHES:
        path = package / name
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if old not in text:
            raise SetupError(
                f"the recipe does not fit: detectron2/{name} does not contain {old!r}."
            )
        path.write_text(text.replace(old, new), encoding="utf-8")
    return package


def write_wheel(package: Path, licence: Path, wheel: Path) -> None:
    """Pack ``package`` as a wheel; neither setuptools nor a network is needed for that."""
    info = f"detectron2-{VERSION}.dist-info"
    paths = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".yaml", ".txt"))
    files = {path.relative_to(package.parent).as_posix(): path.read_bytes() for path in paths}
    files[f"{info}/LICENSE"] = licence.read_bytes()
    files[f"{info}/METADATA"] = METADATA.encode()
    files[f"{info}/WHEEL"] = WHEEL.encode()
    record = f"{info}/RECORD,,\n"
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        record += f"{name},sha256={digest},{len(data)}\n"
    files[f"{info}/RECORD"] = record.encode()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=zipfile.ZIP_DEFLATED)
