"""
Explain a data set and judge the explanations, on any number of processes; a run that was stopped
goes on.
"""

import logging
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Union

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..evaluation.comparison import compare, comparison_text
from ..evaluation.ground_truth import DatasetError
from ..evaluation.metrics_page import write_metrics_page
from ..evaluation.saliency_evaluator import SaliencyEvaluator
from ..utils.files import OutputError, check_writable, write_text
from ..utils.folder_lock import folder_lock
from ..utils.image_io import read_image
from ..utils.text import printable
from .detector_classes import names_for
from .explainer import DefaultExplainer
from .guard import image_errors
from .methods import Method

logger = logging.getLogger(__name__)


def evaluate_dataset(
    explainer: DefaultExplainer, evaluator: SaliencyEvaluator, num_images: int = 0
) -> Dict[str, Dict[str, float]]:
    """
    Explain the images of the evaluator's data set and judge them.

    Each rank explains every n-th image that no earlier run has finished. Errors of one image (a
    file that is missing, out of memory, ...) are recorded and the rest is done; an output folder
    that cannot be written to ends the run.

    Args:
        num_images: only the first of the data set; 0: all.

    Returns:
        dict: the metrics, on the main rank; empty on the others.

    Raises:
        OutputError: the evaluator's output folder cannot be written to.
        ValueError: ``num_images`` is negative.
    """
    if num_images < 0:
        raise ValueError(f"--num-images is {num_images}; it is at least 0, which means all.")
    if evaluator.output_dir:
        check_writable(evaluator.output_dir)
    evaluator.reset()
    chosen = evaluator.dataset_dicts[: num_images or None]
    remaining = evaluator.resume(chosen)
    if len(remaining) < len(chosen):
        logger.info(f"{len(chosen) - len(remaining)} of {len(chosen)} images were done already.")
    mine = remaining[comm.get_rank() :: comm.get_world_size()]
    progress = tqdm(
        mine,
        desc=f"evaluating {printable(evaluator.dataset_name)}",
        unit="image",
        disable=comm.get_rank() > 0,
    )
    with logging_redirect_tqdm([logging.getLogger(__name__.split(".")[0])]):
        for dataset_dict in progress:
            with image_errors(dataset_dict.get("file_name", "")) as errors:
                evaluator.process(*_explained(explainer, dataset_dict))
            for message in errors:
                evaluator.add_error(dataset_dict, message)
    return evaluator.evaluate()


def _explained(explainer: DefaultExplainer, dataset_dict: Dict[str, Any]):
    """The model's inputs and outputs for one image of a data set, as lists of one."""
    image = read_image(Path(dataset_dict["file_name"]))
    inputs = [{**dataset_dict, **explainer.preprocess(image)}]
    with torch.no_grad():
        return inputs, explainer.model(inputs)


def judge_methods(
    explainer: DefaultExplainer,
    methods: Sequence[Method],
    dataset_name: str,
    saliency_cfg: CfgNode,
    output_dir: Union[str, Path],
    num_images: int = 0,
) -> Dict[str, Dict[str, Dict[str, float]]]:
    """
    Judge one or several methods on the same detections of a data set, with the same perturbations.

    Writes records/<method>/<image>.json and <method>/metrics.json, metrics.html and, for several
    methods, the table comparison.md, whose differences are taken from the first one.

    Args:
        explainer: its model's saliency head is replaced.
        methods: from :func:`build_methods`.
        dataset_name: a registered data set.
        saliency_cfg: with ``TEST.SALIENCY``.
        output_dir: for the files above.
        num_images: only the first of the data set; 0: all.

    Returns:
        dict: name of each method -> its metrics, on the main rank.

    Raises:
        OutputError: another run is using the folder, or it cannot be written to.
    """
    check_writable(output_dir)
    with _shared_lock(output_dir):
        return _judge(explainer, methods, dataset_name, saliency_cfg, Path(output_dir), num_images)


@contextmanager
def _shared_lock(folder: Union[str, Path]) -> Iterator[None]:
    """The lock of a run in several processes: the main one holds it for all of them."""
    with ExitStack() as stack:
        problem = None
        if comm.is_main_process():
            try:
                stack.enter_context(folder_lock(folder))
            except OutputError as e:
                problem = str(e)
        problem = comm.all_gather(problem)[0]  # all end, or none writes before the lock is held
        if problem:
            raise OutputError(problem)
        yield


def _judge(
    explainer: DefaultExplainer,
    methods: Sequence[Method],
    dataset_name: str,
    saliency_cfg: CfgNode,
    folder: Path,
    num_images: int,
) -> Dict[str, Dict[str, Dict[str, float]]]:
    """:func:`judge_methods`, once nobody else writes to the folder."""
    results, records = {}, {}
    for method in methods:
        explainer.model.saliency_head = method.head
        evaluator = SaliencyEvaluator(
            saliency_cfg,
            dataset_name,
            explainer.model,
            folder,
            method=method.name,
            run_digest=method.run["digest"],
        )
        if comm.is_main_process():
            logger.info(f"{method.name} on {dataset_name}")
        results[method.name] = evaluate_dataset(explainer, evaluator, num_images)
        records[method.name] = evaluator.records
    if comm.is_main_process():
        names = names_for(explainer.model, dataset_name)
        write_metrics_page(folder / "metrics.html", dataset_name, records, evaluator.metrics, names)
        if len(methods) > 1:
            reference = methods[0].name
            text = comparison_text(
                records, compare(records, evaluator.metrics, reference), reference, dataset_name
            )
            write_text(folder / "comparison.md", text)
    return results


def dataset_names(cfg) -> List[str]:
    """
    The test sets of a config, YAML or lazy.

    Raises:
        DatasetError: it has none.
    """
    names = cfg.DATASETS.TEST if isinstance(cfg, CfgNode) else cfg.dataloader.test.dataset.names
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise DatasetError(
            "DATASETS.TEST names no data set: set it with --opts DATASETS.TEST \"('name',)\"."
        )
    return names
