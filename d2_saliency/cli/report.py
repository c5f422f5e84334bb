"""
Write the report of finished output folders anew: index.html and report/, from their results.

Use it for a folder that was copied without its report, or that an older version wrote. Nothing is
explained again, and no detector is needed.
"""

import argparse
from pathlib import Path

from ..utils.text import printable

SUMMARY = "write the report of a finished output folder anew"
RESUMES = False
EXAMPLES = """
examples:
  d2-saliency report output/explain         then open output/explain/index.html
  d2-saliency report results/*              many folders
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="OUT",
        help="output folder of d2-saliency explain, with results.json and maps/, e.g. "
        "output/explain",
    )


def run(args: argparse.Namespace) -> int:
    from ..engine.defaults import setup_terminal
    from ..visualization import write_report

    setup_terminal()
    for folder in args.folders:
        print(f"Report: {printable(str(write_report(folder)))}")
    return 0
