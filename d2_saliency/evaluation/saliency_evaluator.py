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
from ..results.record_store import RecordStore
from ..results.shapes import JUDGED_RECORDS
from ..utils.files import inside, write_json
from .annotations import (
    AnnotationError,
    annotated_keys,
    annotations_text,
    check_objects,
    objects_of,
)
from .build import annotated_metrics, applicable_metrics, check_metrics
from .dataset_images import DatasetImages, ImageKey
from .explained_image import MetricSettings
from .ground_truth import match_to_truth
from .metric_runner import MetricRunner, detection_records
from .summary import (
    as_json,
    as_results,
    counts,
    counts_in_words,
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
            settings: settings of the metrics.
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
        self._model: Any = getattr(model, "module", model)  # unwraps DistributedDataParallel
        if not hasattr(self._model, "raw_outputs"):
            raise ValueError(
                f"{type(model).__name__} does not explain its detections: pass explainable(model)."
            )
        self._images = DatasetImages(dataset_name)
        self.dataset_name = dataset_name
        keys = annotated_keys(self.dataset_dicts)
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
        self._records: Dict[ImageKey, Dict[str, Any]] = {}  # of this rank
        self.records: List[Dict[str, Any]] = []  # of all ranks, once they are gathered

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        """
        Args:
            inputs: the model's inputs, with "image_id" as in the data set; also with "file_name" if
                identifiers repeat there.
            outputs: what the model returned: "instances" in coordinates of the original image, with
                ``pred_saliency``.
        """
        for batched_input, output in zip(inputs, outputs):
            key = self._images.key(batched_input)
            record = self._images.records[key]
            try:
                check_objects(record)
                found = self._measure(batched_input, output["instances"], record)
                self._keep(key, {"detections": found})
            except AnnotationError as e:
                logger.error(f"Image {record['image_id']} ('{record.get('file_name')}'): {e}.")
                self._keep(key, {"error": f"{e}."})

    def add_error(self, dataset_dict: Dict[str, Any], message: str) -> None:
        """Count an image as failed. It is tried again when the run is resumed."""
        self._keep(self._images.key(dataset_dict), {"error": message})

    def _keep(self, key: ImageKey, result: Dict[str, Any]) -> None:
        dataset_dict = self._images.records[key]
        about = {name: dataset_dict.get(name) for name in ("image_id", "file_name")}
        record = {**about, "num_objects": len(objects_of(dataset_dict)), **result}
        self._records[key] = record
        if self._store:
            digest = "" if "error" in record else _input_digest(self._store, dataset_dict)
            self._store.write(self._images.record_name(key), record, digest)

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
        indices = chosen.nonzero()[:, 0].tolist()
        return detection_records(image, indices, self._runner.measure(image))

    @property
    def dataset_dicts(self) -> List[Dict[str, Any]]:
        return list(self._images.records.values())

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
            key, digest = self._images.key(dataset_dict), _input_digest(self._store, dataset_dict)
            record = self._store.finished(self._images.record_name(key), digest)
            if record is not None:
                found[key] = record
        owner: Dict[ImageKey, int] = {}
        for rank, keys in enumerate(comm.all_gather(list(found))):
            for key in keys:
                owner.setdefault(key, rank)
        self._records.update(
            {key: record for key, record in found.items() if owner[key] == comm.get_rank()}
        )
        return [d for d in dataset_dicts if self._images.key(d) not in owner]

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """
        Gather the records of all ranks; on the main one log a table, write metrics.json and return
        the metrics.

        Returns:
            dict: from :func:`as_results`; empty on other ranks.
        """
        comm.synchronize()
        gathered = comm.gather(self._records)
        if not comm.is_main_process():
            return {}
        merged = {key: record for part in gathered for key, record in part.items()}
        self.records = self._images.in_order(merged)
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
    """Compute the digest of an image and its annotations."""
    return store.input_digest(dataset_dict.get("file_name", ""), annotations_text(dataset_dict))
