"""Finds what the classes of a detector are called: as its test set says, where that can be."""

import logging
from typing import List, Optional

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import log_first_n
from torch import nn

from ..evaluation.ground_truth import DatasetError, load_dataset
from ..modeling.meta_arch.generic import SaliencyGenericMixin
from ..utils.text import one_line

logger = logging.getLogger(__name__)


def names_for(model: nn.Module, data_set: Optional[str]) -> Optional[List[str]]:
    """
    Names of the model's classes from the metadata of a data set.

    A model that was trained on other classes often has a config that still names a data set of
    Detectron2's: then the names are wrong, and a warning says so.

    Args:
        model: an explaining model.
        data_set: None: there is none.

    Returns:
        list: a name for each class; None if the data set has no names, or more or fewer than the
            model has classes.
    """
    names = None if data_set is None else _names_of(data_set)
    number = num_classes(model)
    if not names or number in (None, len(names)):
        return names
    log_first_n(
        logging.WARNING,
        f"The data set '{data_set}' names {len(names)} classes, and the model has {number}: so "
        "classes are called by their numbers. Name those of the model with --class-names or "
        "--coco-json, or its data set in DATASETS.TEST.",
        key="message",
    )
    return None


def num_classes(model: nn.Module) -> Optional[int]:
    """Count a detector's classes; None if its architecture is not known."""
    if isinstance(model, SaliencyGenericMixin):
        return None
    return getattr(model, "num_classes", None) or getattr(model.roi_heads, "num_classes", None)


def _names_of(data_set: str) -> Optional[List[str]]:
    metadata = MetadataCatalog.get(data_set)
    if "thing_classes" not in metadata.as_dict() and data_set in DatasetCatalog.list():
        try:
            load_dataset(data_set)  # which is when register_coco_instances learns them
        except DatasetError as e:
            logger.warning(f"{one_line(e)} So classes are called by their numbers.")
    return metadata.get("thing_classes", None)
