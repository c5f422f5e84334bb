"""Names of a data set are not those of a model that has another number of classes."""

import logging
from collections import Counter

import pytest
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from d2_saliency import DefaultExplainer, add_saliency_config, explainable
from d2_saliency.engine.detector_classes import names_for, num_classes
from d2_saliency.modeling.meta_arch.build import as_generic
from tests.conftest import demo_cfg


def zoo_cfg(name, num_classes):
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(model_zoo.get_config_file(name))
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = num_classes
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "", "cpu"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    return cfg


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger._LOG_COUNTER", Counter())
    monkeypatch.setattr(logging.getLogger("d2_saliency"), "propagate", True)
    return caplog


@pytest.mark.parametrize("name", ["faster_rcnn_R_50_FPN_1x", "retinanet_R_50_FPN_1x"])
def test_a_zoo_config_with_three_classes_has_no_names(name, warnings):
    explainer = DefaultExplainer(zoo_cfg(f"COCO-Detection/{name}.yaml", 3))
    assert num_classes(explainer.model) == 3 and explainer.class_names is None
    assert explainer.class_index("2") == 2
    with pytest.raises(ValueError, match="no class 'car'. The classes are: known by their numbers"):
        explainer.class_index("car")
    names_for(explainer.model, "coco_2017_val")  # a second time: no second warning
    (said,) = [r.getMessage() for r in warnings.records if "names" in r.getMessage()]
    assert "'coco_2017_val' names 80 classes, and the model has 3: so classes are called" in said


def test_as_many_names_as_classes_are_taken(stock_detector, warnings):
    model = explainable(build_model(zoo_cfg("COCO-Detection/retinanet_R_50_FPN_1x.yaml", 80)))
    assert names_for(model, "coco_2017_val")[2] == "car" and names_for(model, None) is None
    assert names_for(model, "never_registered") is None
    model = stock_detector("fcos_planted")
    assert num_classes(explainable(model)) == len(
        DefaultExplainer(demo_cfg("fcos_planted")).class_names
    )
    assert num_classes(as_generic(model)) is None
    assert (
        names_for(as_generic(model), "coco_2017_val")
        == MetadataCatalog.get("coco_2017_val").thing_classes
    )
    assert not [r for r in warnings.records if "names" in r.getMessage()]
