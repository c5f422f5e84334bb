"""Prints what each saliency method does: the answer to --list-methods."""

import argparse

from ..methods import METHODS


def list_methods(args: argparse.Namespace) -> int:
    """Loads torch only if there are modules to import, which may register methods."""
    lines = {name: method.about for name, method in METHODS.items()}
    if args.imports:
        lines.update(_imported(args))
    width = max(map(len, lines))
    print("\n".join(f"{name:{width}}  {about}" for name, about in lines.items()))
    return 0


def _imported(args: argparse.Namespace) -> dict:
    from detectron2.config import get_cfg

    from ..config import add_saliency_config
    from ..engine.user_modules import run_user_modules
    from ..modeling import SALIENCY_HEAD_REGISTRY

    cfg = get_cfg()
    add_saliency_config(cfg)
    run_user_modules(args.imports, cfg)
    return {
        name: (head.__doc__ or "").strip().partition("\n")[0]
        for name, head in SALIENCY_HEAD_REGISTRY
        if name not in METHODS
    }
