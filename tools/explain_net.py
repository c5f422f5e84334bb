#!/usr/bin/env python
"""
Explain what a Detectron2 model detects, or with --eval-only judge its maps: "d2-saliency explain"
and "d2-saliency evaluate" in the manner of Detectron2's tools.
"""

import argparse
import sys
from functools import partial

from d2_saliency.cli import evaluate, explain
from d2_saliency.cli.arguments import add_data_set_arguments
from d2_saliency.cli.list_methods import list_methods
from d2_saliency.cli.run_tool import run_tool

EXAMPLES = """
examples:
  tools/explain_net.py --config-file my.yaml --input photos/ --opts MODEL.WEIGHTS model_final.pth
  tools/explain_net.py --config-file my.yaml --eval-only --method ODAM GradCAM --num-images 100
  torchrun --nproc-per-node 2 tools/explain_net.py --eval-only    the same in two processes
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--eval-only",
        action="store_true",
        help="judge the maps on the config's DATASETS.TEST in place of explaining --input: metrics "
        "of the config's TEST.SALIENCY, or --metrics, in OUTPUT/inference/<data set>/, "
        "e.g. --eval-only --method ODAM --num-images 100",
    )
    explain.add_arguments(parser)
    add_data_set_arguments(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    work = (evaluate if args.eval_only else explain).run
    return run_tool("explain_net", partial(list_methods if args.list_methods else work, args))


if __name__ == "__main__":
    sys.exit(main())
