"""What every declared key keeps, so that a key that is added cannot forget it."""

import math
import subprocess
import sys

import pytest
from detectron2.config import CfgNode, get_cfg

from d2_saliency import add_saliency_config
from d2_saliency.keys import KEYS, check_values

LIGHT = """
import sys, d2_saliency.keys
print(sorted({"torch", "detectron2", "numpy"} & sys.modules.keys()))
"""


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_saliency_config(cfg)
    return cfg


def values_in(node: CfgNode, prefix: str = ""):
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from values_in(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_keys_are_there_before_torch():
    run = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("name", KEYS)
def test_a_key_says_what_it_does(name):
    about = KEYS[name].about
    assert about[0].isupper() or about[0] == '"'
    assert about.endswith(".") and "  " not in about


@pytest.mark.parametrize("name", KEYS)
def test_a_number_has_limits(name):
    key = KEYS[name]
    assert not key.is_number or (math.isfinite(key.low) and math.isfinite(key.high))
    assert bool(key.each) == bool(key.hint)


@pytest.mark.parametrize("name", KEYS)
def test_the_default_fits_and_what_does_not_fit_is_refused(name):
    key = KEYS[name]
    key.check(name, key.default)
    for value in [None, *unfit_values(key)]:
        with pytest.raises(ValueError, match=f"^{name} (is|has) .*; "):
            key.check(name, value)


def unfit_values(key):
    if key.is_number:
        return [key.low - 1, key.high + 1, float("nan")]
    if key.choices:
        return ["no such choice"]
    return ["neither"] if isinstance(key.default, bool) else []


def test_a_config_has_the_declared_keys_and_no_others(cfg):
    stock = dict(values_in(get_cfg()))
    ours = {name: value for name, value in values_in(cfg) if name not in stock}
    assert ours == {name: key.default for name, key in KEYS.items()}


def test_configs_do_not_share_lists(cfg):
    cfg.MODEL.SALIENCY_HEAD.CHANNELS.append(3)
    assert KEYS["MODEL.SALIENCY_HEAD.CHANNELS"].default == []


def test_check_values(cfg):
    check_values("MODEL", cfg.MODEL)
    check_values("TEST", cfg.TEST)
    cfg.MODEL.SALIENCY_HEAD.DRISE.P = 2.0
    for node, values in [
        ("MODEL", cfg.MODEL),
        ("MODEL.SALIENCY_HEAD.DRISE", {"p": 2.0}),  # an argument
    ]:
        with pytest.raises(ValueError, match="^MODEL.SALIENCY_HEAD.DRISE.P is 2.0; choose"):
            check_values(node, values)
    check_values("MODEL.SALIENCY_HEAD", {"MINE": None, "MY": {"KEY": "word"}})
