#!/usr/bin/env python
"""
Detect and explain objects in images, a video or the webcam, and show or save the pictures.

An image gives a panel for each detection (class and four coordinates), or with --map one picture
with that map of all detections; a video gives one such picture per frame. "d2-saliency explain"
keeps the maps and makes a report.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from d2_saliency.cli.arguments import (
    DEMO_IMAGES,
    OUTPUTS,
    add_class_names_argument,
    add_explainer_arguments,
)
from d2_saliency.cli.list_methods import list_methods
from d2_saliency.cli.run_tool import run_tool

# What needs torch is imported in run, after the arguments are parsed.

EPILOG = """
examples:
  demo/demo.py                                             the bundled images in a window
  demo/demo.py --input photo.jpg 'more/*.png' --output out panels in out/photo.png, ...
  demo/demo.py --input photos/ --map class --output out    one picture an image, with the class maps
  demo/demo.py --video-input film.mp4 --method ODAM --output film_explained.mp4
  demo/demo.py --webcam --method ODAM --map class
"""


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        default=[str(DEMO_IMAGES)],
        help="image files, folders, or quoted patterns, e.g. photo.jpg 'photos/*.png' (default: "
        "the bundled images)",
    )
    source.add_argument("--video-input", metavar="FILE", help="a video, e.g. film.mp4")
    source.add_argument(
        "--webcam", action="store_true", help="the first camera, until Esc is pressed"
    )
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="folder for the pictures, or file of the video, e.g. out or film.mp4 (default: show "
        "them in a window; any key goes on, Esc ends)",
    )
    parser.add_argument(
        "--map", choices=OUTPUTS, help="show this map of all detections in one picture, e.g. class"
    )
    add_class_names_argument(parser)
    add_explainer_arguments(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    work = list_methods if args.list_methods else run
    return run_tool("demo", partial(work, args), resumes=False)


def run(args: argparse.Namespace) -> int:
    """Returns the exit status: 1 if an image failed."""
    from predictor import check_window, open_video, run_images, run_video

    from d2_saliency.engine.defaults import setup_cfg, setup_terminal
    from d2_saliency.engine.explainer import DefaultExplainer
    from d2_saliency.utils.files import check_writable
    from d2_saliency.utils.image_files import list_images

    setup_terminal()
    is_video = args.webcam or args.video_input
    video = open_video(0 if args.webcam else args.video_input) if is_video else None
    paths = [] if is_video else list_images(args.input)
    if args.output is None:
        check_window()
    else:
        check_writable(Path(args.output).parent if is_video else args.output)
    cfg, saliency_cfg, config_file = setup_cfg(args)
    explainer = DefaultExplainer(cfg, saliency_cfg, config_file, args.trust_weights)
    explainer.choose_classes(saliency_cfg, args.classes)
    if is_video:
        return run_video(explainer, video, args)
    return run_images(explainer, paths, args)


if __name__ == "__main__":
    sys.exit(main())
