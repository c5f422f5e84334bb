"""Heads and their keys: the same defaults, and the same values refused, by config and by hand."""

import inspect

import pytest
from detectron2.config import get_cfg

from d2_saliency import (
    SALIENCY_HEAD_REGISTRY,
    add_saliency_config,
    build_saliency_head,
    method_names,
)
from d2_saliency.keys import KEYS
from d2_saliency.modeling.saliency_heads.d_rise.head import ESTIMATORS


def unfit_value(key):
    """A value of the key's kind that it cannot have; None if it can have any."""
    if key.is_number:
        return type(key.default)(key.high + 1)
    return "no such choice" if key.choices else [-1] if key.each else None


UNFIT = {name: unfit_value(key) for name, key in KEYS.items()}
REFUSED = [n for n in KEYS if n.startswith("MODEL.SALIENCY_HEAD") and UNFIT[n] is not None]


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_saliency_config(cfg)
    return cfg


@pytest.fixture(params=method_names())
def head(request):
    return SALIENCY_HEAD_REGISTRY.get(request.param)


def argument_defaults(head):
    """Of a head and all that it inherits from."""
    defaults = {}
    for base in reversed(head.__mro__):
        parameters = inspect.signature(base.__init__).parameters.values()
        defaults.update({p.name: p.default for p in parameters if p.default is not p.empty})
    return defaults


def test_defaults_of_arguments_are_those_of_the_keys(head, cfg):
    """... and every argument has a key."""
    found = argument_defaults(head)
    expected = head.from_config(cfg)
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()} == expected


def test_values_are_refused_by_hand_too(head, cfg):
    usual, checked = head.from_config(cfg), 0
    for name in REFUSED:
        other = cfg.clone()
        other.merge_from_list([name, UNFIT[name]])
        arguments = head.from_config(other)
        if arguments != usual:  # the head has this key
            with pytest.raises(ValueError, match=f"^{name} is .*; "):
                head(**arguments)
            checked += 1
    assert checked >= 5  # the arguments of every head


@pytest.mark.parametrize("name", REFUSED)
def test_values_are_refused_in_a_config_of_any_method(name, cfg):
    for value, said in [(UNFIT[name], "is .*; "), (None, "has no value; ")]:
        cfg.merge_from_list([name, value])
        with pytest.raises(ValueError, match=f"^{name} {said}"):
            build_saliency_head(cfg)


def test_the_smallest_and_the_largest_value_are_taken(cfg):
    for name in REFUSED:
        key = KEYS[name]
        if key.is_number and name != "MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES":
            for limit in (key.low, key.high):
                other = cfg.clone()
                other.merge_from_list([name, type(key.default)(limit)])
                build_saliency_head(other)


def test_every_estimator_has_a_function():
    assert tuple(ESTIMATORS) == KEYS["MODEL.SALIENCY_HEAD.DRISE.ESTIMATOR"].choices


def test_the_nearest_method_is_suggested(cfg):
    cfg.MODEL.SALIENCY_HEAD.NAME = "odam"
    with pytest.raises(
        ValueError, match="^There is no saliency method 'odam'; .* Did you mean ODAM?"
    ):
        build_saliency_head(cfg)
