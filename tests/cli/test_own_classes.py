"""Classes of a detector of the user: their names, some of them only, and judged in training."""

import json
import subprocess
import sys

from tests.cli.own_detector import OWN_DATA, SCENES, truth

HOOK = """
import json
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer
import register
from d2_saliency import SaliencyEvaluator, add_saliency_config, explainable

class Trainer(DefaultTrainer):
    @classmethod
    def test(cls, cfg, model):
        model = explainable(model, cfg)
        evaluator = SaliencyEvaluator(cfg, "my_shapes", model)
        return super().test(cfg, model, evaluator)

cfg = get_cfg()
add_saliency_config(cfg)
cfg.merge_from_file("trained/config.yaml")
cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = "trained/model_final.pth", "trained_on"
cfg.MODEL.SALIENCY_HEAD.NAME, cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = "ODAM", 5
cfg.TEST.SALIENCY.METRICS, cfg.TEST.EVAL_PERIOD, cfg.SOLVER.MAX_ITER = ["pointing_game"], 1, 1
trainer = Trainer(cfg)
trainer.resume_or_load(resume=False)
trainer.train()
print(json.dumps(trainer._last_eval_results))
"""


def test_some_classes_only(in_project, trained):
    words = ("--input", "pictures", *OWN_DATA["coco"])
    everything = in_project("explain", *words).results["detections"]
    for word, name in (("round", "round"), ("0", "cross")):
        run = in_project("explain", *words, "--classes", word)
        assert run.status == 0, run.err
        expected = [d["box"] for d in everything if d["class_name"] == name]
        assert [d["box"] for d in run.results["detections"]] == expected and expected
        assert {d["class_name"] for d in run.results["detections"]} == {name}
    metrics = ("--metrics", "pointing_game", "--classes", "round")
    run = in_project("evaluate", *OWN_DATA["import"], *metrics)
    path = run.folder / "inference" / "my_shapes" / "ODAM" / "metrics.json"
    counts = json.loads(path.read_text())["counts"]
    assert counts["matched"] == sum(name == "round" for _, name, _ in truth(trained))
    run = in_project("compare", *OWN_DATA["import"], "--classes", "triangle")
    assert run.status == 2 and "no class 'triangle'. The classes are: cross, round." in run.err
    target = ("--target-box", "1,1,9,9", "--target-class", "round", "--classes", "round")
    run = in_project("explain", *words, *target)
    assert run.status == 2 and "--classes chooses among detections" in run.err


def test_names_of_another_number_of_classes_are_not_taken(in_project):
    run = in_project("explain", "--input", "pictures/0.png", "--class-names", "a", "b", "c")
    assert run.status == 0 and "names 3 classes, and the model has 2" in run.out + run.err
    names = {(d["class_id"], d["class_name"]) for d in run.results["detections"]}
    assert names == {(0, "class 0"), (1, "class 1")}


def test_evaluator_as_a_hook_of_the_trainer(trained):
    """DefaultTrainer.test, as its hook calls it while training, has the command's numbers."""
    run = subprocess.run(
        [sys.executable, "-c", HOOK], cwd=trained, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-2000:]
    results = json.loads(run.stdout.splitlines()[-1])
    assert results["saliency"]["images"] == len(SCENES)
    assert results["saliency"]["matched"] == len(list(truth(trained)))
    assert results["pointing_game"]["hit"] > 0.5
