"""
Fast feature gradients against plain autograd of stock models of every architecture, on small random
weights.
"""

import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from detectron2 import model_zoo
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import cascade_rcnn, fast_rcnn

from d2_saliency import explainable
from d2_saliency.modeling.saliency_heads import ODAM, Gradient
from d2_saliency.testing import calibrate
from tests.modeling.tiny_fcos import tiny_fcos

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import naive  # noqa: E402

CONFIGS = {
    "FPN": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "C4": "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "DC5": "COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml",
    "Cascade": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
    "Mask": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "RetinaNet": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "RetinaNet with GroupNorm": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "class-agnostic boxes": "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic.yaml",
    "RoIPool": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "Keypoint": "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "Panoptic": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
    "Mask C4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
    "GroupNorm in the heads": "Misc/scratch_mask_rcnn_R_50_FPN_3x_gn.yaml",
    "FCOS": "COCO-Detection/fcos_R_50_FPN_1x.py",
    "FCOS with GroupNorm": "COCO-Detection/fcos_R_50_FPN_1x.py",
}
NUM_DETECTIONS = 6


def random_model(name):
    """
    A narrow model of that architecture whose random weights are large enough to detect many things.
    """
    torch.manual_seed(1)
    return (
        random_fcos("GN" if "GroupNorm" in name else "")
        if "FCOS" in name
        else random_yaml_model(name)
    )


def random_fcos(norm):
    """Detectron2's FCOS from its lazy config, most of whose box distances are positive."""
    cfg = model_zoo.get_config(CONFIGS["FCOS"]).model
    cfg.backbone.out_channels = cfg.backbone.top_block.in_channels = 32
    cfg.head.input_shape = [ShapeSpec(channels=32)] * 5
    cfg.head.conv_dims = [32] * 2
    cfg.head.norm = norm
    cfg.num_classes = 4
    cfg.test_score_thresh = 0.0
    cfg.max_detections_per_image = 300
    model = instantiate(cfg).eval()
    calibrate(model)
    model.head.bbox_pred.bias.data += 4
    return model


def random_yaml_model(name):
    cfg = model_zoo.get_config(CONFIGS[name])
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 8
    if name.endswith("C4") or name == "DC5":  # their heads read res5 or res4 as it is
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 32
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 64
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 25
    cfg.TEST.DETECTIONS_PER_IMAGE = 300
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = 4
    if name == "RetinaNet with GroupNorm":
        cfg.MODEL.RETINANET.NORM = "GN"
    if name == "GroupNorm in the heads":
        cfg.MODEL.RESNETS.NORM = "FrozenBN"  # the backbone is too narrow for groups
        cfg.MODEL.ROI_BOX_HEAD.CONV_DIM, cfg.MODEL.MASK_ON = 32, False
    if name == "RoIPool":
        cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIPool"
    model = build_model(cfg).eval()
    calibrate(model)
    return model


def stock_detections(model, image, features):
    """Stock detections with a graph that begins at the feature levels, and those levels."""
    leaves = {name: f.detach().requires_grad_() for name, f in features.items()}
    with (
        mock.patch.object(model.backbone, "forward", lambda x: leaves),
        # Stock Cascade R-CNN divides its gradients by the number of stages, for training; they are
        # no derivatives then.
        mock.patch.object(cascade_rcnn._ScaleGradient, "apply", lambda x, scale: x),
        # Unclipped boxes overlap differently; without suppression every detection is still among
        # them.
        mock.patch.object(
            fast_rcnn, "batched_nms", lambda boxes, scores, *args: scores.argsort(descending=True)
        ),
    ):
        return naive.stock_detections(model, image), leaves


def stock_gradients(found, leaves, detection):
    """
    Gradients of a stock detection's five outputs to each feature level, {level: (5, C, H, W)}.
    """
    difference = (found.scores - detection.scores).abs() + (
        found.pred_classes != detection.pred_classes
    )
    i = int(difference.argmin())
    assert difference[i] < 1e-6
    outputs = [found.scores[i], *found.pred_boxes.tensor[i]]
    names, inputs = zip(*leaves.items())
    gradients = [
        torch.autograd.grad(y, inputs, retain_graph=True, materialize_grads=True) for y in outputs
    ]
    return {
        name: torch.stack([g[0] for g in per_level])
        for name, per_level in zip(names, zip(*gradients))
    }


class HasNoBackward(torch.autograd.Function):
    """As Detectron2's deformable convolution on a CPU."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("not on CPUs!")


def test_a_backbone_without_a_backward_pass_leaves_methods_that_do_not_need_it():
    model, x = explainable(tiny_fcos()), {"image": torch.rand(3, 48, 80) * 255}
    model.backbone.register_forward_hook(
        lambda m, i, o: {name: HasNoBackward.apply(f) for name, f in o.items()}
    )
    model.saliency_head = Gradient(max_instances=1)
    with (
        torch.no_grad(),
        pytest.raises(RuntimeError, match=r"\(not on CPUs!\): use DRISE. .* ODAM"),
    ):
        model([x])
    model.saliency_head = ODAM(max_instances=1)
    with torch.no_grad():
        assert model([x])[0]["instances"].pred_saliency.peaks.max() > 0


def side_is_at_its_point(detection, k):
    """
    Whether FCOS cut the distance of output ``k``, a side of the box, from its point at 0: the
    gradient is 0 then.
    """
    if k == 0 or not detection.has("anchor_boxes"):
        return False
    return bool(
        detection.pred_boxes.tensor[0, k - 1]
        == detection.anchor_boxes.get_centers()[0, (k - 1) % 2]
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_autograd_of_the_stock_model(name):
    stock = random_model(name)
    model = explainable(stock)
    image = torch.rand(3, 128, 160) * 255
    with torch.no_grad():
        clean = model.run([{"image": image}])
        clean.instances = [
            i[i.pred_boxes.nonempty()] for i in clean.instances
        ]  # as Detectron2's postprocessing does
        features = stock.backbone(stock.preprocess_image([{"image": image}]).tensor)
    boxes = clean.instances[0].pred_boxes.tensor
    at_border = (boxes[:, :2] <= 0).any(1) | (boxes[:, 2:] >= torch.tensor([160, 128])).any(1)
    keep = at_border.int().argsort(descending=True, stable=True)[:NUM_DETECTIONS]
    assert len(keep) == NUM_DETECTIONS and at_border[keep[0]]
    clean.instances = [clean.instances[0][keep]]
    found, leaves = stock_detections(stock, image, features)
    (per_detection,) = model.feature_gradients(clean, "score")
    for i, windows in enumerate(per_detection):
        expected = stock_gradients(found, leaves, clean.instances[0][i])
        ours = {level: torch.zeros_like(g) for level, g in expected.items()}
        for w in windows:
            height, width = w.gradient.shape[-2:]
            ours[w.level][..., w.top : w.top + height, w.left : w.left + width] += w.gradient
        for k in range(5):
            largest = max(g[k].abs().max() for g in expected.values())
            assert largest > 0 or side_is_at_its_point(clean.instances[0][i], k)
            for level in expected:
                assert (ours[level][k] - expected[level][k]).abs().max() <= 1e-5 * largest
    assert i == NUM_DETECTIONS - 1
