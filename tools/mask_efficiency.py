#!/usr/bin/env python
"""
Measure how many masks D-RISE needs: faithfulness against the number of masks, for several
estimators.

The bundled RetinaNet on the first planted_val scenes with five objects, at three quarters of their
size. The weights of all masks are computed once (in bfloat16) and kept in --work-dir; every
estimator and every number of masks then works with the first of the same masks. Deletion and
insertion in 20 steps and cause energy, on the class map of every detection. What is there already
is not computed again. Writes results.json and mask_efficiency.png to --work-dir.

    tools/mask_efficiency.py --work-dir output/mask_efficiency
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

import cv2
import matplotlib
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from d2_saliency import OUTPUTS, SaliencyMaps, add_saliency_config, build_explainable
from d2_saliency.checkpoint.weights import load_weights
from d2_saliency.evaluation import (
    ExplainedImage,
    MetricSettings,
    cause_energy,
    deletion_insertion,
    mean_with_interval,
)
from d2_saliency.evaluation.ground_truth import match_to_truth
from d2_saliency.modeling.folding import folded
from d2_saliency.modeling.raw_outputs import RawOutputs
from d2_saliency.modeling.saliency_heads.d_rise.estimators import OcclusionSums, mean_map, slope_map
from d2_saliency.modeling.saliency_heads.d_rise.occlusions import grid_occlusions, random_grids
from d2_saliency.modeling.saliency_heads.d_rise.weights import output_weights
from d2_saliency.utils.image_io import read_image

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SCALE, NUM_OBJECTS, BATCH = 0.75, 5, 8
NUMS = {
    "mean": (100, 250, 500, 1000, 2500, 5000),
    "mean, smoothed": (500,),
    "mean, 8 x 8": (500,),
    "slope": (500,),
    "multiscale": (100, 250, 500, 1000),
}
CURVES = [f"{way}_{score}" for way in ("insertion", "deletion") for score in ("s1", "s2")]
CAUSES = ["times_chance", "pointing", "in_box", "own_share"]
IOU_THRESH = 0.7  # of a detection with its object, as TEST.SALIENCY.IOU_THRESH
Records = Dict[str, Dict[int, List[Dict]]]  # estimator -> number of masks -> detections


class Scene(NamedTuple):
    """
    A scaled scene: its number, network input (C, H, W), targets in its pixels, and the annotations
    as they are.
    """

    number: int
    image: Tensor
    targets: Instances
    annotations: List[Dict]
    original_size: tuple


def build_model() -> torch.nn.Module:
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "demo" / "retinanet_planted.yaml"))
    model = build_explainable(cfg).eval()
    load_weights(model, str(ROOT / cfg.MODEL.WEIGHTS))
    return model


def scenes(model: torch.nn.Module, num_scenes: int) -> Iterator[Scene]:
    chosen = [
        (i, x)
        for i, x in enumerate(DatasetCatalog.get("planted_val"))
        if len(x["annotations"]) >= NUM_OBJECTS
    ]
    for number, x in chosen[:num_scenes]:
        original = read_image(x["file_name"])
        image = cv2.resize(original, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
        image = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()
        with torch.no_grad():
            clean = model.run([{"image": image}])
            keep = (clean.instances[0].scores > 0.5).nonzero()[:, 0]
            (targets,) = model.outputs(clean.select(0, keep))
        yield Scene(number, image, targets, x["annotations"], original.shape[:2])


def mask_weights(
    model: torch.nn.Module, scene: Scene, grid_size: int, num_masks: int, work_dir: Path
) -> Tensor:
    """
    Weights (num_masks, T, 5) of the first masks of a grid size; those of ``work_dir`` are not
    computed again.
    """
    model = folded(model, {"image": scene.image})
    path = work_dir / f"{scene.number}_grid{grid_size}.pt"
    weights = (
        torch.load(path) if path.exists() else torch.zeros(0, len(scene.targets), len(OUTPUTS))
    )
    grids, shifts = (v[len(weights) :] for v in random_grids(num_masks, grid_size, 0.5, seed=0))
    for g, s in zip(grids.split(BATCH), shifts.split(BATCH)):
        masked = (
            [{"image": scene.image * m} for m in grid_occlusions(g, s, scene.image.shape[-2:])]
            if len(g)
            else []
        )
        with torch.autocast("cpu", torch.bfloat16):
            raws = (
                [RawOutputs(*(v.float() for v in raw)) for raw in model.raw_outputs(masked)]
                if masked
                else []
            )
        weights = torch.cat([weights, *(output_weights(scene.targets, raw)[None] for raw in raws)])
    if len(grids):
        torch.save(weights, path)
    return weights[:num_masks]


def estimate(name: str, weights: Dict[int, Tensor], num_masks: int, scene: Scene) -> Tensor:
    """Maps (T, 5, H, W) of an estimator from ``num_masks`` masks."""
    sizes = {"multiscale": (16, 8), "mean, 8 x 8": (8,)}.get(name, (16,))
    sums = []
    for size in sizes:
        n = num_masks // len(sizes)
        masks = grid_occlusions(*random_grids(n, size, 0.5, seed=0), scene.image.shape[-2:])
        sums.append(
            OcclusionSums.zeros(len(scene.targets), masks.shape[-2:]).add(masks, weights[size][:n])
        )
    if name in ("slope", "multiscale"):
        return slope_map(sums)
    if name != "mean, smoothed":
        return mean_map(sums)
    sigma = [1.4 * side / 16 for side in reversed(scene.image.shape[-2:])]  # 1.4 cells
    return gaussian_blur(mean_map(sums), [2 * int(3 * s) + 1 for s in sigma], sigma)


def measure(model: torch.nn.Module, scene: Scene, maps: Tensor) -> List[Dict]:
    """
    Measure areas under curves and cause energy of each detection, nan if it is of no object.
    """
    instances = Instances(
        scene.original_size,
        pred_boxes=Boxes(scene.targets.pred_boxes.tensor / SCALE),
        scores=scene.targets.scores,
        pred_classes=scene.targets.pred_classes,
        pred_saliency=SaliencyMaps.full_image(maps, scene.image.shape[-2:]),
    )
    settings = MetricSettings(num_steps=20, batch_size=BATCH)
    truth = match_to_truth(instances, scene.annotations, IOU_THRESH)
    image = ExplainedImage(model, {"image": scene.image}, instances, truth, settings)
    with torch.no_grad():
        curves = [{key: record[key] for key in CURVES} for record in deletion_insertion(image)]
        causes = [{key: record[key] for key in CAUSES} for record in cause_energy(image)]
    return [{**curve, **cause} for curve, cause in zip(curves, causes)]


def run(work_dir: Path, num_scenes: int, largest: int) -> Records:
    """Records of all estimators and numbers of masks."""
    work_dir.mkdir(parents=True, exist_ok=True)
    model = build_model()
    records: Records = {name: {n: [] for n in nums if n <= largest} for name, nums in NUMS.items()}
    for scene in tqdm(scenes(model, num_scenes), total=num_scenes, unit="scene"):
        weights = {
            size: mask_weights(model, scene, size, n, work_dir)
            for size, n in ((16, largest), (8, 500))
        }
        path = work_dir / f"{scene.number}_records.json"
        done = json.loads(path.read_text()) if path.exists() else {}
        for name, per_num in records.items():
            for num_masks, found in per_num.items():
                key = f"{name}, {num_masks}"
                if key not in done:
                    done[key] = measure(model, scene, estimate(name, weights, num_masks, scene))
                    path.write_text(json.dumps(done))
                found += done[key]
    return records


def print_table(records: Records) -> None:
    columns = CURVES + CAUSES
    print("| estimator | masks | n | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 3) + "|")
    for name, per_num in records.items():
        for num_masks, found in per_num.items():
            estimates = [mean_with_interval([r[key] for r in found]) for key in columns]
            cells = " | ".join(f"{e.mean:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in estimates)
            print(f"| {name} | {num_masks} | {estimates[0].count} | {cells} |")


def print_differences(records: Records) -> None:
    """
    Print each estimator less the plain mean of the most masks, of the same detections.
    """
    columns = [*CURVES, *CAUSES[:2]]
    most, reference = max(records["mean"].items())
    print(f"\n| less the mean of {most} | masks | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for name, per_num in records.items():
        for num_masks, found in per_num.items():
            pairs = list(zip(found, reference))
            changes = [mean_with_interval([a[key] - b[key] for a, b in pairs]) for key in columns]
            cells = " | ".join(f"{e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]" for e in changes)
            print(f"| {name} | {num_masks} | {cells} |")


def plot(records: Records, path: Path) -> None:
    """Insertion minus deletion and pointing, against the number of masks."""
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.6))
    panels = {
        "insertion - deletion (s1)": lambda r: r["insertion_s1"] - r["deletion_s1"],
        "insertion - deletion (s2)": lambda r: r["insertion_s2"] - r["deletion_s2"],
        "class map's maximum on the emblem": lambda r: r["pointing"],
    }
    for axis, (title, value) in zip(axes, panels.items()):
        for name, per_num in records.items():
            means = [
                mean_with_interval([value(r) for r in found]).mean for found in per_num.values()
            ]
            axis.plot(list(per_num), means, marker="o", label=name)
        axis.set(title=title, xscale="log", xlabel="masks")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--work-dir", type=Path, default=Path("output/mask_efficiency"), metavar="DIR"
    )
    parser.add_argument("--num-scenes", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument(
        "--largest", type=int, default=5000, help="number of masks (default: %(default)s)"
    )
    args = parser.parse_args()
    records = run(args.work_dir, args.num_scenes, args.largest)
    (args.work_dir / "results.json").write_text(json.dumps(records))
    plot(records, args.work_dir / "mask_efficiency.png")
    print_table(records)
    print_differences(records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
