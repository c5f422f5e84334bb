"""A second set of a model's modules, with modes of its own, around the same tensors."""

from collections import OrderedDict
from types import MethodType
from typing import Any, Dict, cast

import torch
from torch import nn


def twin_of(model: nn.Module) -> Any:
    """
    A model of the same class, whose modules are others but share everything with the model's.

    Parameters and buffers stay shared whatever happens to them: training, ``load_state_dict``,
    ``to``. Modes (``train``, ``eval``) are each model's own. Layers that are replaced and settings
    that are changed later are that model's own, too.

    Nothing is compiled or wrapped (:func:`unwrapped`): compiled code would run the model's modules.

    Lists, tuples and dicts that hold modules or their methods are made anew. Modules inside of
    other objects, and those of TorchScript, are the model's.
    """
    return _twin(model, {})


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif "_orig_mod" in vars(model).get("_modules", {}):  # torch.compile's
            model = cast(nn.Module, model._orig_mod)
        else:
            return model


def _twin(value: Any, known: Dict[int, Any]) -> Any:
    """Make what takes the place of a value: itself, unless there is a module in it."""
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, nn.Module) and not isinstance(value, torch.jit.ScriptModule):
        value = unwrapped(value)
        module = known[id(value)] = object.__new__(type(value))
        vars(module).update({name: _twin(part, known) for name, part in vars(value).items()})
        vars(module).pop("_compiled_call_impl", None)
        return module
    if isinstance(value, MethodType):
        owner = _twin(value.__self__, known)
        return value if owner is value.__self__ else MethodType(value.__func__, owner)
    if type(value) not in (list, tuple, dict, OrderedDict):
        return value
    known[id(value)] = value  # for one that holds itself
    parts = list(value.values() if isinstance(value, dict) else value)
    twins = [_twin(part, known) for part in parts]
    if any(new is not old for new, old in zip(twins, parts)):
        new_parts = zip(value, twins) if isinstance(value, dict) else twins
        known[id(value)] = type(value)(new_parts)
    return known[id(value)]
