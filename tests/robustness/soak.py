"""
Explain a thousand images in one process and print how memory, open files and speed develop.

    python tests/robustness/soak.py            # 1,000 images, a line every 50; 1 if something grows
    python tests/robustness/soak.py --images 200 --method ODAM --size 480 640 --max-instances 5
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, Sequence, Tuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WARM_UP = 50  # images; allocators and caches fill until then
MAX_GROWTH = 24.0  # MiB from the end of the warm-up to the end


SMALL = ((128, 128), (160, 160))  # height, width


def write_images(folder: Path, count: int, sizes: Sequence[Tuple[int, int]] = SMALL) -> None:
    """
    Crops of the bundled scenes, laid side by side where they are too small; all different, of the
    sizes in turn.
    """
    scenes = [
        np.asarray(Image.open(p).convert("RGB"))
        for p in sorted((ROOT / "demo" / "images").glob("*.png"))
    ]
    for i in range(count):
        scene = scenes[i % len(scenes)]
        top, left = (i * 7) % 40, (i * 11) % 40
        height, width = sizes[i % len(sizes)]
        tiled = np.tile(
            scene, (-(-(top + height) // len(scene)), -(-(left + width) // len(scene[0])), 1)
        )
        Image.fromarray(tiled[top : top + height, left : left + width]).save(
            folder / f"{i:05d}.png"
        )


def usage() -> Tuple[float, int]:
    """(resident memory in MiB, open descriptors) of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd"))


def measure(
    count: int, method: str, max_instances: int, folder: Path
) -> Iterator[Tuple[int, float, int, float]]:
    """
    Every 50 images: (images done, memory in MiB, open descriptors, images per second of CPU since
    the last ones).
    """
    from d2_saliency.engine.explainer import DefaultExplainer
    from d2_saliency.engine.methods import build_methods
    from d2_saliency.engine.run import explain_images
    from tests.conftest import demo_cfg

    cfg = demo_cfg("faster_rcnn_planted")
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.MODEL.SALIENCY_HEAD.NAME, cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = method, max_instances
    explainer = DefaultExplainer(cfg)
    methods = build_methods(cfg, [cfg], explainer.weights)
    paths = sorted(folder.glob("*.png"))
    for first in range(0, count, 50):
        start = time.process_time()
        failed = explain_images(explainer, paths[first : first + 50], methods, folder / "out")
        if failed:
            raise RuntimeError(f"{failed} images failed: see {folder / 'out' / 'errors.json'}")
        seconds = time.process_time() - start
        gc.collect()
        yield (first + 50, *usage(), 50 / seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument(
        "--images", type=int, default=1000, help="a multiple of 50 (default: %(default)s)"
    )
    parser.add_argument(
        "--method", default="GradCAM", help="saliency method (default: %(default)s)"
    )
    parser.add_argument(
        "--max-instances",
        type=int,
        default=1,
        help="detections of each image (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of the images (default: two small sizes)",
    )
    args = parser.parse_args()
    print("images  memory/MiB  descriptors  images/s of CPU")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), args.images, [tuple(args.size)] if args.size else SMALL)
        for row in measure(args.images, args.method, args.max_instances, Path(folder)):
            rows.append(row)
            print("{:6d}  {:10.1f}  {:11d}  {:15.2f}".format(*row), flush=True)
    memory, descriptors = ([row[i] for row in rows if row[0] >= WARM_UP] for i in (1, 2))
    growth, more = memory[-1] - memory[0], descriptors[-1] - descriptors[0]
    print(f"From image {WARM_UP} to {args.images}: {growth:+.1f} MiB, {more:+d} descriptors")
    return int(growth > MAX_GROWTH or more > 0)


if __name__ == "__main__":
    sys.exit(main())
