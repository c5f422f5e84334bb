"""Mutated checkpoints, good and hostile ones: the process goes on, and nothing of them runs."""

import json
import subprocess
import sys

from tests.conftest import ROOT
from tests.robustness.conftest import CASES, SLOW


def test_mutated_pickles(tmp_path):
    seed, count = (1, 20_000) if SLOW else (0, 500)
    command = [
        sys.executable,
        "-m",
        "tests.robustness.pickle_fuzzer",
        str(seed),
        str(count),
        str(tmp_path),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60 + count / 10)
    assert run.returncode == 0, f"seed {seed}: {run.stderr[-3000:]}"
    assert not (tmp_path / "mark").exists()
    counts = json.loads(run.stdout)
    assert sum(counts.values()) == count and {key.split()[1] for key in counts} == {".pkl", ".pth"}
    assert any("loaded" in key for key in counts) and any("as code" in key for key in counts)
    CASES.update(counts)
