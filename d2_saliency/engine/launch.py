"""Run a tool in one or several processes, on one or several machines."""

import argparse
import os
import warnings
from typing import Callable

import torch
import torch.distributed as dist
from detectron2.engine import launch as launch_gpus


class LaunchError(ValueError):
    """Processes cannot be started so; the message says what to do."""


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every Detectron2 tool that say where it runs."""
    parser.add_argument(
        "--num-gpus", type=int, default=1, metavar="N", help="GPUs on each machine, e.g. 8 (default: 1)"
    )
    parser.add_argument(
        "--num-machines", type=int, default=1, metavar="N", help="machines in total, e.g. 2 (default: 1)"
    )
    parser.add_argument(
        "--machine-rank", type=int, default=0, metavar="R", help="number of this machine, from 0, e.g. 1"
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where the machines meet, e.g. tcp://10.0.0.1:50000 (default: a free port of this machine)",
    )


def launch(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """
    Run ``main(args)`` in all processes that ``args`` ask for, or in this one of those that torchrun has started.

    Args:
        main: a function of a module, which new processes can import.
        args: with those of :func:`add_launch_arguments`.

    Returns:
        int: what ``main`` returns; 0 if it ran in processes of its own, whose errors are raised here.

    Raises:
        LaunchError: there are not as many GPUs here.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return _run_under_torchrun(main, args)
    if args.num_gpus * args.num_machines <= 1:
        return main(args)
    if torch.cuda.device_count() < args.num_gpus:
        raise LaunchError(
            f"--num-gpus {args.num_gpus} --num-machines {args.num_machines}: this machine has "
            f"{torch.cuda.device_count()} GPUs. On CPUs, start the tool with torchrun --nproc-per-node N."
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise LaunchError("Several machines need --dist-url, e.g. tcp://10.0.0.1:50000, the same on all of them.")
    launch_gpus(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    return 0


def _run_under_torchrun(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    warnings.filterwarnings("ignore", "TypedStorage is deprecated", UserWarning)  # Detectron2's way to gather
    # Results are gathered as Python objects, which gloo does for models on any device.
    dist.init_process_group("gloo")
    try:
        return main(args)
    finally:
        dist.destroy_process_group()
