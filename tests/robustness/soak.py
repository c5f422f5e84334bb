"""
Explain a thousand small images in one process and print how memory, open files and speed develop.

    python tests/robustness/soak.py            # 1,000 images; prints a line every 50; exit status 1 if something grows
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, Tuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WARM_UP = 50  # images; allocators and caches fill until then
MAX_GROWTH = 24.0  # MiB from the end of the warm-up to the end


def write_images(folder: Path, count: int) -> None:
    """Crops of the bundled scenes, all different, of two sizes."""
    scenes = [np.asarray(Image.open(p).convert("RGB")) for p in sorted((ROOT / "demo" / "images").glob("*.png"))]
    for i in range(count):
        scene = scenes[i % len(scenes)]
        top, left = (i * 7) % 40, (i * 11) % 40
        side = 128 + 32 * (i % 2)
        Image.fromarray(scene[top : top + side, left : left + side]).save(folder / f"{i:05d}.png")


def usage() -> Tuple[float, int]:
    """(resident memory in MiB, open descriptors) of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd"))


def measure(count: int, method: str, folder: Path) -> Iterator[Tuple[int, float, int, float]]:
    """Every 50 images: (images done, memory in MiB, open descriptors, images per second of CPU since the last ones)."""
    from d2_saliency.engine.explainer import DefaultExplainer
    from d2_saliency.engine.results import ResultsWriter
    from d2_saliency.engine.run import explain_images
    from d2_saliency.engine.run_info import run_info
    from tests.conftest import demo_cfg

    cfg = demo_cfg("faster_rcnn_planted")
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.MODEL.SALIENCY_HEAD.NAME, cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = method, 1
    explainer = DefaultExplainer(cfg)
    head = explainer.model.saliency_head
    writer = ResultsWriter(folder / "out", run_info("soak", "", method, 0))
    paths = sorted(folder.glob("*.png"))
    for first in range(0, count, 50):
        start = time.process_time()
        failed = explain_images(explainer, paths[first : first + 50], [(head, writer)])
        if failed:
            raise RuntimeError(f"{failed} images failed: see {folder / 'out' / 'errors.json'}")
        seconds = time.process_time() - start
        gc.collect()
        yield (first + 50, *usage(), 50 / seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--images", type=int, default=1000, help="a multiple of 50 (default: %(default)s)")
    parser.add_argument("--method", default="GradCAM", help="saliency method (default: %(default)s)")
    args = parser.parse_args()
    print("images  memory/MiB  descriptors  images/s of CPU")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), args.images)
        for row in measure(args.images, args.method, Path(folder)):
            rows.append(row)
            print("{:6d}  {:10.1f}  {:11d}  {:15.2f}".format(*row), flush=True)
    memory, descriptors = ([row[i] for row in rows if row[0] >= WARM_UP] for i in (1, 2))
    growth, more = memory[-1] - memory[0], descriptors[-1] - descriptors[0]
    print(f"From image {WARM_UP} to {args.images}: {growth:+.1f} MiB, {more:+d} descriptors")
    return int(growth > MAX_GROWTH or more > 0)


if __name__ == "__main__":
    sys.exit(main())
