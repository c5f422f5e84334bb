# Importing a metric registers it.
from .average_drop import average_drop
from .build import METRICS, saliency_metric
from .cause_energy import cause_energy, class_cause_energy, edge_cause_energy
from .coordinate_deletion import coordinate_deletion
from .deletion_insertion import deletion_insertion
from .explained_image import ExplainedImage, MetricSettings
from .ground_truth import DatasetError
from .iof_thirds import iof_thirds
from .pointing_game import pointing_game, pointing_game_masks
from .saliency_evaluator import DEFAULT_METRICS, SaliencyEvaluator
from .sanity_checks import model_randomisation, stability
from .statistics import Estimate, mean_with_interval

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "DatasetError",
    "Estimate",
    "ExplainedImage",
    "MetricSettings",
    "SaliencyEvaluator",
    "average_drop",
    "cause_energy",
    "class_cause_energy",
    "coordinate_deletion",
    "deletion_insertion",
    "edge_cause_energy",
    "iof_thirds",
    "mean_with_interval",
    "model_randomisation",
    "pointing_game",
    "pointing_game_masks",
    "saliency_metric",
    "stability",
]
