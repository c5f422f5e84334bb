#!/usr/bin/env python3
"""Train the bundled demo detectors on the planted-cause scenes, and measure the shipped weight
files.

Detectron2's own trainer and solver do the work (configs/demo/*.yaml); added here: AdamW, export in
half precision, and, for the shortcut detector, how much the recall of the shortcut class falls
without the mark.
"""

import argparse
import time
from pathlib import Path
from typing import Dict, NamedTuple

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
)
from detectron2.modeling import build_model
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils.logger import setup_logger

import d2_saliency.data  # noqa: F401  # registers the planted-cause splits
from d2_saliency import add_saliency_config

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "demo" / "weights"


class Start(NamedTuple):
    """
    A start of training: the tensors of a weight file, where names and shapes are
    its own.

    Attributes:
        weights: file in demo/weights; "" for random weights.
        renamed: beginnings of the detector's parameter names -> the beginnings of their names in
            that file.
    """

    weights: str = ""
    renamed: Dict[str, str] = {}


# From scratch, RetinaNet learned the boxes but in 1,400 iterations not the class (AP50 21.8); the
# backbone of a trained Faster R-CNN already sees the emblems.
NAMES = {
    "faster_rcnn_planted": Start(),
    "retinanet_planted": Start("faster_rcnn_planted.pth"),
    "faster_rcnn_shortcut": Start(),
    "mask_rcnn_planted": Start("faster_rcnn_planted.pth"),
    "cascade_rcnn_planted": Start(
        "faster_rcnn_planted.pth",
        {
            f"roi_heads.{part}.{i}.": f"roi_heads.{part}."
            for part in ("box_head", "box_predictor")
            for i in range(3)
        },
    ),
    "faster_rcnn_c4_planted": Start(
        "faster_rcnn_planted.pth",
        {"backbone.": "backbone.bottom_up.", "roi_heads.res5.": "backbone.bottom_up.res5."},
    ),
    "fcos_planted": Start("retinanet_planted.pth"),
}
EPILOG = """
examples (about 15 to 30 minutes each on one CPU core; OMP_NUM_THREADS sets the cores):
  tools/train_demo_detectors.py faster_rcnn_planted                  train, export, evaluate
  tools/train_demo_detectors.py retinanet_planted                    from that one's backbone
  tools/train_demo_detectors.py retinanet_planted --iterations 200   does it learn?
  tools/train_demo_detectors.py faster_rcnn_shortcut --eval-only     measure the shipped file
The scenes are drawn into a cache on first use: $D2_SALIENCY_CACHE, else ~/.cache/d2_saliency.
"""


class PixelNoise(T.Augmentation):
    """
    Gaussian noise of a standard deviation drawn from 0 .. ``maximum`` grey levels, anew for each
    image.
    """

    def __init__(self, maximum: float):
        super().__init__()
        self.maximum = maximum

    def get_transform(self, image: np.ndarray) -> T.Transform:
        noise = np.random.normal(0, np.random.uniform(0, self.maximum), image.shape)
        return T.ColorTransform(lambda pixels: np.clip(pixels + noise, 0, 255).astype(pixels.dtype))


class PlantedTrainer(DefaultTrainer):
    """
    `DefaultTrainer` with AdamW (from scratch, SGD needs far more iterations on these scenes) and
    noise on the images.

    A detector that has seen noise rests on large structures: after 500 iterations with noise, the
    class gradients of a trained Faster R-CNN prefer the emblem 2.1 times chance, not 1.6, and more
    passes of ODSmoothGrad find it again.
    """

    @classmethod
    def build_train_loader(cls, cfg):
        augmentations = [*build_augmentation(cfg, is_train=True), PixelNoise(maximum=40)]
        return build_detection_train_loader(
            cfg, mapper=DatasetMapper(cfg, True, augmentations=augmentations)
        )

    @classmethod
    def build_model(cls, cfg):
        """Give the convolutions of RetinaNet's head He initialisation.

        The stock one (std 0.01) is made for 256 channels: with 64, four of them leave a thousandth
        of the signal. Starting from the same backbone, class loss after 220 iterations: 0.23, stock
        0.40.
        """
        model = super().build_model(cfg)
        for name, layer in model.named_modules():
            if "head." in name and "_subnet." in name and isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return model

    @classmethod
    def build_optimizer(cls, cfg, model):
        decay, norm_decay = cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.WEIGHT_DECAY_NORM
        params = get_default_optimizer_params(
            model, weight_decay=decay, weight_decay_norm=norm_decay
        )
        return maybe_add_gradient_clipping(cfg, torch.optim.AdamW)(params, lr=cfg.SOLVER.BASE_LR)


