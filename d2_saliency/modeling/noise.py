"""
Noise passes, for all Smooth* methods: they run the detector on noisy copies of an image and find
its detections again.
"""

from contextlib import nullcontext
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
    TypeVar,
)

import torch
from detectron2.config import configurable
from detectron2.structures import Instances
from torch import Tensor, nn

from ..keys import check_values
from .batching import reproducible_batch_size, run_in_batches
from .detector import Detector
from .fields import Fields
from .forward_pass import ForwardPass
from .layers import recorded_output
from .matching import match_instances
from .optimize import half_precision
from .sparse_backward import skipping_zeros

Result = TypeVar("Result")


class NoisePasses(NamedTuple):
    """
    A batch of B noise passes.

    Attributes:
        forward_pass: the detector's run on B noisy images that require gradients. ``instances[b]``
            are the matched detections of pass b alone, in the order of ``matched[b]``.
        matched: indices (P_b,) of the reference detections that each pass found again.
        recorded: what the named layer returned, see :meth:`NoiseMixin.noise_passes`; empty without
            one.
    """

    forward_pass: ForwardPass
    matched: List[Tensor]
    recorded: List[Tensor]


Head: Any = nn.Module if TYPE_CHECKING else object
"""
What the methods of the mixin find on ``self``: those of the saliency head, which comes after it.
"""


class NoiseMixin(Head):
    """
    Reads the options of ``MODEL.SALIENCY_HEAD.SMOOTHGRAD`` and runs noise passes with them.

    Comes before the saliency head in the list of base classes of a Smooth* method.
    """

    min_samples = 1
    """The fewest noise passes that the method is defined for."""

    @configurable
    def __init__(
        self,
        *,
        num_samples: int = 20,
        sigma: float = 0.05,
        iou_thresh: float = 0.7,
        match: str = "detection",
        batch_size: int = 4,
        autocast: bool = False,
        window: str = "off",
        **kwargs,
    ):
        """
        Args:
            num_samples: noise passes n.
            sigma: noise level as a share of the image's range.
            iou_thresh: a match has an IoU strictly above this.
            match: "detection", or "index" to follow the detection's own proposal or anchor without
                matching.
            batch_size: noise passes computed at once; see :mod:`.batching`.
            autocast: let :meth:`noise_passes` run the detector in bfloat16 where the method says
                that it may.
            window: "off", or "auto" for passes on a part of the image, see :class:`ODSmoothGrad`.
            kwargs: arguments of the saliency head.
        """
        check_values("MODEL.SALIENCY_HEAD.SMOOTHGRAD", locals())
        super().__init__(**kwargs)
        if num_samples < self.min_samples:
            raise ValueError(
                f"MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES is {num_samples}; "
                f"{type(self).__name__} needs at least {self.min_samples}."
            )
        self.num_samples = num_samples
        self.sigma = sigma
        self.iou_thresh = iou_thresh
        self.match = match
        self.batch_size = batch_size
        self.autocast = autocast
        self.window = window

    @classmethod
    def from_config(cls, cfg):
        options = {key.lower(): value for key, value in cfg.MODEL.SALIENCY_HEAD.SMOOTHGRAD.items()}
        return {**super().from_config(cfg), **options}

    def noise_passes(
        self,
        detector: Detector,
        batched_input: Dict,
        reference: Instances,
        use: Callable[[NoisePasses], Result],
        noise: Optional[Iterable[Tensor]] = None,
        layer: Optional[str] = None,
        differentiable: bool = True,
        may_autocast: bool = False,
    ) -> Iterator[Result]:
        """
        Run the detector on ``x + noise`` and find the reference detections again. Yields
        ``use(passes)`` of each batch.

        Args:
            detector: a :class:`SaliencyMixin`.
            batched_input: the clean image x, as for the detector's forward.
            reference: its detections.
            use: function of a batch of passes, as ``compute`` of :func:`run_in_batches`.
            noise: tensors of the shape of the image, one for each pass; by default
                :func:`gaussian_noise`.
            layer: name of a module whose output is to be recorded, with its graph.
            differentiable: whether the graph to the images and the layer is kept. Gradients to
                ``ForwardPass.features`` need none, and without one a pass takes less memory.
            may_autocast: whether AUTOCAST counts here.

        Raises:
            ValueError: for match "index" where the architecture's proposals or anchors are not
                known.
        """
        # Objects that the user names need not be among the detections of any pass.
        match = "index" if reference.has("detected") else self.match
        if match == "index" and not detector.knows_provenance:
            raise ValueError(
                "SMOOTHGRAD.MATCH 'index' follows a detection's proposal or anchor, which are not "
                f"known for {type(detector).__name__}; use 'detection'."
            )
        image = batched_input["image"]
        # A folded model lacks the norms, which may be named.
        runner = detector if layer else self.runner(detector, batched_input)
        if noise is None:
            noise = gaussian_noise(image, self.num_samples, self.sigma, self.seed)

        def compute(batch: List[Tensor]) -> Result:
            inputs = [{**batched_input, "image": _noisy(image, n)} for n in batch]
            follow = [reference] * len(batch) if match == "index" else None
            recording: ContextManager = (
                recorded_output(detector, layer) if layer else nullcontext([])
            )
            autocast = self.autocast and may_autocast
            with recording as recorded, torch.set_grad_enabled(differentiable):
                # In bfloat16 convolutions are so fast that looking for the zeros costs what it
                # saves.
                with (
                    half_precision(image.device, autocast),
                    skipping_zeros(self.skip_zeros and not autocast),
                ):
                    forward_pass = runner.run(inputs, follow)
                forward_pass.features = {
                    name: f.float() for name, f in forward_pass.features.items()
                }
            pairs = [
                _pair(reference, found, self.iou_thresh, match) for found in forward_pass.instances
            ]
            forward_pass.instances = [instances for _, instances in pairs]
            return use(NoisePasses(forward_pass, [index for index, _ in pairs], recorded))

        # A model of unknown architecture may run its layers on one image after the other.
        batch_size = 1 if layer else reproducible_batch_size(self.batch_size, image.device)
        return run_in_batches(noise, batch_size, compute, "SMOOTHGRAD.BATCH_SIZE")


