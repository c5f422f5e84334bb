"""Judges the saliency maps of a model on a data set, in the manner of Detectron2's evaluators."""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

from detectron2.config import CfgNode, configurable
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import nn

from ..keys import KEYS, check_values
from ..results.record_store import RecordStore, record_name
from ..results.shapes import JUDGED_RECORDS
from ..utils.files import inside, write_json
from .build import annotated_metrics, applicable_metrics, check_metrics
from .explained_image import MetricSettings
from .ground_truth import annotated_keys, load_dataset, match_to_truth, objects_of
from .metric_runner import MetricRunner
from .summary import (
    as_json,
    as_results,
    counts,
    counts_in_words,
    finite,
    summarise,
    summary_table,
)

logger = logging.getLogger(__name__)

DEFAULT_METRICS = tuple(KEYS["TEST.SALIENCY.METRICS"].default)


class SaliencyEvaluator(DatasetEvaluator):
    """
    Metrics of the explained detections with a score above ``score_thresh``; see
    :mod:`d2_saliency.evaluation`.

    Works with ``inference_on_dataset``, ``DatasetEvaluators``, ``DefaultTrainer.test`` and
    ``EvalHook``, for models whose outputs have ``pred_saliency``. Several processes each measure
    their own images; metrics are gathered once. Masks and causes are taken from the data set's
    annotations; a metric that needs what they do not have, or what the architecture does not say,
    is skipped, and the log says so.

    Examples:
        ```python
        evaluator = SaliencyEvaluator("coco_2017_val", model, ["deletion_insertion"])
        loader = build_detection_test_loader(cfg, "coco_2017_val")
        results = inference_on_dataset(model, loader, evaluator)
        results["deletion_insertion"]["insertion_s1"]
        ```
    """

    @configurable
    def __init__(
        self,
        dataset_name: str,
        model: nn.Module,
        metrics: Sequence[str] = DEFAULT_METRICS,
        output_dir: Optional[Union[str, Path]] = None,
        *,
        score_thresh: float = 0.6,
        iou_thresh: float = 0.7,
        settings: Optional[MetricSettings] = None,
        method: str = "",
        run_digest: str = "",
    ):
        """
        Args:
            dataset_name: a registered data set, the one that the images will be of.
            model: the explaining model, which is asked for its outputs on perturbed images.
            metrics: names of :data:`METRICS`.
            output_dir: for records/<method>/<image>.json and <method>/metrics.json; None: nothing
                is written.
            score_thresh: detections with a score above this count (SSGrad-CAM++: 0.6, ODSmoothGrad:
                0.9).
            iou_thresh: a detection is of an object of its class if their IoU is above this.
            settings: of the metrics.
            method: name of the method in paths; by default that of the model's saliency head.
            run_digest: identifies model, weights, method and config; :meth:`resume` takes records
                with the same one.

        Raises:
            DatasetError: the data set is not registered, or its files cannot be read.
            ValueError: a metric does not exist, the model does not explain, or no metric can judge
                its maps.
        """
        check_values("TEST.SALIENCY", locals())
        check_metrics(metrics)
        self._model: Any = getattr(model, "module", model)  # of DistributedDataParallel
        if not hasattr(self._model, "raw_outputs"):
            raise ValueError(
                f"{type(model).__name__} does not explain its detections: pass explainable(model)."
            )
        self._dataset = {record["image_id"]: record for record in load_dataset(dataset_name)}
        self.dataset_name = dataset_name
        keys = annotated_keys(self._dataset.values())
        metrics = annotated_metrics(metrics, keys, dataset_name)
        self.metrics = applicable_metrics(metrics, self._model)
        self.score_thresh, self.iou_thresh = score_thresh, iou_thresh
        self.settings = settings or MetricSettings()
        self._runner = MetricRunner(self._model, self.metrics, self.settings)
        self.method = method or type(self._model.saliency_head).__name__
        self.output_dir = None if output_dir is None else Path(output_dir)
        self._store: Optional[RecordStore] = None
        if output_dir is not None:
            self._store = RecordStore(output_dir, self.method, run_digest, JUDGED_RECORDS)
        self.reset()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, model: nn.Module, output_dir=None, **kwargs
    ) -> Dict[str, Any]:
        """``SaliencyEvaluator(cfg, dataset_name, model)``: ``cfg.TEST.SALIENCY`` says the rest."""
        options = cfg.TEST.SALIENCY
        return {
            "dataset_name": dataset_name,
            "model": model,
            "metrics": options.METRICS,
            "output_dir": output_dir,
            "score_thresh": options.SCORE_THRESH,
            "iou_thresh": options.IOU_THRESH,
            "settings": MetricSettings.from_options(options),
            **kwargs,
        }

    def reset(self) -> None:
        self._records: Dict[Any, Dict[str, Any]] = {}  # of this rank, by image
        self.records: List[Dict[str, Any]] = []  # of all ranks, once they are gathered

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        """
        Args:
            inputs: the model's inputs, with "image_id" as in the data set.
            outputs: what the model returned: "instances" in coordinates of the original image, with
                ``pred_saliency``.
        """
        for batched_input, output in zip(inputs, outputs):
            record = self._dataset[batched_input["image_id"]]
            detections = self._measure(batched_input, output["instances"], record)
            self._keep(record, {"detections": detections})

    def add_error(self, image_id: Any, message: str) -> None:
        """Count an image as failed. It is tried again when the run is resumed."""
        self._keep(self._dataset[image_id], {"error": message})

    def _keep(self, dataset_dict: Dict[str, Any], result: Dict[str, Any]) -> None:
        about = {key: dataset_dict.get(key) for key in ("image_id", "file_name")}
        record = {**about, "num_objects": len(objects_of(dataset_dict)), **result}
        self._records[dataset_dict["image_id"]] = record
        if self._store:
            digest = "" if "error" in record else _input_digest(self._store, dataset_dict)
            self._store.write(record_name(dataset_dict["image_id"]), record, digest)

    def _measure(
        self, batched_input: Dict[str, Any], instances: Instances, record: Dict[str, Any]
    ) -> List[Dict]:
        if not instances.has("pred_saliency"):
            raise ValueError(
                "The model's outputs have no pred_saliency: evaluate an explaining model in eval "
                "mode."
            )
        instances = instances.to("cpu")
        chosen = instances.pred_saliency.explained & (instances.scores > self.score_thresh)
        instances = instances[chosen]
        if not len(instances):
            return []
        truth = match_to_truth(instances, objects_of(record), self.iou_thresh)
        image = self._runner.image(batched_input, instances, truth)
        values = self._runner.measure(image)
        return [
            {
                "index": index,
                "class_id": int(instances.pred_classes[i]),
                "score": float(instances.scores[i]),
                "box": instances.pred_boxes.tensor[i].tolist(),
                "matched": truth[i] is not None,
                "empty_map": not image.maps[i, 0].any(),
                "metrics": {
                    name: {k: finite(v) for k, v in values[name][i].items()}
                    for name in self.metrics
                },
            }
            for i, index in enumerate(chosen.nonzero()[:, 0].tolist())
        ]

    @property
    def dataset_dicts(self) -> List[Dict[str, Any]]:
        return list(self._dataset.values())

    def resume(self, dataset_dicts: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """
        Take over what earlier runs with the same ``run_digest`` have finished of these images.

        Returns:
            list: those that are still to be processed, the same on all ranks, also if each sees its
                own disk.
        """
        if not self._store:
            return list(dataset_dicts)
        found = {}
        for dataset_dict in dataset_dicts:
            image_id, digest = dataset_dict["image_id"], _input_digest(self._store, dataset_dict)
            record = self._store.finished(record_name(image_id), digest)
            if record is not None:
                found[image_id] = record
        owner: Dict[Any, int] = {}
        for rank, image_ids in enumerate(comm.all_gather(list(found))):
            for image_id in image_ids:
                owner.setdefault(image_id, rank)
        self._records.update(
            {i: record for i, record in found.items() if owner[i] == comm.get_rank()}
        )
        return [d for d in dataset_dicts if d["image_id"] not in owner]

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """
        Gather the records of all ranks; on the main one log a table, write metrics.json and return
        the metrics.

        Returns:
            dict: see :func:`as_results`; empty on other ranks.
        """
        comm.synchronize()
        gathered = comm.gather(self._records)
        if not comm.is_main_process():
            return {}
        merged = {image_id: record for part in gathered for image_id, record in part.items()}
        self.records = [merged[image_id] for image_id in self._dataset if image_id in merged]
        summary = summarise(self.records, self.metrics)
        if self.output_dir:
            content = {
                "dataset": self.dataset_name,
                "counts": counts(self.records),
                "metrics": as_json(summary),
            }
            write_json(inside(self.output_dir, self.method, "metrics.json"), content)
        what = f"Saliency on {self.dataset_name}, {counts_in_words(self.records)}"
        logger.info(f"{what}:\n{summary_table(summary)}")
        return OrderedDict(as_results(self.records, summary))


def _input_digest(store: RecordStore, dataset_dict: Dict[str, Any]) -> str:
    """Of an image and its annotations."""
    annotations = repr(dataset_dict.get("annotations"))
    return store.input_digest(dataset_dict.get("file_name", ""), annotations)
