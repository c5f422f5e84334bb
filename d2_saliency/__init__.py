"""
d2_saliency: five saliency maps (class, x_min, y_min, x_max, y_max) for each of a Detectron2 model's
detections.

The first public name that is taken from this package loads the rest, which registers architectures,
methods and data sets. Until then it is as light as the command line needs to answer --help at once.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, List

from .version import __version__

if TYPE_CHECKING:
    # config
    from .config import add_saliency_config

    # from images to explained detections, and what their maps are worth
    from .engine.explainer import DefaultExplainer
    from .evaluation import SaliencyEvaluator
    from .keys import CLASS_TARGETS

    # models and methods
    from .modeling import (
        SALIENCY_HEAD_REGISTRY,
        BlackBox,
        SaliencyHead,
        build_explainable,
        build_saliency_head,
        explainable,
        method_names,
    )

    # what they return
    from .structures import OUTPUTS, SaliencyMaps
    from .visualization import SaliencyVisualizer, show

# Detectron2 and fvcore use torch.jit, and newer versions of torch say so. Users cannot mend that.
warnings.filterwarnings("ignore", ".*torch.jit", FutureWarning)

HOMES = {
    "add_saliency_config": "config",
    "DefaultExplainer": "engine.explainer",
    "SaliencyEvaluator": "evaluation",
    "CLASS_TARGETS": "keys",
    "SALIENCY_HEAD_REGISTRY": "modeling",
    "BlackBox": "modeling",
    "SaliencyHead": "modeling",
    "build_explainable": "modeling",
    "build_saliency_head": "modeling",
    "explainable": "modeling",
    "method_names": "modeling",
    "OUTPUTS": "structures",
    "SaliencyMaps": "structures",
    "SaliencyVisualizer": "visualization",
    "show": "visualization",
}
"""Public name -> the module it is from."""

REGISTERED_BY_IMPORT = ("modeling", "data", "evaluation", "visualization")

__all__ = [
    "BlackBox",
    "CLASS_TARGETS",
    "DefaultExplainer",
    "OUTPUTS",
    "SALIENCY_HEAD_REGISTRY",
    "SaliencyEvaluator",
    "SaliencyHead",
    "SaliencyMaps",
    "SaliencyVisualizer",
    "__version__",
    "add_saliency_config",
    "build_explainable",
    "build_saliency_head",
    "explainable",
    "method_names",
    "show",
]


def __getattr__(name: str) -> Any:
    """A public name, which Python has not found here yet (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in REGISTERED_BY_IMPORT:
        import_module(f".{module}", __name__)
    value = getattr(import_module(f".{HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *HOMES})
