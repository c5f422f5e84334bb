from importlib import import_module

from ...methods import METHODS
from .build import SALIENCY_HEAD_REGISTRY, build_saliency_head, method_names
from .head import SaliencyHead

__all__ = [
    "SALIENCY_HEAD_REGISTRY",
    "SaliencyHead",
    "build_saliency_head",
    "method_names",
]

# Importing a method registers it.
for _name, _method in METHODS.items():
    globals()[_name] = getattr(import_module(f".{_method.file}", __name__), _name)
