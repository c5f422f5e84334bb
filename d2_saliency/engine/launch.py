"""Run a tool in one or several processes, on one or several machines."""

import argparse
import os
import signal
import warnings
from typing import Callable

import torch
import torch.distributed as dist
from detectron2.engine import launch as launch_gpus
from torch.multiprocessing import ProcessExitedException

from ..utils.text import one_line

GO_ON = "give the same command again to go on; what was finished is kept."
LOST = "Connection closed by peer"  # gloo's words, when a process waits for one that is gone


class LaunchError(ValueError):
    """Processes cannot be started so; the message says what to do."""


def launch(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """
    Run ``main(args)`` in all processes that ``args`` ask for, or in this one of those that torchrun
    has started.

    Args:
        main: a function of a module, which new processes can import.
        args: with those of ``add_launch_arguments`` (cli/arguments.py).

    Returns:
        int: what ``main`` returns; 0 if it ran in processes of its own, whose errors are raised
            here.

    Raises:
        LaunchError: there are not as many GPUs here, or one of the processes died.
        KeyboardInterrupt: torchrun stops this process, because another one died or it was stopped
            itself.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return _run_under_torchrun(main, args)
    if args.num_gpus * args.num_machines <= 1:
        return main(args)
    if torch.cuda.device_count() < args.num_gpus:
        raise LaunchError(
            f"--num-gpus {args.num_gpus} --num-machines {args.num_machines}: this machine has "
            f"{torch.cuda.device_count()} GPUs. On CPUs, start the tool with torchrun "
            "--nproc-per-node N."
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise LaunchError(
            "Several machines need --dist-url, e.g. tcp://10.0.0.1:50000, the same on all of them."
        )
    try:
        launch_gpus(
            main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,)
        )
    except ProcessExitedException as e:
        raise LaunchError(f"A process of this run died ({one_line(e)}): {GO_ON}") from e
    return 0


def _run_under_torchrun(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    warnings.filterwarnings(
        "ignore", "TypedStorage is deprecated", UserWarning
    )  # Detectron2's way to gather
    # Results are gathered as Python objects, which gloo does for models on any device.
    dist.init_process_group("gloo")
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return main(args)
    except RuntimeError as e:
        if LOST not in str(e):
            raise
        raise LaunchError(f"Another process of this run died: {GO_ON}") from e
    finally:
        signal.signal(signal.SIGTERM, before)
        dist.destroy_process_group()


def _stop(signum, frame) -> None:
    raise KeyboardInterrupt
