"""
How the tools end: with an exit status, and after an error with one line that says what to do.

Imports neither torch nor d2_saliency, so that a tool that is stopped while these are loaded says
so, too.
"""

import sys
from typing import Callable


def run_tool(name: str, run: Callable[[], int]) -> int:
    """
    Args:
        name: of the tool; its messages begin with it.
        run: the tool's work, imports included. Returns the exit status.

    Returns:
        int: what ``run`` returns; 2 after an error of the command; 130 after Ctrl-C.
    """
    try:
        from d2_saliency.engine.defaults import setup_terminal
        from d2_saliency.utils.files import OutputError

        setup_terminal()
        try:
            return run()
        except (ValueError, OutputError) as e:  # they say what is wrong and what to do
            print(f"{name}: {' '.join(str(e).split())}", file=sys.stderr)
            return 2
    except KeyboardInterrupt:
        print(f"{name}: stopped; give the same command again to go on from here.", file=sys.stderr)
        return 130
