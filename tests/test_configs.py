"""
Every config that we ship, and the models of the ODSmoothGrad paper, detect exactly what stock
Detectron2 detects.
"""

import pytest
import torch
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from d2_saliency import add_saliency_config, build_explainable
from d2_saliency.testing import calibrate
from tests.conftest import ROOT, build_stock

OURS = sorted(
    str(p.relative_to(ROOT))
    for p in (ROOT / "configs").rglob("*.yaml")
    if p.name != "Base-planted.yaml"
)
PAPER = [
    "COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml",
    "COCO-Detection/retinanet_R_101_FPN_3x.yaml",
]


def load(name):
    cfg = get_cfg()
    add_saliency_config(cfg)
    if (ROOT / name).exists():
        cfg.merge_from_file(str(ROOT / name), allow_unsafe=False)
    else:
        cfg.merge_from_file(model_zoo.get_config_file(name))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.SALIENCY_HEAD.NAME = "Gradient"
    cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = 1
    cfg.MODEL.SALIENCY_HEAD.SCORE_THRESH = 0.0
    if not (ROOT / cfg.MODEL.WEIGHTS).is_file():  # random weights are sure of nothing
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.0
        cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.0
        cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.TEST.DETECTIONS_PER_IMAGE = 20, 10
    return cfg


@pytest.mark.parametrize("name", OURS + PAPER)
def test_detections_and_checkpoint_keys_are_those_of_the_stock_model(name, demo_image):
    cfg = load(name)
    torch.manual_seed(0)
    ours = build_explainable(cfg).eval()
    stock = build_stock(cfg).eval()
    weights, x = ROOT / cfg.MODEL.WEIGHTS, demo_image(1)
    if weights.is_file():
        DetectionCheckpointer(stock).load(str(weights))
    else:  # full width, so on a part of the image
        x = {"image": x["image"][:, :96, :128]}
        calibrate(stock, x)
    missing, unexpected = ours.load_state_dict(stock.state_dict(), strict=True)
    assert not missing and not unexpected
    with torch.no_grad():
        expected, found = (model([x])[0]["instances"] for model in (stock, ours))
    assert len(expected) > 0
    assert torch.equal(expected.pred_boxes.tensor, found.pred_boxes.tensor)
    assert torch.equal(expected.scores, found.scores) and torch.equal(
        expected.pred_classes, found.pred_classes
    )
    assert found.pred_saliency.explained.sum() == 1
    assert all(m.isfinite().all() for m in found.pred_saliency.maps)


def test_every_config_is_tested():
    assert len(OURS) >= 11


def test_generic_architecture_by_config(demo_image):
    cfg = load("configs/demo/faster_rcnn_planted.yaml")
    cfg.MODEL.META_ARCHITECTURE = "SaliencyGeneric"
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(str(ROOT / cfg.MODEL.WEIGHTS))
    with torch.no_grad():
        found = model([demo_image(1)])[0]["instances"]
    assert type(model).__name__ == "SaliencyGeneralizedRCNN" and not model.knows_provenance
    assert found.pred_saliency.peaks[found.pred_saliency.explained].min() > 0


def test_training_mode_is_stock(demo_image):
    """In training mode the wrapped model returns the stock losses."""
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage

    cfg = load("configs/demo/faster_rcnn_planted.yaml")
    ours, stock = build_explainable(cfg), build_model(cfg)
    ours.load_state_dict(stock.state_dict())
    image = demo_image(1)["image"]
    truth = Instances(
        tuple(image.shape[-2:]),
        gt_boxes=Boxes(torch.tensor([[40.0, 130.0, 150.0, 190.0]])),
        gt_classes=torch.tensor([0]),
    )
    losses = []
    for model in (stock, ours):
        model.train()
        torch.manual_seed(0)
        with EventStorage():
            losses.append(model([{"image": image, "instances": truth}]))
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(losses[0][k], losses[1][k]) for k in losses[0])
