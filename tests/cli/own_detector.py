"""
A detector of the user: trained with DefaultTrainer on a COCO file, with the config that the trainer
dumped.
"""

import json
import subprocess
import sys
from contextlib import contextmanager

import cv2
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2_saliency import SALIENCY_HEAD_REGISTRY
from d2_saliency.data.planted_causes import split_scene
from tests.conftest import ROOT

# Of the planted scenes, two classes are kept, under ids with a gap and in the other order.
CATEGORIES = {0: {"id": 7, "name": "round"}, 3: {"id": 3, "name": "cross"}}
MODEL_CLASSES = [3, 0]  # classes of the bundled detector in the order of the category ids
SCENES = (0, 2, 5, 6)  # they have both
REGISTER = """
from detectron2.data.datasets import register_coco_instances
register_coco_instances("my_shapes", {{}}, "{folder}/shapes.json", "{folder}/pictures")
"""
TRAIN = """
from argparse import Namespace
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer, default_setup
import register

cfg = get_cfg()
cfg.merge_from_file("{config}")
cfg.merge_from_list(["MODEL.WEIGHTS", "init.pth", "MODEL.ROI_HEADS.NUM_CLASSES", 2,
    "DATASETS.TRAIN", ("my_shapes",), "DATASETS.TEST", ("my_shapes",), "OUTPUT_DIR", "trained",
    "SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.BASE_LR", 1e-6])
default_setup(cfg, Namespace(config_file="", eval_only=False, opts=[]))
trainer = DefaultTrainer(cfg)
trainer.resume_or_load(resume=False)
trainer.train()
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with shapes.json, pictures/, register.py and trained/ with config and weights."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pictures").mkdir()
    (folder / "shapes.json").write_text(json.dumps(coco_content(folder / "pictures")))
    torch.save(two_classes(), folder / "init.pth")
    (folder / "register.py").write_text(REGISTER.format(folder=folder))
    config = ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"
    (folder / "train.py").write_text(TRAIN.format(config=config))
    subprocess.run(
        [sys.executable, "train.py"], cwd=folder, check=True, capture_output=True, timeout=300
    )
    return folder


def coco_content(pictures):
    """Writes four scenes, and says what is in them in COCO's format."""
    images, annotations = [], []
    for k in SCENES:
        scene = split_scene("planted_val", k)
        cv2.imwrite(str(pictures / f"{k}.png"), scene.image)
        height, width = scene.image.shape[:2]
        images.append({"id": k, "file_name": f"{k}.png", "height": height, "width": width})
        for a in scene.annotations:
            if a["category_id"] in CATEGORIES:
                x0, y0, x1, y1 = a["bbox"]
                found = {"id": len(annotations) + 1, "image_id": k, "iscrowd": 0}
                found["category_id"] = CATEGORIES[a["category_id"]]["id"]
                found.update(bbox=[x0, y0, x1 - x0, y1 - y0], area=(x1 - x0) * (y1 - y0))
                annotations.append(found)
    categories = [*CATEGORIES.values()]
    return {"images": images, "annotations": annotations, "categories": categories}


def two_classes():
    """The bundled detector's weights, of the two classes alone: two iterations do not teach any."""
    path = ROOT / "demo" / "weights" / "faster_rcnn_planted.pth"
    model = torch.load(path, weights_only=True)["model"]
    scores, boxes = (f"roi_heads.box_predictor.{name}" for name in ("cls_score", "bbox_pred"))
    for end in ("weight", "bias"):
        rows = model[f"{scores}.{end}"]
        model[f"{scores}.{end}"] = rows[[*MODEL_CLASSES, -1]]  # the last one is background
        rows = model[f"{boxes}.{end}"]
        rows = rows.reshape(-1, 4, *rows.shape[1:])[MODEL_CLASSES]
        model[f"{boxes}.{end}"] = rows.reshape(8, *rows.shape[2:])
    return {"model": model}


@pytest.fixture
def in_project(tool, trained, monkeypatch, tmp_path):
    """Function: command, words -> the run, in the project's folder, of the detector."""
    monkeypatch.chdir(trained)

    def run(command, *words, method="ODAM"):
        detector = ["--config-file", "trained/config.yaml", "--output", tmp_path / "out"]
        detector += [*words, "--method", method, "--opts", "MODEL.WEIGHTS"]
        with forgotten():
            return tool(*detector, "trained/model_final.pth", command=command)

    return run


@contextmanager
def forgotten():
    """What a command imports and registers ends with it, as a process does."""
    data_sets, modules, path = set(DatasetCatalog.list()), set(sys.modules), [*sys.path]
    methods = dict(SALIENCY_HEAD_REGISTRY)
    yield
    for name in set(dict(SALIENCY_HEAD_REGISTRY)) - set(methods):
        del SALIENCY_HEAD_REGISTRY._obj_map[name]
    for name in set(DatasetCatalog.list()) - data_sets:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    for name in set(sys.modules) - modules:
        if name.startswith("register"):
            del sys.modules[name]
    sys.path[:] = path


def truth(trained):
    """(file, name of the class, box) of each object, as the user wrote them."""
    content = json.loads((trained / "shapes.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    for a in content["annotations"]:
        x, y, width, height = a["bbox"]
        yield str(a["image_id"]), names[a["category_id"]], (x, y, x + width, y + height)


OWN_DATA = {
    "import": ("--import", "register.py"),
    "module": ("--import", "register"),
    "coco": ("--coco-json", "shapes.json", "--image-root", "pictures"),
}
