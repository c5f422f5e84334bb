"""
A run over many images: what reading, writing and bookkeeping add to the explaining, and what two
processes bring.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List

import numpy as np
from detectron2.data import DatasetCatalog
from PIL import Image

import d2_saliency.data  # noqa: F401  # registers the scenes
from d2_saliency.engine.explainer import DefaultExplainer
from d2_saliency.engine.methods import build_methods, method_cfgs
from d2_saliency.engine.run import explain_images

from .detector import Bench, Stopwatch


def overhead(
    bench: Bench, method: str, num_images: int, max_instances: int, num_panels: int
) -> Dict[str, float]:
    """
    Seconds for an image of noise of the bench's size, as ``tools/explain_net.py`` makes a report of
    them.

    Returns:
        dict: "stock", one plain inference, "explain", the explaining model, and "whole", all that
            the run took.
    """
    height, width = bench.inputs["image"].shape[-2:]
    cfg = bench.cfg.clone()
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.MODEL.WEIGHTS = ""
    explainer = DefaultExplainer(cfg)
    explainer.model = bench.ours(method, max_instances)
    stock, explaining, whole = Stopwatch(), Stopwatch(), Stopwatch()
    call = explainer.model.forward

    def timed(*args, **kwargs):
        with explaining.running():
            return call(*args, **kwargs)

    explainer.model.forward = timed
    with tempfile.TemporaryDirectory() as folder:
        paths: List[Path] = []
        for i in range(num_images):
            noise = np.random.default_rng(i).integers(
                0, 256, (height // 8, width // 8, 3), dtype=np.uint8
            )
            paths.append(Path(folder) / f"{i}.jpg")
            Image.fromarray(noise).resize((width, height)).save(paths[-1])
        cfgs = method_cfgs(cfg, [method])
        (built,) = build_methods(cfg, cfgs, "", command="benchmark")
        built.head = explainer.model.saliency_head  # for ``max_instances``
        with whole.running():
            explain_images(explainer, paths, [built], Path(folder) / "out", num_panels=num_panels)
        for path in paths:
            image = explainer.preprocess(np.asarray(Image.open(path)))
            with stock.running():
                bench.stock([image])
    seconds = {"stock": stock.seconds, "explain": explaining.seconds, "whole": whole.seconds}
    return {name: value / num_images for name, value in seconds.items()}


def images_per_second(root: Path, num_processes: int, num_images: int) -> float:
    """
    Measure how fast ``--eval-only`` judges ODSmoothGrad's maps on ``planted_val``, one thread each,
    without the start.

    A run of two images for each process is taken off one of ``num_images``.
    """
    DatasetCatalog.get("planted_val")  # draws the scenes if they are not there yet
    few = 2 * num_processes
    seconds = [_evaluate(root, num_processes, n) for n in (few, num_images)]
    return (num_images - few) / (seconds[1] - seconds[0])


def _evaluate(root: Path, num_processes: int, num_images: int) -> float:
    start = [sys.executable]
    if num_processes > 1:
        start += [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(num_processes),
        ]
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "--eval-only",
            "--method",
            "ODSmoothGrad",
            "--num-images",
            str(num_images),
            "--output",
            folder,
        ]
        words += ["--opts", "TEST.SALIENCY.METRICS", "['pointing_game']", "MODEL.DEVICE", "cpu"]
        words += ["MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES", "2"]
        begin = time.perf_counter()
        run = subprocess.run(
            [*start, str(root / "tools" / "explain_net.py"), *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            cwd=folder,
        )
        seconds = time.perf_counter() - begin
        if run.returncode:
            raise RuntimeError(
                "explain_net.py --eval-only ended with status "
                f"{run.returncode}:\n{run.stderr[-2000:]}"
            )
    return seconds
