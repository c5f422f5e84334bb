"""
Serve a web app: choose an image, click what the detector found, and see the five maps that say why.

Runs on this machine, for its own browser only. Needs gradio: pip install 'gradio>=6'
"""

import argparse
import sys

from .arguments import natural

SUMMARY = "serve a web app to this machine's browser"
RESUMES = False
EXAMPLES = """
examples:
  d2-saliency app                              http://127.0.0.1:7860
  d2-saliency app --host 0.0.0.0 --port 8080   others can come in, e.g. to a container
  d2-saliency app --allow-host maps.example    behind a proxy of that name
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address to listen at, e.g. 0.0.0.0 to let others in (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=natural,
        metavar="N",
        default=7860,
        help="e.g. 8080 (default: %(default)s)",
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        nargs="+",
        default=[],
        help="serve requests for these host names, too, and no others: the name of the proxy that "
        "the app is behind. Without it, the names of loopback at a loopback address, else any",
    )


def run(args: argparse.Namespace) -> int:
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise ValueError("The web app needs gradio: pip install 'gradio>=6'") from None
    from ..app.serve import leave, serve
    from ..engine.defaults import setup_terminal

    setup_terminal()
    status = serve(args.host, args.port, args.allow_host)
    print("d2-saliency app: stopped.", file=sys.stderr)
    leave(status)
