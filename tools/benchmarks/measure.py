"""Interleaved rounds, peak memory, and the tables that say so."""

import os
import platform
import re
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Callable, Dict, List, Optional

import torch
from scipy.stats import spearmanr
from torch import Tensor

Measure = Callable[[], float]
"""Does a job, or a part of it, and returns the seconds of the whole job."""

Seconds = Dict[str, List[float]]


def interleaved(rows: Dict[str, Measure], repeats: int, warm_up: bool = True) -> Seconds:
    """
    The seconds of each row in each round; every round has all rows, so that they see the same
    machine.
    """
    seconds: Seconds = {name: [] for name in rows}
    for k in range(-int(warm_up), repeats):
        for name, measure in rows.items():
            value = measure()
            if k >= 0:
                seconds[name].append(value)
    return seconds


def ratios(seconds: Seconds, name: str, unit: str) -> List[float]:
    return [value / one for value, one in zip(seconds[name], seconds[unit])]


def ratio_table(seconds: Seconds, unit: str, memory: Optional[Dict[str, float]] = None) -> str:
    """
    Markdown: the median and the spread of each row's ratio to the row ``unit`` of the same round.
    """
    head = f"| what | x {unit}, median | min .. max |" + (" MB above its peak |" if memory else "")
    lines = [head, "|---" * (4 if memory else 3) + "|"]
    for name in seconds:
        values = ratios(seconds, name, unit)
        median, low, high = map(number, (statistics.median(values), min(values), max(values)))
        line = f"| {name} | {median} | {low} .. {high} |"
        lines.append(
            line
            + (f" {memory[name]:.0f} |" if memory and name in memory else " |" if memory else "")
        )
    return "\n".join(lines)


def number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def agreement(ours: Tensor, theirs: Tensor) -> float:
    """Spearman's rank correlation of two maps."""
    return float(
        spearmanr(ours.detach().cpu().flatten(), theirs.detach().cpu().flatten()).statistic
    )


def machine() -> str:
    """One line on what the numbers were measured on."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.+)", cpu)
    bf16 = ", bfloat16 in hardware" if "avx512_bf16" in cpu or "amx_bf16" in cpu else ""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    load = (
        ", ".join(f"{x:.1f}" for x in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    )
    return (
        f"{name[1] if name else platform.processor()}, {os.cpu_count()} cores{bf16}{gpu}, "
        f"{torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, Python {platform.python_version()}, load before: "
        f"{load}"
    )


def in_new_process(function: Callable, *args) -> float:
    """Call a function of a module in a process of its own: peaks of memory never fall."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *args).result()


def peak_memory(device: str) -> float:
    """MB, of this process so far or of the GPU; nan on a CPU where the system is not Linux."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    # Not ru_maxrss, which a new process inherits from the one that started it.
    status = Path("/proc/self/status")
    return (
        int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) * 1024 / 1e6
        if status.exists()
        else float("nan")
    )
