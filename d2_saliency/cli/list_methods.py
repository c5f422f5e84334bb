"""Prints what each saliency method does: the answer to --list-methods."""

import argparse

from ..methods import METHODS


def list_methods(args: argparse.Namespace) -> int:
    width = max(map(len, METHODS))
    print("\n".join(f"{name:{width}}  {method.about}" for name, method in METHODS.items()))
    return 0
