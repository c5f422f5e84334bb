"""
Explains models in another framework or process, known as a function from images to detections.
"""

from typing import Callable, Dict, List

import numpy as np
from detectron2.structures import Boxes, Instances
from torch import nn


class BlackBox(nn.Module):
    """
    A detector that is a plain function, with Detectron2's input and output format around it.

    There are no gradients, so ``explainable(BlackBox(detect), cfg)`` needs a black-box method such
    as D-RISE.

    Args:
        detect: takes a list of images (H, W, 3), uint8, channels in the order in which they are
            given to the model, and returns for each of them ``Instances`` with ``pred_boxes`` in
            its pixels, ``scores`` (N,) and ``pred_classes`` (N,), on the CPU. Give all that the
            detector has: the lower its score threshold, the more an explanation sees.

    Examples:
        ```python
        def detect(images):
            replies = [my_server.detect(image) for image in images]
            return [
                Instances(
                    image.shape[:2],
                    pred_boxes=Boxes(torch.as_tensor(r["boxes"])),
                    scores=torch.as_tensor(r["scores"]),
                    pred_classes=torch.as_tensor(r["classes"]),
                )
                for image, r in zip(images, replies)
            ]

        model = explainable(BlackBox(detect), cfg)  # cfg.MODEL.SALIENCY_HEAD.NAME = "DRISE"
        ```
    """

    def __init__(self, detect: Callable[[List[np.ndarray]], List[Instances]]):
        super().__init__()
        self.detect = detect
        self.eval()

    def forward(self, batched_inputs: List[Dict]) -> List[Dict]:
        images = [
            x["image"].detach().permute(1, 2, 0).round().clamp(0, 255).byte().cpu()
            for x in batched_inputs
        ]
        found = self.detect([np.ascontiguousarray(image) for image in images])
        if len(found) != len(images):
            raise ValueError(
                f"The black box returned {len(found)} results for {len(images)} images."
            )
        return [{"instances": _scaled(instances, x)} for instances, x in zip(found, batched_inputs)]


def _scaled(instances: Instances, batched_input: Dict) -> Instances:
    """Boxes in an image of the size that the input asks for, as Detectron2's models return them."""
    height, width = instances.image_size
    size = batched_input.get("height", height), batched_input.get("width", width)
    boxes = instances.pred_boxes.tensor
    scale = boxes.new_tensor([size[1] / width, size[0] / height] * 2)
    return Instances(size, **{**instances.get_fields(), "pred_boxes": Boxes(boxes * scale)})
