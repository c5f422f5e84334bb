"""
Configs of Detectron2's model zoo with random weights: stock detections, and finite maps from each
family of methods.

A sample runs by default, narrower than it is; D2_SALIENCY_ZOO=1 runs each model of the zoo as it is
(five minutes).
"""

import os
from pathlib import Path

import pytest
import torch
from detectron2 import model_zoo
from detectron2.config import get_cfg, instantiate
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from d2_saliency import explainable
from d2_saliency.modeling.saliency_heads import DRISE, ODAM, Gradient
from d2_saliency.testing import calibrate

ALL = bool(os.environ.get("D2_SALIENCY_ZOO"))
ZOO = Path(model_zoo.get_config_file("Base-RCNN-FPN.yaml")).parent
HELPERS = {
    "common",
    "quick_schedules",
}  # parts of configs, and Detectron2's own short test runs of the same models
NO_DETECTIONS = {
    "COCO-Detection/rpn_R_50_C4_1x.yaml": "proposals alone",
    "COCO-Detection/rpn_R_50_FPN_1x.yaml": "proposals alone",
    "Misc/semantic_R_50_FPN_1x.yaml": "semantic segmentation",
    "Misc/torchvision_imagenet_R_50.py": "image classification",
}
MODULATED = {  # modulated_deform_conv is a compiled operator, for GPUs only
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv.yaml",
    "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x.yaml",
}
# deform_conv runs anywhere, as torchvision has it too; its gradients are for GPUs only.
DEFORMABLE = {
    "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5.yaml",
    "Misc/mask_rcnn_R_50_FPN_3x_dconv_c3-c5.yaml",
}
OTHER_PROJECTS = {"Misc/mmdet_mask_rcnn_R_50_FPN_1x.py": "mmdet"}
SAMPLE = [
    "COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml",
    "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "COCO-Detection/fcos_R_50_FPN_1x.py",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_1x.yaml",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
    "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
]
METHODS = {
    "gradient": Gradient(max_instances=1, score_thresh=0),
    "CAM": ODAM(max_instances=2, score_thresh=0),
    "perturbation": DRISE(max_instances=2, score_thresh=0, num_masks=2, grid_size=4),
}


def zoo_configs():
    files = sorted(
        path
        for path in ZOO.glob("*/*")
        if path.suffix in (".yaml", ".py") and path.parent.name not in HELPERS
    )
    return [
        f"{path.parent.name}/{path.name}"
        for path in files
        if not path.name.startswith(("Base-", "__"))
    ]


def detectors():
    return [name for name in zoo_configs() if name not in NO_DETECTIONS]


def different_models():
    """One config for each model: many differ in their schedule or training data alone."""
    by_model = {}
    for name in detectors():
        by_model.setdefault(name if name in OTHER_PROJECTS else model_config(name), name)
    return list(by_model.values())


def model_config(name):
    if name.endswith(".py"):
        return str(model_zoo.get_config(name).model)
    cfg = yaml_config(name)
    cfg.MODEL.WEIGHTS = ""
    return str(cfg.MODEL)


def yaml_config(name):
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(name))
    cfg.MODEL.DEVICE = "cpu"
    if not ALL:
        resnet = cfg.MODEL.RESNETS
        resnet.WIDTH_PER_GROUP, resnet.RES2_OUT_CHANNELS, resnet.STEM_OUT_CHANNELS = 8, 32, 8
        cfg.MODEL.FPN.OUT_CHANNELS = cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
        cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS = (32, 32)
    return cfg


def small_run(name):
    """The model of a config, made to find a few things quickly, and its input."""
    torch.manual_seed(1)
    model = (
        instantiate(model_zoo.get_config(name).model)
        if name.endswith(".py")
        else build_model(yaml_config(name))
    )
    model.eval()
    x = {"image": torch.rand(3, 64, 96) * 255, "height": 80, "width": 120}
    if hasattr(model, "roi_heads"):
        predictors = model.roi_heads.box_predictor
        for predictor in predictors if isinstance(predictors, nn.ModuleList) else [predictors]:
            predictor.test_score_thresh, predictor.test_topk_per_image = 0.0, 4
        if model.proposal_generator is None:
            boxes = torch.tensor([[10.0, 10, 70, 60], [40, 20, 95, 60], [5, 30, 60, 55]])
            x["proposals"] = Instances(
                (64, 96), proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(3)
            )
        else:
            model.proposal_generator.post_nms_topk = {True: 8, False: 8}
    else:
        model.test_score_thresh, model.max_detections_per_image = 0.0, 20
    return model, x


def assert_same(expected, found, where):
    if isinstance(expected, Instances):
        assert len(expected) == len(found) > 0 and expected.image_size == found.image_size
        expected, found = (
            expected.get_fields(),
            {k: v for k, v in found.get_fields().items() if k in expected.get_fields()},
        )
    if isinstance(expected, dict):
        assert expected.keys() == found.keys()
        for key in expected:
            assert_same(expected[key], found[key], f"{where}.{key}")
    elif isinstance(expected, tuple):  # panoptic: ids of pixels, and what they are
        assert torch.equal(expected[0], found[0]) and expected[1] == found[1], where
    else:
        a, b = (getattr(v, "tensor", v) for v in (expected, found))
        assert torch.equal(a, b), where


@pytest.mark.parametrize("name", different_models() if ALL else SAMPLE)
def test_stock_detections_and_finite_maps(name):
    if name in OTHER_PROJECTS:
        pytest.importorskip(OTHER_PROJECTS[name])
    if name in MODULATED:
        pytest.skip("Detectron2's modulated deformable convolution is compiled, and for GPUs only")
    stock, x = small_run(name)
    calibrate(stock, x)
    model = explainable(stock)
    assert model.knows_provenance
    with torch.no_grad():
        expected = stock([x])[0]
        for family, model.saliency_head in METHODS.items():
            if family == "gradient" and name in DEFORMABLE:
                with pytest.raises(RuntimeError, match="not supported on CPUs.*use DRISE"):
                    model([x])
                continue
            found = model([x])[0]
            assert_same(expected, {key: found[key] for key in expected}, name)
            saliency = found["instances"].pred_saliency
            assert saliency.explained.any(), family
            assert all(m.isfinite().all() for m in saliency.maps), family


def test_the_lists_name_configs_of_the_zoo():
    found = set(zoo_configs())
    assert {*NO_DETECTIONS, *MODULATED, *DEFORMABLE, *OTHER_PROJECTS, *SAMPLE} <= found and len(
        found
    ) > 80
