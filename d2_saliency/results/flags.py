"""Notes what a person should know before trusting a map."""

import math
from typing import List

import torch
from detectron2.structures import Instances

from ..structures import OUTPUTS, saliency_fields


def detection_flags(instances: Instances) -> List[List[str]]:
    """
    Note for each detection what a person should know before trusting its maps.

    Args:
        instances: with pred_saliency and perhaps pred_mask_saliency; from methods with noise passes
            also num_matched and num_samples, of objects asked for detected, where a gradient
            overflowed num_overflowed, where a score lost its gradient rounded_score

    Returns:
        list: for each detection a list of notes, mostly empty.
    """
    fields, explained = saliency_fields(instances), instances.pred_saliency.explained.tolist()
    names = [name for field in fields for name in field.outputs]
    peaks = torch.cat([field.peaks for field in fields], dim=1).tolist()
    flags, noise = [], noise_flags(instances)
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


def noise_flags(instances: Instances) -> List[List[str]]:
    """
    Note which detections less than half of the noise passes found again; a part of
    :func:`detection_flags`.
    """
    if not (instances.has("num_matched") and instances.has("num_samples")):
        return [[] for _ in range(len(instances))]
    flags = []
    for matched, passes in zip(instances.num_matched.tolist(), instances.num_samples.tolist()):
        if matched == 0:
            flags.append(["never found again under noise: map of the clean image"])
        else:
            few = 0 < matched < passes / 2  # -1 of a detection that was not explained
            flags.append([f"found again in {matched} of {passes} noise passes"] if few else [])
    return flags