def match_counts(num_matched: Tensor, num_samples: int) -> Fields:
    """
    The fields of ``Instances`` that count noise passes: in how many of them each detection was
    found again.

    Args:
        num_matched: (N,), long, 0..num_samples.
        num_samples: noise passes that were made.

    Returns:
        dict: "num_matched" and "num_samples", both (N,), long.
    """
    return {
        "num_matched": num_matched,
        "num_samples": torch.full_like(num_matched, num_samples),
    }


def gaussian_noise(image: Tensor, num_samples: int, sigma: float, seed: int) -> Iterator[Tensor]:
    """
    ``N(0, s^2)`` with ``s = sigma * (max(x) - min(x))`` (SmoothGrad, section 3).

    Drawn on the CPU one pass after the other, so that it depends on the seed alone, not on device
    or batch size.

    Args:
        image: (C, H, W).
        sigma: the noise level, a share of the image's range.

    Yields:
        ``num_samples`` tensors like ``image``, float32.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = sigma * float(image.max() - image.min())
    for _ in range(num_samples):
        yield scale * torch.randn(image.shape, generator=generator).to(image.device)


def _noisy(image: Tensor, noise: Tensor) -> Tensor:
    return (image.detach().float() + noise).requires_grad_()


def _pair(
    reference: Instances, found: Instances, iou_thresh: float, match: str
) -> Tuple[Tensor, Instances]:
    """
    Indices of the matched reference detections, and their counterparts in ``found`` in the same
    order.
    """
    if match == "index":
        return torch.arange(len(reference), device=reference.pred_classes.device), found
    index, partner = match_instances(reference, found, iou_thresh)
    found = found[partner]
    if reference.has("target_classes"):
        found.target_classes = reference.target_classes[index]
    return index, found
