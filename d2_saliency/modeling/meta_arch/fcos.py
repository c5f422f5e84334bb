"""
FCOS: class logits, box distances and centerness for each point. Detectron2 has it for lazy configs
only.
"""

from typing import Any, Dict, List, Tuple

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.backbone import FPN, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from torch import Tensor, nn

from ...keys import check_values
from ..log_odds import geometric_mean_log_odds
from ..saliency_heads.build import build_saliency_head
from .dense import SaliencyDenseMixin


class SaliencyFCOSMixin(SaliencyDenseMixin):
    """
    Explains ``FCOS`` models. Its anchors are points: squares as large as a cell, one for each cell.

    The class output "score" is the score that FCOS gives, sqrt(sigmoid(z_c) * sigmoid(centerness));
    "logit" and "contrast" are of the class logits z alone, since centerness is the same for all
    classes. A side of the box whose distance from the point is predicted as negative, which FCOS
    takes for 0, has a gradient of zero.

    Note:
        Methods that look at the region a detection was read from (SSGrad-CAM) take the detected
        box, as a point has no region.
    """

    def prediction_layers(self) -> List[Tuple[nn.Module, nn.Module]]:
        head = self.head
        return [
            (head.cls_subnet, head.cls_score),
            (head.bbox_subnet, head.bbox_pred),
            (head.bbox_subnet, head.ctrness),
        ]

    def prediction_sizes(self) -> List[int]:
        return [self.num_classes, 4, 1]

    def class_probs(self, logits: Tensor, *others: Tensor) -> Tensor:
        (centerness,) = others
        return (logits.sigmoid() * centerness.sigmoid()).sqrt()

    def class_log_odds(self, logits: Tensor, *others: Tensor) -> Tensor:
        (centerness,) = others
        return geometric_mean_log_odds(logits, centerness)


@META_ARCH_REGISTRY.register()
class SaliencyFCOS(SaliencyFCOSMixin, FCOS):
    """
    ``FCOS`` that explains its detections, built from the keys of ``MODEL.FCOS``; same checkpoint
    keys.

    Args:
        saliency_head: a :class:`SaliencyHead`, or None for the stock behaviour.
        others: see :class:`FCOS`.
    """

    @configurable
    def __init__(self, *, saliency_head=None, **kwargs):
        super().__init__(**kwargs)
        self.saliency_head = saliency_head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict[str, Any]:
        """The arguments of :class:`FCOS`, and the saliency head."""
        fcos = cfg.MODEL.FCOS
        check_values("MODEL.FCOS", fcos)
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        input_shape = [shapes[name] for name in fcos.IN_FEATURES]
        head = FCOSHead(
            input_shape=input_shape,
            num_classes=fcos.NUM_CLASSES,
            conv_dims=[input_shape[0].channels] * fcos.NUM_CONVS,
            prior_prob=fcos.PRIOR_PROB,
            norm=fcos.NORM,
        )
        return {
            "backbone": backbone,
            "head": head,
            "head_in_features": fcos.IN_FEATURES,
            "num_classes": fcos.NUM_CLASSES,
            "center_sampling_radius": fcos.CENTER_SAMPLING_RADIUS,
            "focal_loss_alpha": fcos.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": fcos.FOCAL_LOSS_GAMMA,
            "test_score_thresh": fcos.SCORE_THRESH_TEST,
            "test_topk_candidates": fcos.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": fcos.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "saliency_head": build_saliency_head(cfg),
        }


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_p5p6p7_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """
    ResNet and FPN with P6 and P7 made from P5, as in FCOS; Detectron2's RetinaNet makes them from
    C5.
    """
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    return FPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=channels,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelP6P7(channels, channels, in_feature="p5"),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
