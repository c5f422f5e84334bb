"""
Ends a command with an exit status, and after an error with one line that says what to do.

Imports no torch, so that a command that is stopped while torch is loaded says so, too.
"""

import sys
from typing import Callable

from ..utils.files import OutputError
from ..utils.text import one_line


def run_tool(name: str, run: Callable[[], int], resumes: bool = True) -> int:
    """
    Run a command and say how it ended.

    Args:
        name: of the tool; its messages begin with it.
        run: the tool's work, imports included. Returns the exit status.
        resumes: the same command goes on where it was stopped.

    Returns:
        int: what ``run`` returns; 2 after an error of the command; 130 after Ctrl-C.
    """
    try:
        return run()
    except (ValueError, OutputError) as e:  # they say what is wrong and what to do
        print(f"{name}: {one_line(e)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        go_on = "; give the same command again to go on from here" if resumes else ""
        print(f"{name}: stopped{go_on}.", file=sys.stderr)
        return 130
