"""Measures the maps of one image after the other."""

from typing import Any, Dict, List, Optional, Sequence

import torch
from detectron2.structures import Instances

from ..modeling.meta_arch import SaliencyMixin
from .build import METRICS
from .explained_image import ExplainedImage, MetricSettings
from .ground_truth import Truth
from .summary import finite


class MetricRunner:
    """
    Some metrics of the maps of one model.

    Examples:
        ```python
        runner = MetricRunner(model, ["average_drop"], MetricSettings())
        image = runner.image(batched_input, instances, [None] * len(instances))
        runner.measure(image)["average_drop"][0]["drop"]
        ```
    """

    def __init__(self, model: SaliencyMixin, names: Sequence[str], settings: MetricSettings):
        """
        Args:
            model: the :class:`SaliencyMixin` that explains.
            names: names in :data:`METRICS`.
            settings: settings of the metrics.
        """
        self.names = list(names)
        self._model = model
        self._settings = settings

    def image(
        self, batched_input: Dict[str, Any], instances: Instances, truth: List[Optional[Truth]]
    ) -> ExplainedImage:
        """
        Args:
            batched_input: the model's input; "image" may be on any device.
            instances, truth: fields of :class:`ExplainedImage`.
        """
        batched_input = {
            **batched_input,
            "image": batched_input["image"].to(self._model.input_device),
        }
        return ExplainedImage(self._model, batched_input, instances, truth, self._settings)

    def measure(self, image: ExplainedImage) -> Dict[str, List[Dict[str, Any]]]:
        """
        Metric -> for each of the image's detections, value name -> number, or list of numbers for a
        curve.
        """
        with torch.no_grad():
            return {name: METRICS[name].function(image) for name in self.names}


def detection_records(
    image: ExplainedImage, indices: Sequence[int], values: Dict[str, List[Dict[str, Any]]]
) -> List[Dict[str, Any]]:
    """
    The image's detections as JSON, see :mod:`.summary`.

    Args:
        indices: of the detections among the model's outputs.
        values: from :meth:`MetricRunner.measure`.
    """
    found = image.instances
    return [
        {
            "index": index,
            "class_id": int(found.pred_classes[i]),
            "score": float(found.scores[i]),
            "box": found.pred_boxes.tensor[i].tolist(),
            "matched": image.truth[i] is not None,
            "empty_map": not image.maps[i, 0].any(),
            "metrics": {
                name: {key: finite(value) for key, value in of_each[i].items()}
                for name, of_each in values.items()
            },
        }
        for i, index in enumerate(indices)
    ]
