"""What a person should know before trusting a map."""

import math
from typing import List, Optional

import torch
from detectron2.structures import Instances

from ..structures import OUTPUTS, saliency_fields


def detection_flags(instances: Instances, num_samples: Optional[int] = None) -> List[List[str]]:
    """
    What a person should know before trusting the maps: for each detection a list of notes, mostly
    empty.

    Args:
        instances: with pred_saliency and perhaps pred_mask_saliency; from methods with noise passes
            also num_matched, of objects asked for detected, where a gradient overflowed
            num_overflowed, where a score lost its gradient rounded_score
        num_samples: number of noise passes
    """
    fields, explained = saliency_fields(instances), instances.pred_saliency.explained.tolist()
    names = [name for field in fields for name in field.outputs]
    peaks = torch.cat([field.peaks for field in fields], dim=1).tolist()
    flags, noise = [], noise_flags(instances, num_samples)
    for i in range(len(instances)):
        notes = [f"zero map: {name}" for name, peak in zip(names, peaks[i]) if peak == 0]
        notes += [
            f"map not finite: {name}"
            for name, peak in zip(names, peaks[i])
            if not math.isfinite(peak)
        ]
        if instances.has("num_overflowed"):
            counts = zip(OUTPUTS, instances.num_overflowed[i].tolist())
            notes += [
                f"gradient overflow: {count} cells of {name} set to 0"
                for name, count in counts
                if count > 0
            ]
        if instances.has("rounded_score") and instances.rounded_score[i] == 1:
            notes.append("score rounds to 1: its gradient is lost, do not trust the class map")
        if instances.has("detected"):
            notes.append(
                "asked for, detected too" if instances.detected[i] else "asked for, not detected"
            )
        flags.append([*notes, *noise[i]] if explained[i] else [])
    return flags


def noise_flags(instances: Instances, num_samples: Optional[int]) -> List[List[str]]:
    """
    The part of :func:`detection_flags` on detections that were found again in less than half of the
    noise passes.
    """
    if not (instances.has("num_matched") and num_samples):
        return [[] for _ in range(len(instances))]
    flags = []
    for matched in instances.num_matched.tolist():
        if matched == 0:
            flags.append(["never found again under noise: map of the clean image"])
        else:
            few = matched < num_samples / 2
            flags.append([f"found again in {matched} of {num_samples} noise passes"] if few else [])
    return flags
