"""Holds what travels with a detection: the names of its five outputs and its five saliency maps."""

from typing import Callable, ClassVar, List, Optional, Sequence, Tuple, Union

import torch
from detectron2.structures import Instances
from torch import Tensor

OUTPUTS = ("class", "x_min", "y_min", "x_max", "y_max")
"""The five outputs of a detection, in the order of every axis of length 5 in this package."""

MASK_OUTPUTS = ("mask",)
"""What ``pred_mask_saliency`` explains, where MODEL.SALIENCY_HEAD.MASK_OUTPUT asks for it."""


class SaliencyMaps:
    """
    Five saliency maps for each of N detections of one image, at the resolution at which the method
    made them.

    As :class:`detectron2.structures.ROIMasks` does for masks, this keeps small maps small until
    someone looks: 100 detections x 5 maps at 800x1333 would take 2.1 GB. It is a field of
    ``Instances`` (``pred_saliency``), so it supports indexing, ``len``, ``to`` and ``cat`` as such
    fields must.

    Attributes:
        maps (list[Tensor]): N float32 tensors of shape (5, h_i, w_i), values >= 0, one map per
            entry of ``outputs``. A detection that was not explained (see ``explained``) has an
            empty map of shape (5, 0, 0).
        regions (Tensor): shape (N, 4), the (x0, y0, x1, y1) area in pixels of the network input
            that each map covers; outside of it the map is zero. It may exceed the image, as the
            cells of a feature map of a padded image do.
        image_size (tuple[int, int]): (height, width) of the network input without padding.
        outputs (tuple[str, ...]): what the maps of a detection explain: ``OUTPUTS``, or
            ``MASK_OUTPUTS`` in the field ``pred_mask_saliency``, which has one map instead of five.
    """

    draw: ClassVar[Optional[Callable[["SaliencyMaps"], Optional[bytes]]]] = None
    """What makes the PNG that Jupyter shows. ``visualization``, which can draw, sets it."""

    def __init__(
        self,
        maps: Union[Tensor, Sequence[Tensor]],
        regions: Tensor,
        image_size: Tuple[int, int],
        outputs: Sequence[str] = OUTPUTS,
    ):
        self.maps: List[Tensor] = list(maps)
        self.regions = torch.as_tensor(regions, dtype=torch.float32).reshape(-1, 4)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.outputs = tuple(outputs)
        if len(self.maps) != len(self.regions):
            raise ValueError(f"{len(self.maps)} maps do not fit {len(self.regions)} regions.")
        for m in self.maps:
            if m.dim() != 3 or len(m) != len(self.outputs):
                raise ValueError(
                    f"A saliency map has shape ({len(self.outputs)}, h, w), one map for each of "
                    f"{self.outputs}; got "
                    f"{tuple(m.shape)}."
                )

    @classmethod
    def full_image(cls, maps: Tensor, image_size: Tuple[int, int]) -> "SaliencyMaps":
        """Maps (N, 5, h, w) of any resolution that cover exactly the un-padded network input."""
        height, width = image_size
        return cls(maps, maps.new_tensor([[0, 0, width, height]]).expand(len(maps), 4), image_size)

    @property
    def device(self) -> torch.device:
        return self.regions.device

    @property
    def explained(self) -> Tensor:
        """
        Bool tensor (N,): False where a detection has no maps (below the score threshold or beyond
        the limit).
        """
        return torch.tensor(
            [m.numel() > 0 for m in self.maps], dtype=torch.bool, device=self.device
        )

    @property
    def peaks(self) -> Tensor:
        """Largest value of each map, shape (N, 5). 0 marks a map that is zero everywhere."""
        values = [
            m.amax((-2, -1)) if m.numel() else m.new_zeros(len(self.outputs)) for m in self.maps
        ]
        return (
            torch.stack(values) if values else torch.zeros(0, len(self.outputs), device=self.device)
        )

    def resize(self, height: int, width: int) -> Tensor:
        """
        Maps aligned with an image of ``height`` x ``width`` pixels that shows what the network
        input shows.

        Bilinear, with anti-aliasing where a map shrinks. The un-padded area of the network input is
        laid onto the whole output, so padding never shifts a map.

        Returns:
            Tensor: (N, 5, height, width), float32, >= 0; zeros for detections that were not
                explained.
        """
        scale = (height / self.image_size[0], width / self.image_size[1])
        out = torch.zeros(len(self), len(self.outputs), height, width, device=self.device)
        for target, m, (x0, y0, x1, y1) in zip(out, self.maps, self.regions.tolist()):
            if m.numel():
                rows = _resampling_matrix(height, m.shape[-2], y0 * scale[0], y1 * scale[0]).to(m)
                cols = _resampling_matrix(width, m.shape[-1], x0 * scale[1], x1 * scale[1]).to(m)
                target.copy_(rows @ m @ cols.T)
        return out

    def to(self, *args, **kwargs) -> "SaliencyMaps":
        maps = [m.to(*args, **kwargs) for m in self.maps]
        return SaliencyMaps(maps, self.regions.to(*args, **kwargs), self.image_size, self.outputs)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, item) -> "SaliencyMaps":
        """
        Select detections by an int, a slice, a bool mask or an index tensor, as for ``Instances``.
        """
        if isinstance(item, int):
            item = slice(item, None if item == -1 else item + 1)
        index = torch.arange(len(self), device=self.device)[item].tolist()
        return SaliencyMaps(
            [self.maps[i] for i in index], self.regions[index], self.image_size, self.outputs
        )

    def __repr__(self) -> str:
        sizes = sorted({tuple(m.shape[-2:]) for m in self.maps})
        return (
            f"SaliencyMaps(num_instances={len(self)}, sizes={sizes}, image_size={self.image_size})"
        )

    def _repr_png_(self) -> Optional[bytes]:
        """
        Draw for Jupyter the maps of the first detections. ``visualization.show`` lays them on
        their picture.
        """
        return None if SaliencyMaps.draw is None else SaliencyMaps.draw(self)

    @staticmethod
    def cat(maps_list: Sequence["SaliencyMaps"]) -> "SaliencyMaps":
        """Concatenate the maps of detections of one image."""
        if len({m.image_size for m in maps_list}) != 1:
            raise ValueError(
                "Only maps of one image can be joined, got sizes "
                f"{[m.image_size for m in maps_list]}."
            )
        first, regions = maps_list[0], torch.cat([m.regions for m in maps_list])
        return SaliencyMaps(
            [m for part in maps_list for m in part.maps], regions, first.image_size, first.outputs
        )

    @staticmethod
    def unexplained(
        num_instances: int,
        image_size: Tuple[int, int],
        device="cpu",
        outputs: Sequence[str] = OUTPUTS,
    ) -> "SaliencyMaps":
        """The field of detections for which no map was asked."""
        empty = torch.zeros(num_instances, len(outputs), 0, 0, device=device)
        return SaliencyMaps(
            empty, torch.zeros(num_instances, 4, device=device), image_size, outputs
        )


