"""The maps of one image in a file: compact, and nothing in it is pickled."""

from pathlib import Path
from typing import Any, Dict, Sequence, Union

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..structures import MASK_OUTPUTS, OUTPUTS, SaliencyMaps
from ..utils.files import atomic_path
from ..utils.regular_files import open_regular

COUNTS = ("num_matched", "num_samples")
"""Fields that methods with noise passes have beside the maps."""


class MapsError(ValueError):
    """Maps that cannot be read; the message is one line that names the file and says what to do."""


def save_maps(path: Union[str, Path], instances: Instances, run: str = "") -> None:
    """
    Save the maps and boxes of one image's detections; :func:`load_maps` reads them.

    The arrays of the file, for N detections whose maps have the shapes (5, h_i, w_i):

    - values: float16, all maps one after another, each divided by its peak, because gradients of
      1e-6 would vanish in float16
    - shapes: int32 (N, 2), (h_i, w_i); (0, 0) where a detection was not explained. Detection i has
      the 5 h_i w_i values that follow those of the detections before it.
    - peaks: float32 (N, 5), the largest value of each map. Map = value x peak.
    - regions: float32 (N, 4) and network_size: (height, width), as in :class:`SaliencyMaps`
    - boxes: float32 (N, 4), scores: float32 (N,), classes: int64 (N,), and image_size: (height,
      width) of the image that the boxes lie in
    - num_matched, num_samples: int64 (N,), if the method has noise passes
    - mask_values, mask_shapes, mask_peaks, mask_regions: the same of pred_mask_saliency, one map
      each, if it is there
    - run: ``run``, the digest of the run that made them (:func:`.run_info.run_info`), as text

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    arrays: Dict[str, Any] = {
        **_packed(instances.pred_saliency.to("cpu")),
        "network_size": np.array(instances.pred_saliency.image_size),
        "image_size": np.array(instances.image_size),
        "boxes": instances.pred_boxes.tensor.detach().cpu(),
        "scores": instances.scores.detach().cpu(),
        "classes": instances.pred_classes.cpu(),
        "run": np.array(run),
    }
    arrays.update({name: instances.get(name).cpu() for name in COUNTS if instances.has(name)})
    if instances.has("pred_mask_saliency"):
        arrays.update(
            {
                f"mask_{name}": a
                for name, a in _packed(instances.pred_mask_saliency.to("cpu")).items()
            }
        )
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **{name: np.asarray(a) for name, a in arrays.items()})  # type: ignore[arg-type]


def _packed(saliency: SaliencyMaps) -> Dict[str, Any]:
    scales = torch.where(
        (saliency.peaks > 0) & saliency.peaks.isfinite(), saliency.peaks, torch.ones(())
    )
    values = [
        (m / scale[:, None, None]).half().flatten() for m, scale in zip(saliency.maps, scales)
    ]
    return {
        "values": torch.cat(values) if values else torch.zeros(0, dtype=torch.float16),
        "shapes": np.array([m.shape[-2:] for m in saliency.maps], dtype=np.int32).reshape(-1, 2),
        "peaks": saliency.peaks,
        "regions": saliency.regions,
    }


def load_maps(path: Union[str, Path], run: str = "") -> Instances:
    """
    Read what :func:`save_maps` saved, with the fields pred_boxes, scores, pred_classes,
    pred_saliency and, if they were there, num_matched, num_samples and pred_mask_saliency. Maps are
    float32, exact to 0.05 % (values above 6e-5 of a map's peak).

    Args:
        run: digest of the run that is to have made them; "": any. Files of before, which do not
            name their run, are of any.

    Raises:
        OSError: there is no such file, or it is a pipe or a device.
        MapsError: it is damaged, another file, or of another run. Nothing in it is unpickled.
    """
    with open_regular(path) as file:
        try:
            with np.load(file, allow_pickle=False) as content:
                made_by = str(content["run"]) if "run" in content.files else ""
                names = [name for name in content.files if name != "run"]
                instances = _instances({name: torch.from_numpy(content[name]) for name in names})
        except Exception as e:  # zipfile, zlib, numpy and torch say it in many ways
            reason = " ".join(str(e).split()) or type(e).__name__
            raise MapsError(
                f"The maps {str(path)!r} are damaged ({reason}): explain the image again."
            ) from e
    if run and made_by and made_by != run:
        raise MapsError(
            f"The maps {str(path)!r} are of a run with other settings: explain the image again."
        )
    return instances


def _instances(arrays: Dict[str, Tensor]) -> Instances:
    instances = Instances(tuple(arrays["image_size"].tolist()))
    instances.pred_boxes = Boxes(arrays["boxes"])
    instances.scores = arrays["scores"]
    instances.pred_classes = arrays["classes"]
    instances.pred_saliency = _unpacked(arrays, "", OUTPUTS)
    if "mask_values" in arrays:
        instances.pred_mask_saliency = _unpacked(arrays, "mask_", MASK_OUTPUTS)
    for name in COUNTS:
        if name in arrays:  # num_samples is not in files of before
            instances.set(name, arrays[name])
    return instances


def _unpacked(arrays: Dict[str, Tensor], prefix: str, outputs: Sequence[str]) -> SaliencyMaps:
    shapes, num = arrays[f"{prefix}shapes"].tolist(), len(outputs)
    parts = arrays[f"{prefix}values"].float().split([num * h * w for h, w in shapes])
    maps = [
        part.view(-1, h, w) if h * w else torch.zeros(num, h, w)
        for part, (h, w) in zip(parts, shapes)
    ]
    maps = [m * peak[:, None, None] for m, peak in zip(maps, arrays[f"{prefix}peaks"])]
    height, width = arrays["network_size"].tolist()
    return SaliencyMaps(maps, arrays[f"{prefix}regions"], (height, width), outputs)
