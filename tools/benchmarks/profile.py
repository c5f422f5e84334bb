"""Finds the operators that take the time of a call, by torch.profiler."""

from typing import Callable, Dict

from torch.profiler import ProfilerActivity, profile

KINDS = {
    "convolutions, forwards": ("mkldnn_convolution", "cudnn_convolution", "slow_conv2d_forward"),
    "convolutions, backwards": ("convolution_backward", "slow_conv2d_backward"),
    "matrix products": ("addmm", "aten::mm", "bmm"),
    "RoIAlign": ("roi_align",),
    "NMS, sorting": ("nms", "sort", "topk"),
    "ReLU": ("clamp_min", "relu", "threshold_backward"),
    "sums, copies, fills": ("aten::add", "aten::mul", "copy_", "fill_", "index_put", "aten::cat"),
    "leaving out zeros": ("amax", "amin", "SparseConv2d", "aten::ne", "aten::any"),
    "maximum pooling": ("max_pool2d",),
}
"""Kind -> parts of names of operators; the first kind that fits counts."""


def shares(call: Callable[[], object]) -> Dict[str, float]:
    """Kind -> its share of the call's time in operators, 0..1; the rest is "other"."""
    call()  # what is only done once
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        call()
    result = dict.fromkeys([*KINDS, "other"], 0.0)
    events = measured.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    for event in events:
        result[_kind(event.key)] += event.self_cpu_time_total / total
    return result


def _kind(operator: str) -> str:
    fits = (kind for kind, names in KINDS.items() if any(name in operator for name in names))
    return next(fits, "other")


def table(calls: Dict[str, Callable[[], object]]) -> str:
    """Markdown: a row for each kind, a column for each call."""
    columns = {name: shares(call) for name, call in calls.items()}
    lines = [
        "| share of the time in operators | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for kind in [*KINDS, "other"]:
        cells = " | ".join(f"{100 * column[kind]:.0f} %" for column in columns.values())
        lines.append(f"| {kind} | {cells} |")
    return "\n".join(lines)
