"""
Loads mutated checkpoints, good and hostile ones, in this process:

    python -m tests.robustness.pickle_fuzzer SEED COUNT FOLDER

Ends with a traceback at the first that is neither loaded nor refused in one line, that opens a
file, runs code or makes a function (Python's audit events), takes 10 s or ends the process.
FOLDER/case.* is this one. Prints the counts as JSON.
"""

import faulthandler
import json
import logging
import os
import random
import resource
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

from torch import nn

from d2_saliency.checkpoint.weights import WeightsError, load_weights
from tests.robustness.conftest import is_one_line
from tests.robustness.pickle_mutations import Cases

SECONDS, GIGABYTES = 10, 4
EVENTS = ("exec", "compile", "code.", "function.", "pickle.", "marshal.", "os.", "subprocess.")
EVENTS += ("shutil.", "ctypes.")


class Watch:
    """Ends the process at the first audit event that data have no business with."""

    def __init__(self):
        self.path, self.events = "", []
        sys.addaudithook(self._hear)
        sys.unraisablehook = lambda args: self.events.append(("unraisable", args))

    def _hear(self, event: str, args: tuple) -> None:
        if self.path and (
            event.startswith(EVENTS) or event == "open" and str(args[0]) != self.path
        ):
            self.events.append((event, str(args)[:500]))

    def load(self, model: nn.Module, path: Path) -> str:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        self.path = str(path)
        try:
            load_weights(model, str(path))
            return "loaded"
        except WeightsError as e:
            assert is_one_line(e) and str(path) in str(e), str(e)
            outcomes = {
                "hold a Python object": "refused as code",
                "do not fit this model": "read, but do not fit",
            }
            return next(
                (outcome for text, outcome in outcomes.items() if text in str(e)),
                "refused as damaged",
            )
        finally:
            self.path = ""
            faulthandler.cancel_dump_traceback_later()


def main(seed: int, count: int, folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    for codec in ("cp437", "unicode_escape", "raw_unicode_escape"):
        "".encode(codec)  # Python imports them when they are first used
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (GIGABYTES * 2**30,) * 2)
    chance, cases, watch = random.Random(seed), Cases(Path("mark")), Watch()
    os.chdir(folder)  # the same cases, whatever the folder's name
    model, counts, slowest = nn.Linear(3, 2), Counter(), 0.0
    for _ in range(count):
        suffix, content = cases.draw(chance)
        path = Path(f"case{suffix}")
        path.write_bytes(content)
        start = time.perf_counter()
        counts[f"mutated {suffix} {watch.load(model, path)}"] += 1
        slowest = max(slowest, time.perf_counter() - start)
        assert not watch.events, watch.events
        assert not Path("mark").exists()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(counts))
    print(f"slowest {slowest:.2f} s, memory at most {peak:.2f} GB", file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
