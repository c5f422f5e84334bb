"""
The real tool with a real detector, killed at random moments: restarted, it ends as if nothing had
been.
"""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.robustness.conftest import check_json_and_maps, contents, slow


def command(folder):
    tool = [
        sys.executable,
        str(ROOT / "tools" / "explain_net.py"),
        "--method",
        "Gradient",
        "--max-instances",
        "2",
    ]
    return [*tool, "--output", str(folder), "--opts", "INPUT.MIN_SIZE_TEST", "0"]


def cpu_seconds(pid):
    """Of a process that runs, or has ended and was not waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_children():
    """Of those that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def records(folder):
    """When each image was done, by name."""
    return {
        path.stem: path.stat().st_mtime_ns for path in (folder / "records").glob("*/[!.]*.json")
    }


def comparable(folder):
    """What a run has left, but for times."""
    found = contents(folder)
    found.pop("index.html")  # shows times
    for name, content in found.items():
        if name.endswith(".json"):
            found[name] = without_times(json.loads(content))
        elif name.endswith(".js"):
            found[name] = re.sub(rb'"seconds": {[^}]*}', b"", content)
    return found


def without_times(content):
    if isinstance(content, dict):
        return {k: without_times(v) for k, v in content.items() if k not in ("seconds", "command")}
    return [without_times(item) for item in content] if isinstance(content, list) else content


@slow
def test_ten_random_moments(tmp_path):
    undisturbed, output, moments = tmp_path / "undisturbed", tmp_path / "out", random.Random(1)
    before = cpu_seconds_of_children()
    subprocess.run(command(undisturbed), check=True, capture_output=True)
    duration = cpu_seconds_of_children() - before
    done_when_killed = []
    while len(done_when_killed) < 10:
        done = records(output)
        with open(tmp_path / "log", "w") as log:
            process = subprocess.Popen(command(output), stdout=log, stderr=log)
        moment = moments.uniform(
            duration / 2, duration
        )  # of CPU time: other work on the machine does not move it
        while process.poll() is None and cpu_seconds(process.pid) < moment:
            time.sleep(0.01)
        process.kill()
        status = process.wait()
        assert status in (0, -signal.SIGKILL), (tmp_path / "log").read_text()
        check_json_and_maps(output)
        assert done.items() <= records(output).items()  # nothing finished was computed again
        if status:
            done_when_killed.append(len(records(output)))
        else:
            assert comparable(output) == comparable(undisturbed)
            shutil.rmtree(output)
    subprocess.run(command(output), check=True, capture_output=True)
    print(f"Images done at each kill of a run of {duration:.0f} s of CPU time: {done_when_killed}")
    assert comparable(output) == comparable(undisturbed)
