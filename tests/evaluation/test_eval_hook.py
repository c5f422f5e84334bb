"""A real training run, of two steps, that watches its saliency metrics."""

import json

import torch
from detectron2.engine import DefaultTrainer

from d2_saliency.evaluation import SaliencyEvaluator
from tests.conftest import demo_cfg
from tests.evaluation.conftest import NAME


class Trainer(DefaultTrainer):
    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return super().test(
            cfg, model, [SaliencyEvaluator(cfg, name, model) for name in cfg.DATASETS.TEST]
        )


def test_saliency_metrics_are_logged_beside_the_losses(scenes, tmp_path):
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.MODEL.META_ARCHITECTURE = "SaliencyRCNN"
    cfg.MODEL.SALIENCY_HEAD.NAME = "ODAM"
    cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = 1
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.INPUT.MIN_SIZE_TRAIN = (128,)
    cfg.SOLVER.IMS_PER_BATCH = 1
    cfg.SOLVER.MAX_ITER = 2
    cfg.SOLVER.BASE_LR = 1e-5
    cfg.TEST.EVAL_PERIOD = 1
    cfg.TEST.SALIENCY.METRICS = ["pointing_game", "average_drop"]
    cfg.OUTPUT_DIR = str(tmp_path)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    # After the first step, and (D2 numbers that so) after the last.
    history = trainer.storage.history("pointing_game/hit").values()
    assert [iteration for _, iteration in history] == [0, 2] and all(
        0 <= value <= 1 for value, _ in history
    )
    lines = (tmp_path / "metrics.json").read_text().splitlines()
    logged = {key for line in lines for key in json.loads(line)}
    assert {
        "total_loss",
        "pointing_game/hit",
        "pointing_game/energy-low",
        "average_drop/drop",
    } <= logged
    changed = [n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])]
    assert changed and trainer.model.training  # watching does not freeze the model