def saliency_fields(instances: Instances) -> List[SaliencyMaps]:
    """
    All that explains some detections: pred_saliency, and pred_mask_saliency where MASK_OUTPUT asked
    for it.
    """
    return [
        instances.get(name)
        for name in ("pred_saliency", "pred_mask_saliency")
        if instances.has(name)
    ]


def _resampling_matrix(num_pixels: int, num_cells: int, start: float, stop: float) -> Tensor:
    """
    Linear resampling of ``num_cells`` equal cells, which cover [start, stop) of a line of
    ``num_pixels`` pixels.

    A pixel reads the cells around its centre with a triangular kernel as wide as the larger of cell
    and pixel (so magnification is bilinear and minification does not alias); pixels with their
    centre outside read nothing.

    Returns:
        Tensor: (num_pixels, num_cells), rows sum to 1 inside and to 0 outside.
    """
    centre = torch.arange(num_pixels, dtype=torch.float64)[:, None] + 0.5
    cell = (stop - start) / num_cells
    position = (centre - start) / cell - 0.5  # in cells, 0 = the centre of the first cell
    support = max(1.0, 1.0 / cell)
    weight = (
        1 - (position.clamp(0, num_cells - 1) - torch.arange(num_cells)).abs() / support
    ).clamp(min=0)
    return (weight / weight.sum(1, keepdim=True) * ((centre > start) & (centre < stop))).float()
