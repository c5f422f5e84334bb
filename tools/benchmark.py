#!/usr/bin/env python
"""
Measure what explanations cost, beside one stock inference and beside what a user would pick
instead, in interleaved runs.

A Faster R-CNN R50-FPN with random weights detects 50 objects in an image of noise. Each of our rows
is the whole call, detection included. Rows of captum, pytorch-grad-cam, ODAM's way and ODSmoothGrad
are measured on a part of the job (one detection, one output or one noise pass) and scaled to all of
it. Maps are compared before times are. Memory is what a call needs at its peak beyond stock
inference at its own, each in a process of its own. Needs pip install -e '.[peers]' for the peers;
writes the tables and plots to the output folder.

    OMP_NUM_THREADS=2 tools/benchmark.py
    tools/benchmark.py --only gradients d_rise --repeats 2 --device cuda
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("cam", "gradients", "small_objects", "d_rise", "profile", "data_set", "scaling")


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, help="parts to run (default: all)"
    )
    parser.add_argument(
        "--repeats", type=int, default=2, help="interleaved rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--num-masks",
        type=int,
        default=40,
        help="masks of a round of D-RISE (default: %(default)s)",
    )
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out peak memory, which takes minutes"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "output" / "benchmark",
        help="folder (default: output/benchmark)",
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    from benchmarks.measure import machine
    from benchmarks.sections import SECTIONS

    args.output.mkdir(parents=True, exist_ok=True)
    parts = [f"Measured on {machine()}, device {args.device}, {args.repeats} rounds.\n"]
    print(parts[0], flush=True)
    for name in args.only:
        title, section = SECTIONS[name]
        start = time.perf_counter()
        parts.append(f"## {title}\n\n{section(args)}\n({time.perf_counter() - start:.0f} s)\n")
        print(parts[-1], flush=True)
        (args.output / "benchmark.md").write_text("\n".join(parts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
