"""Metrics that need no annotations, of the detections of any image: for the report."""

from typing import Dict, List, Optional, Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.structures import Instances

from ..evaluation.build import METRICS, applicable_metrics, check_metrics
from ..evaluation.explained_image import MetricSettings
from ..evaluation.metric_runner import MetricRunner
from ..keys import check_values
from .explainer import DefaultExplainer


class DetectionMetrics:
    """
    A function of an image and its explained detections that says what their maps are worth.

    Attributes:
        better: name of each value -> "higher" or "lower", which is better.
    """

    def __init__(
        self, explainer: DefaultExplainer, options: CfgNode, names: Optional[Sequence[str]] = None
    ):
        """
        Args:
            explainer: which explained the detections, with the saliency head that its model has at
                that time.
            options: ``cfg.TEST.SALIENCY``.
            names: of :data:`METRICS`; by default those of ``options.METRICS`` that need no
                annotations.

        Raises:
            ValueError: there is no such metric, it needs annotations, or none can judge this
                model's maps. Of several, those that cannot are left out, and the log says so.
        """
        check_values("TEST.SALIENCY", options)
        check_metrics(options.METRICS if names is None else names)
        self.names = (
            [name for name in options.METRICS if not METRICS[name].needs]
            if names is None
            else list(names)
        )
        for name in self.names:
            if METRICS[name].needs:
                possible = ", ".join(
                    sorted(name for name, metric in METRICS.items() if not metric.needs)
                )
                raise ValueError(
                    f"Metric {name} needs annotated images: use --eval-only, or choose among "
                    f"{possible}."
                )
        self.names = applicable_metrics(self.names, explainer.model)
        self._explainer = explainer
        self._runner = MetricRunner(
            explainer.model, self.names, MetricSettings.from_options(options)
        )
        self.better = {
            f"{name}.{value}": "lower" if value in METRICS[name].lower else "higher"
            for name in self.names
            for value in METRICS[name].values
        }

    def __call__(self, original_image: np.ndarray, instances: Instances) -> List[Dict[str, float]]:
        """
        Args:
            original_image: (H, W, 3), uint8, BGR.
            instances: N detections in its coordinates, with ``pred_saliency``, all of them
                explained.

        Returns:
            list: for each detection "<metric>.<value>" -> number, nan where it is not defined.
                Curves are left out.
        """
        if not len(instances):
            return []
        batched_input = self._explainer.preprocess(original_image)
        measured = self._runner.measure(
            self._runner.image(batched_input, instances, [None] * len(instances))
        )
        return [
            {
                f"{name}.{value}": found[i].get(value, float("nan"))
                for name, found in measured.items()
                for value in METRICS[name].values
            }
            for i in range(len(instances))
        ]
