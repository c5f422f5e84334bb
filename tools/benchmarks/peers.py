"""
Runs what a user would pick instead: captum, pytorch-grad-cam, plain autograd, and ODAM's own way.
"""

from typing import List
from unittest import mock

import torch
from captum.attr import NoiseTunnel, Saliency
from captum.log import log_usage
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn

from .detector import SIGMA, Bench, Stopwatch, detect
from .measure import Measure


class DetectionOutput(nn.Module):
    """
    One output of one detection as a function of the image: of the detections of its class, the one
    that overlaps most.

    Args:
        reference: the detection, ``Instances`` of length 1.
        output: 0, the score, or 1..4, a coordinate.
    """

    def __init__(self, model: nn.Module, reference, output: int):
        super().__init__()
        self.model, self.output = model, output
        self.box, self.label = reference.pred_boxes.tensor[0], reference.pred_classes[0]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B,)."""
        return torch.stack([self._value(image) for image in images])

    def _value(self, image: Tensor) -> Tensor:
        (found,) = self.model.inference([{"image": image}], do_postprocess=False)
        boxes = found.pred_boxes.tensor
        width_height = (
            torch.minimum(boxes[:, 2:], self.box[2:]) - torch.maximum(boxes[:, :2], self.box[:2])
        ).clamp(0)
        overlap = width_height.prod(1)
        area = (
            (boxes[:, 2:] - boxes[:, :2]).prod(1) + (self.box[2:] - self.box[:2]).prod() - overlap
        )
        best = (overlap / area - (found.pred_classes != self.label).float()).argmax()
        return torch.cat([found.scores[best, None], boxes[best]])[self.output]


class LargestOfChannels(Saliency):
    """
    captum's ``Saliency`` with the maps of the paper: the largest magnitude over the colour
    channels.
    """

    @log_usage()  # as captum's own; NoiseTunnel calls what it wraps
    def attribute(self, *args, **kwargs) -> Tensor:
        return super().attribute(*args, **kwargs).amax(1, keepdim=True)


def detections(bench: Bench):
    return detect(bench.stock, bench.inputs)[0]["instances"]


def noise_tunnel_map(bench: Bench, index: int, output: int, num_samples: int) -> tuple:
    """captum's map (H, W) and the noise that it drew, num_samples tensors like the image."""
    drawn: List[Tensor] = []
    normal = torch.normal

    def recorded(*args, **kwargs) -> Tensor:
        drawn.append(normal(*args, **kwargs))
        return drawn[-1]

    tunnel = NoiseTunnel(
        LargestOfChannels(DetectionOutput(bench.stock, detections(bench)[index], output))
    )
    with mock.patch("torch.normal", recorded):
        maps = tunnel.attribute(
            bench.inputs["image"][None],
            nt_samples=num_samples,
            nt_samples_batch_size=1,
            stdevs=_stdev(bench),
        )
    return maps[0, 0], [n.reshape(bench.inputs["image"].shape) for n in drawn]


def _stdev(bench: Bench) -> float:
    image = bench.inputs["image"]
    return SIGMA * float(image.max() - image.min())


def captum_saliency(bench: Bench, num_detections: int) -> Measure:
    """A forward and a backward for each output and detection; one of them is measured."""
    explainer = Saliency(DetectionOutput(bench.stock, detections(bench)[0], 0))

    def measure() -> float:
        watch = Stopwatch()
        with watch.running():
            explainer.attribute(bench.inputs["image"][None])
        return watch.seconds * 5 * num_detections

    return measure


def captum_noise_tunnel(bench: Bench, num_detections: int, num_samples: int = 20) -> Measure:
    """
    The same for each of the noisy images; one output of one detection with two of them is measured.
    """
    tunnel = NoiseTunnel(Saliency(DetectionOutput(bench.stock, detections(bench)[0], 0)))

    def measure() -> float:
        watch = Stopwatch()
        with watch.running():
            tunnel.attribute(
                bench.inputs["image"][None],
                nt_samples=2,
                nt_samples_batch_size=1,
                stdevs=_stdev(bench),
            )
        return watch.seconds * num_samples / 2 * 5 * num_detections

    return measure


def grad_cam_map(bench: Bench, index: int, level: str) -> Tensor:
    """
    pytorch-grad-cam's class map of a detection at a level of the pyramid, before it is scaled and
    resized.
    """
    layer = bench.stock.backbone.get_submodule(f"fpn_output{level[1:]}")
    with mock.patch("pytorch_grad_cam.base_cam.scale_cam_image", lambda cam, target_size=None: cam):
        with GradCAM(DetectionOutput(bench.stock, detections(bench)[index], 0), [layer]) as cam:
            m = cam(bench.inputs["image"][None].clone(), [lambda output: output])[0]
    bench.stock.zero_grad(set_to_none=True)
    return torch.from_numpy(m)


def grad_cam(bench: Bench, num_detections: int, num_outputs: int) -> Measure:
    """A forward and a backward of the whole model for each map; one is measured."""
    model = DetectionOutput(bench.stock, detections(bench)[0], 0)
    layer = bench.stock.backbone.fpn_output2

    def measure() -> float:
        watch = Stopwatch()
        with GradCAM(model, [layer]) as cam, watch.running():
            cam(bench.inputs["image"][None].clone(), [lambda output: output])
        bench.stock.zero_grad(set_to_none=True)
        return watch.seconds * num_outputs * num_detections

    return measure


def plain_autograd(bench: Bench, num_detections: int) -> Measure:
    """
    One forward of the stock model, then a backward to the pixels for each output; those of one are
    measured.
    """

    def measure() -> float:
        forward, backward = Stopwatch(), Stopwatch()
        image = bench.inputs["image"].clone().requires_grad_()
        with forward.running():
            (found,) = bench.stock.inference([{"image": image}], do_postprocess=False)
        with backward.running():
            torch.autograd.grad(found.scores[0], image)
        return forward.seconds + backward.seconds * 5 * num_detections

    return measure


def odam_outputs(bench: Bench):
    """
    One forward of the stock model on leaves in the place of its pyramid levels: (levels, its
    detections).
    """
    model, inputs = bench.stock, bench.inputs
    images = model.preprocess_image([inputs])
    with torch.no_grad():
        levels = model.backbone(images.tensor)
    levels = {name: level.requires_grad_() for name, level in levels.items()}
    proposals, _ = model.proposal_generator(images, levels, None)
    (found,), _ = model.roi_heads(images, levels, proposals)
    return levels, found


def odam_map(levels, value: Tensor, level: str) -> Tensor:
    """
    ODAM without its Gaussian (H, W): activations times the gradient of one output, ReLU of the sum
    of channels.
    """
    gradients = torch.autograd.grad(
        value, list(levels.values()), retain_graph=True, allow_unused=True
    )
    gradient = dict(zip(levels, gradients))[level]
    return (gradient * levels[level]).sum(1)[0].relu().detach()


def odam_way(bench: Bench, num_detections: int) -> Measure:
    """
    The published way: one forward, a backward to the levels for each detection and output; one
    detection's five.
    """

    def measure() -> float:
        forward, backward = Stopwatch(), Stopwatch()
        with forward.running():
            levels, found = odam_outputs(bench)
        with backward.running():
            for value in (found.scores[0], *found.pred_boxes.tensor[0]):
                odam_map(levels, value, "p2")
        return forward.seconds + backward.seconds * num_detections

    return measure
