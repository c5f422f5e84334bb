"""The original CAM."""

from dataclasses import replace
from typing import Dict

import torch
from detectron2.modeling.roi_heads import Res5ROIHeads

from ...structures import OUTPUTS, SaliencyMaps
from ..detector import Detector
from ..fields import Fields
from ..forward_pass import ForwardPass
from ..layers import recorded_output
from ..targets import differentiable_targets
from .build import SALIENCY_HEAD_REGISTRY
from .head import SaliencyHead


@SALIENCY_HEAD_REGISTRY.register()
class CAM(SaliencyHead):
    """
    Class activation mapping (Zhou et al., 2016), where its assumption holds: C4 models, whose class
    logits are linear in the globally pooled output A (C, P, P) of res5 on the RoI.

        w_k = dY / d mean_ij A^k_ij     for a class logit the very weight w_k^c of ``cls_score``
        L   = ReLU(sum_k w_k A^k)       for coordinates |sum_k w_k A^k|: both directions matter

    The map lies on the RoI and is zero elsewhere.
    """

    def explain(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Fields:
        if not isinstance(getattr(detector, "roi_heads", None), Res5ROIHeads):
            raise ValueError(
                "CAM is defined only where the class score is linear in globally pooled features: "
                f"R-CNN models with a C4 backbone (Res5ROIHeads). {type(detector).__name__} is "
                "none; use GradCAM, which generalises CAM."
            )
        leaves = {name: f.detach().requires_grad_() for name, f in clean.features.items()}
        with recorded_output(detector, "roi_heads.res5") as recorded:
            (outputs,) = detector.outputs(replace(clean, features=leaves))
        targets, slopes = differentiable_targets(outputs, self.class_target)
        activations = recorded[0]
        maps = []
        for k in range(len(OUTPUTS)):
            # RoIs do not depend on each other, and Y depends on A through its mean: dY/dmean =
            # sum_ij dY/dA_ij.
            (gradient,) = torch.autograd.grad(targets[:, k].sum(), activations, retain_graph=True)
            weights = gradient.sum((2, 3), keepdim=True) * slopes[:, k, None, None, None]
            maps.append((weights * activations).sum(1))
        five = torch.stack([maps[0].relu(), *(m.abs() for m in maps[1:])], dim=1)
        return {
            "pred_saliency": SaliencyMaps(five, outputs.proposal_boxes.tensor, outputs.image_size)
        }
