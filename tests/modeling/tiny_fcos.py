"""
A FCOS small enough for many tests: two convolutions for a backbone, random weights that detect many
things.
"""

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from torch import nn

from d2_saliency.testing import calibrate


class TwoLevels(Backbone):
    """Levels p3 and p4 with 32 channels."""

    def __init__(self):
        super().__init__()
        self.p3, self.p4 = nn.Conv2d(3, 32, 8, stride=8), nn.Conv2d(32, 32, 2, stride=2)

    @property
    def size_divisibility(self):
        return 16

    def forward(self, x):
        p3 = self.p3(x).tanh()
        return {"p3": p3, "p4": self.p4(p3).tanh()}

    def output_shape(self):
        return {"p3": ShapeSpec(channels=32, stride=8), "p4": ShapeSpec(channels=32, stride=16)}


def tiny_fcos(norm: str = "", cls=FCOS, num_classes: int = 4) -> nn.Module:
    """
    Most of its box distances are positive, as after training; some are not, and FCOS takes them for
    0.
    """
    torch.manual_seed(1)
    head = FCOSHead(
        input_shape=[ShapeSpec(channels=32)] * 2,
        num_classes=num_classes,
        conv_dims=[32, 32],
        norm=norm,
        prior_prob=0.3,
    )
    scale = {"pixel_mean": [103.53, 116.28, 123.675], "pixel_std": [57.375, 57.12, 58.395]}
    model = cls(
        backbone=TwoLevels(), head=head, num_classes=num_classes, test_score_thresh=0.05, **scale
    ).eval()
    calibrate(model)
    model.head.bbox_pred.bias.data += 4
    return model
