"""
Data with known causes. Importing this package registers the planted-cause splits with Detectron2.
"""

from .planted_causes import edge_strips, load_planted_split, register_planted_causes
from .planted_scene import PlantedScene, planted_scene

__all__ = [
    "PlantedScene",
    "edge_strips",
    "load_planted_split",
    "planted_scene",
    "register_planted_causes",
]

register_planted_causes()