class ClassRecall(DatasetEvaluator):
    """Share of one class's objects found: same class, score > 0.5, IoU > 0.5."""

    def __init__(self, dataset: str, label: int):
        self.label = label
        self.truth = {
            record["image_id"]: record["annotations"] for record in DatasetCatalog.get(dataset)
        }

    def reset(self):
        self.found = self.total = 0

    def process(self, inputs, outputs):
        for item, output in zip(inputs, outputs):
            boxes = [
                a["bbox"] for a in self.truth[item["image_id"]] if a["category_id"] == self.label
            ]
            found = output["instances"].to("cpu")
            found = found[(found.pred_classes == self.label) & (found.scores > 0.5)]
            self.total += len(boxes)
            if boxes and len(found):
                iou = pairwise_iou(Boxes(torch.tensor(boxes)), found.pred_boxes)
                self.found += int((iou.max(dim=1).values > 0.5).sum())

    def evaluate(self):
        return {"class_recall": {"recall": self.found / max(self.total, 1)}}


def write_start(start: Start, target: Path) -> str:
    """
    Copy the weights to start from with the detector's own names beside their old ones; returns the
    file, or "".
    """
    if not start.weights:
        return ""
    source = torch.load(WEIGHTS / start.weights, map_location="cpu", weights_only=True)["model"]
    state = dict(source)
    for new, old in start.renamed.items():
        state.update(
            {new + key[len(old) :]: value for key, value in source.items() if key.startswith(old)}
        )
    torch.save({"model": state}, target)
    return str(target)


def export_half(checkpoint: Path, target: Path) -> None:
    """
    Keep the model's tensors of a training checkpoint, floats in half precision, counters as they
    are.
    """
    model = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
    half = {
        key: value.half() if value.is_floating_point() else value for key, value in model.items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": half}, target)


def report(cfg, weights: Path) -> None:
    """
    Print COCO metrics of ``weights`` on its own split, and of a shortcut detector also without
    marks.
    """
    tasks = ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
    model = build_model(cfg).eval()
    model.saliency_head = None  # FCOS has one here: detections alone are measured
    DetectionCheckpointer(model).load(str(weights))
    own = cfg.DATASETS.TEST[0]
    label = MetadataCatalog.get(own).as_dict().get("shortcut_class")
    for dataset in [own] if label is None else [own, own.replace("_shortcut", "")]:
        evaluators = [
            COCOEvaluator(dataset, tasks=tasks, output_dir=cfg.OUTPUT_DIR, use_fast_impl=False)
        ]
        if label is not None:
            evaluators.append(ClassRecall(dataset, label))
        loader = build_detection_test_loader(cfg, dataset)
        results = inference_on_dataset(model, loader, DatasetEvaluators(evaluators))
        line = f"{weights.name} on {dataset}"
        line += "".join(
            f", {task} AP {results[task]['AP']:.1f} AP50 {results[task]['AP50']:.1f}"
            for task in tasks
        )
        if label is not None:
            line += f", recall of the shortcut class {results['class_recall']['recall']:.3f}"
        print(line, flush=True)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("name", choices=NAMES, help="detector, as in configs/demo/<name>.yaml")
    parser.add_argument("--iterations", type=int, help="instead of the config's SOLVER.MAX_ITER")
    parser.add_argument(
        "--init", type=Path, help="weights to start from, e.g. for a second round of training"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="measure the weight file, train nothing"
    )
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="folder of <name>.pth")
    parser.add_argument(
        "--work-dir", type=Path, help="checkpoints and logs (default: output/<name>)"
    )
    args = parser.parse_args()

    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "demo" / f"{args.name}.yaml"))
    cfg.OUTPUT_DIR = str(args.work_dir or ROOT / "output" / args.name)
    if args.iterations:
        cfg.SOLVER.MAX_ITER = args.iterations
        cfg.SOLVER.WARMUP_ITERS = min(cfg.SOLVER.WARMUP_ITERS, args.iterations // 16)
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    setup_logger(cfg.OUTPUT_DIR)
    weights = args.output / f"{args.name}.pth"
    if not args.eval_only:
        start = time.time()
        cfg.MODEL.WEIGHTS = write_start(
            Start(str(args.init.resolve())) if args.init else NAMES[args.name],
            Path(cfg.OUTPUT_DIR) / "start.pth",
        )
        trainer = PlantedTrainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()
        export_half(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights)
        print(f"trained in {(time.time() - start) / 60:.1f} min; wrote {weights}", flush=True)
    report(cfg, weights)


if __name__ == "__main__":
    main()
