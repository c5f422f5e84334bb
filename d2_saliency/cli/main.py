"""
Explain what a Detectron2 model detects: for every detection five saliency maps (class, x_min,
y_min, x_max, y_max).
"""

import argparse
from functools import partial
from typing import NoReturn

from ..utils.text import printable
from ..version import __version__
from . import app, compare, evaluate, explain, report
from .list_methods import list_methods
from .run_tool import run_tool

COMMANDS = {
    "explain": explain,
    "evaluate": evaluate,
    "compare": compare,
    "report": report,
    "app": app,
}
EXAMPLES = """
examples:
  d2-saliency explain                 the bundled detector on the bundled images
  d2-saliency explain --config-file my.yaml --input photos/ --opts MODEL.WEIGHTS model_final.pth
  d2-saliency evaluate --config-file my.yaml --method ODAM GradCAM --num-images 100
  d2-saliency explain --help          all arguments of a command, with examples
"""


class _Parser(argparse.ArgumentParser):
    """Says of words that it does not know what can be printed: they may be names of files."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def main() -> int:
    args = parse_args()
    command = COMMANDS[args.command]
    work = list_methods if getattr(args, "list_methods", False) else command.run
    return run_tool(f"d2-saliency {args.command}", partial(work, args), command.RESUMES)


def parse_args() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="d2-saliency", description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"d2_saliency {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(
            commands.add_parser(
                name,
                help=module.SUMMARY,
                description=module.__doc__,
                epilog=module.EXAMPLES,
                formatter_class=raw,
            )
        )
    return parser.parse_args()
