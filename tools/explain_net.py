#!/usr/bin/env python
"""
Explain what a Detectron2 model detects: for every detection five saliency maps (class, x_min, y_min, x_max, y_max).

Writes to the output folder: index.html (a report to look at, opens from disk), <image>/*.png (panels), maps/*.npz
(the maps), results.json (one record per detection) and errors.json (images that failed, and why). A run that was
stopped goes on where it was when the same command is given again. Exit status: 0 if all images were explained, 1 if
some failed, 2 if the command cannot be carried out, 130 if it was stopped.
"""

import argparse
import shlex
import sys
from pathlib import Path

from d2_saliency.engine.bundle import OutputError
from d2_saliency.engine.defaults import add_explainer_arguments, setup_cfg, setup_terminal
from d2_saliency.engine.digest import config_text
from d2_saliency.engine.explainer import DefaultExplainer
from d2_saliency.engine.image_io import check_any_readable, list_images
from d2_saliency.engine.results import ResultsWriter, run_info
from d2_saliency.engine.run import explain_images

ROOT = Path(__file__).resolve().parents[1]
EPILOG = """
examples:
  tools/explain_net.py                                    the bundled detector on the bundled images
  tools/explain_net.py --input photo.jpg --output out     the bundled detector on a photo
  tools/explain_net.py --config-file COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml --input photos/ \\
      --opts MODEL.WEIGHTS model_final.pkl                a model-zoo detector with downloaded weights
  tools/explain_net.py --config-file my.yaml --input 'photos/**/*.jpg' --method Gradient --score-thresh 0.8
"""


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        default=[str(ROOT / "demo" / "images")],
        help="image files, folders of images, or quoted patterns, e.g. photo.jpg holiday/ 'photos/**/*.png'; any size, "
        "EXIF rotation, grey, RGBA and 16 bits are understood (default: the bundled images)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="output/explain",
        help="folder for the results, e.g. results/holiday (default: %(default)s)",
    )
    add_explainer_arguments(parser, str(ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"))
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    setup_terminal()
    try:
        return explain(args)
    except (ValueError, OutputError) as e:  # they say what is wrong and what to do
        print(f"explain_net: {' '.join(str(e).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("explain_net: stopped; give the same command again to go on from here.", file=sys.stderr)
        return 130


def explain(args: argparse.Namespace) -> int:
    """Run what the arguments ask for. Returns the exit status: 1 if an image failed."""
    paths = list_images(args.input)
    check_any_readable(paths)
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file)
    head = explainer.model.saliency_head
    run = run_info(
        shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        config_text(cfg, saliency_cfg),
        saliency_cfg.MODEL.SALIENCY_HEAD.NAME,
        head.seed,
        explainer.weights,
        getattr(head, "num_samples", None),
    )
    writer = ResultsWriter(args.output, run)
    failed = explain_images(explainer, paths, writer)
    if failed:
        print(f"{failed} of {len(paths)} images failed: see {Path(args.output) / 'errors.json'}", file=sys.stderr)
    print(f"Report: {Path(args.output) / 'index.html'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
