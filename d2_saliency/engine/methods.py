"""Builds the methods of a run from configs: the head of each, and what results.json says of it."""

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type

from detectron2.config import CfgNode

from ..modeling import SaliencyHead, build_saliency_head
from ..results.run_info import config_text, run_info


@dataclass
class Method:
    """
    A saliency method in a run.

    Attributes:
        name: tells it from the other methods of the run: that of the head, and what the class map
            explains where that is not the score, e.g. "ODAM" or "ODAM_logit".
        head: makes the maps.
        run: its item of "runs" in results.json, from :func:`run_info`. The "digest" identifies all
            that decides the maps.
    """

    name: str
    head: SaliencyHead
    run: Dict[str, Any]


def method_cfgs(saliency_cfg: CfgNode, names: Optional[Sequence[str]] = None) -> List[CfgNode]:
    """The config for each of the named methods, each once; None: for the config's own."""
    cfgs = []
    for name in dict.fromkeys(names or [saliency_cfg.MODEL.SALIENCY_HEAD.NAME]):
        cfg = saliency_cfg.clone()
        cfg.defrost()
        cfg.MODEL.SALIENCY_HEAD.NAME = name
        cfg.freeze()
        cfgs.append(cfg)
    return cfgs


def build_methods(
    cfg,
    saliency_cfgs: Sequence[CfgNode],
    weights: str,
    references: Optional[Mapping[str, Type[SaliencyHead]]] = None,
    command: str = "",
    targets: Sequence[Tuple[Sequence[float], str]] = (),
    better: Optional[Mapping[str, str]] = None,
) -> List[Method]:
    """
    Build the method of each config; of several with one name, the last.

    Args:
        cfg: the YAML or lazy config of the detector, from :func:`setup_cfg`.
        saliency_cfgs: from :func:`method_cfgs`.
        weights: path or address of the detector's weights.
        references: head classes that may be named besides the registered ones, e.g.
            :data:`REFERENCES` of the evaluation.
        command: the command line, for people.
        targets: (box, class) of each object that the user names in place of the detections.
        better: name of each value that is measured on the maps -> "higher" or "lower", which is
            better.

    Raises:
        ValueError: there is no such method, or a value in its config cannot be used.
    """
    methods: Dict[str, Method] = {}
    for ours in saliency_cfgs:
        options, known = ours.MODEL.SALIENCY_HEAD, references or {}
        head = known[options.NAME](ours) if options.NAME in known else build_saliency_head(ours)
        text = config_text(ours if isinstance(cfg, CfgNode) else cfg, ours)
        run = run_info(
            command,
            f"{text}{list(targets)}" if targets else text,
            options.NAME,
            head.seed,
            weights,
            num_samples=head.num_samples or None,
            class_target=head.class_target,
            metrics=better,
        )
        suffix = "" if head.class_target == "score" else f"_{head.class_target}"
        name = f"{options.NAME}{suffix}"
        methods[name] = Method(name, head, run)
    return list(methods.values())
