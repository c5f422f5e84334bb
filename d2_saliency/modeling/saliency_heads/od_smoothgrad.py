"""ODSmoothGrad."""

from typing import Dict, Iterable, Optional, Sequence, Tuple

import torch
from detectron2.structures import Instances
from torch import Tensor

from ...structures import OUTPUTS, SaliencyMaps
from ..detector import Detector
from ..fields import Fields
from ..forward_pass import ForwardPass
from ..image_windows import ImageWindow, energy_window
from ..matching import match_instances
from ..noise import NoiseMixin, NoisePasses, gaussian_noise
from .build import SALIENCY_HEAD_REGISTRY
from .gradient import Gradient, gradient_map


@SALIENCY_HEAD_REGISTRY.register()
class ODSmoothGrad(NoiseMixin, Gradient):
    """
    SmoothGrad for object detectors ("ODSmoothGrad: Generating Saliency Maps for Object Detectors",
    2023).

        M_i = 1/|K_i| sum_{k in K_i} max_c |dY_{m_k(i)}(x_k) / dx_c|
        x_k = x + N(0, s^2),  k = 1..n

    The detector runs on n noisy images. Detection i of the clean image is found again in pass k (k
    in K_i) as m_k(i): the detection of the same class with IoU > 0.7, one to one. Each of its five
    outputs Y has its own map.

    Note:
        What the paper leaves open: s = sigma * (max x - min x); the reference is the clean image;
        the mean is over the matched passes, whose number is the field ``num_matched`` (0..n, long)
        beside ``num_samples`` (n, long).
        A detection that no noise pass finds again has ``num_matched`` 0 and the map of
        :class:`Gradient`.

        WINDOW "auto" (ours, not exact): the noise passes see only the part of the image that holds
        99 % of the detection's noise-free gradient, where that is less than half of it and the
        detector finds the detection in it, too; elsewhere the map is the noise-free one.
    """

    def explain(
        self,
        detector: Detector,
        batched_input: Dict,
        clean: ForwardPass,
        noise: Optional[Sequence[Tensor]] = None,
    ) -> Fields:
        """
        Explain as :meth:`SaliencyHead.explain` says.

        Args:
            noise: n tensors of the image's shape to add to it, in place of :func:`gaussian_noise`.
        """
        detector = self.runner(detector, batched_input)
        reference, image = clean.instances[0], batched_input["image"]
        if self.window == "auto" and self.match == "detection" and not reference.has("detected"):
            maps, num_matched = self._in_windows(detector, batched_input, clean)
        else:
            maps, num_matched = self._mean_maps(detector, batched_input, reference, noise)
            lost = (num_matched == 0).nonzero()[:, 0]
            if len(lost):
                maps[lost] = self._noise_free(detector, batched_input, clean.select(0, lost))
        num_samples = self.num_samples if noise is None else len(noise)
        return {
            "pred_saliency": SaliencyMaps.full_image(maps, image.shape[-2:]),
            "num_matched": num_matched,
            "num_samples": torch.full_like(num_matched, num_samples),
        }

    def _mean_maps(
        self,
        detector: Detector,
        batched_input: Dict,
        reference: Instances,
        noise: Optional[Iterable[Tensor]] = None,
    ) -> Tuple[Tensor, Tensor]:
        """Maps (N, 5, H, W), zero where no pass matched, and the number of matched passes (N,)."""
        image = batched_input["image"]
        shape = len(reference), len(OUTPUTS), *image.shape[-2:]

        def sums(passes: NoisePasses) -> Tuple[Tensor, Tensor]:
            maps = torch.zeros(shape, device=image.device)
            num_matched = torch.zeros(len(reference), dtype=torch.long, device=image.device)
            for b, j, gradient in detector.input_gradients(passes.forward_pass, self.class_target):
                i = passes.matched[b][j]
                maps[i] += gradient_map(gradient)
                num_matched[i] += 1
            return maps, num_matched

        total = torch.zeros(shape, device=image.device)
        num_matched = torch.zeros(len(reference), dtype=torch.long, device=image.device)
        for maps, matched in self.noise_passes(
            detector, batched_input, reference, sums, noise, may_autocast=True
        ):
            total += maps
            num_matched += matched
        return total / num_matched.clamp(min=1)[:, None, None, None], num_matched

    def _noise_free(self, detector: Detector, batched_input: Dict, clean: ForwardPass) -> Tensor:
        return torch.stack(super().explain(detector, batched_input, clean)["pred_saliency"].maps)

    def _in_windows(
        self, detector: Detector, batched_input: Dict, clean: ForwardPass
    ) -> Tuple[Tensor, Tensor]:
        """
        WINDOW "auto": as :meth:`_mean_maps`, from a window of each detection and the noise-free
        maps around it.
        """
        reference, image = clean.instances[0], batched_input["image"]
        maps = self._noise_free(detector, batched_input, clean)
        num_matched = torch.zeros(len(reference), dtype=torch.long, device=image.device)
        for i in range(len(reference)):
            window = energy_window(maps[i], reference.pred_boxes.tensor[i])
            part, cut_reference = window.cut(batched_input, reference[i : i + 1])
            if window.area > image[0].numel() / 2 or not self._finds(detector, part, cut_reference):
                window = ImageWindow(0, 0, *image.shape[-2:])
                part, cut_reference = batched_input, reference[i : i + 1]
            noise = map(window.of, gaussian_noise(image, self.num_samples, self.sigma, self.seed))
            found, matched = self._mean_maps(detector, part, cut_reference, noise)
            num_matched[i] = matched[0]
            if matched[0]:
                window.of(maps[i]).copy_(found[0])
        return maps, num_matched

    def _finds(self, detector: Detector, batched_input: Dict, reference: Instances) -> bool:
        with torch.no_grad():
            (found,) = detector.run([batched_input]).instances
        return len(match_instances(reference, found, self.iou_thresh)[0]) == len(reference)
