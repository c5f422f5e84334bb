from .cause_energy import class_cause_energy, edge_cause_energy, planted_cause_energy, region_energy
from .statistics import Estimate, mean_with_interval

__all__ = [
    "Estimate",
    "class_cause_energy",
    "edge_cause_energy",
    "mean_with_interval",
    "planted_cause_energy",
    "region_energy",
]
