import pytest

from d2_saliency import build_saliency_head
from d2_saliency.modeling.saliency_heads.config_values import LIMITS
from tests.conftest import demo_cfg


def build(*opts):
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.merge_from_list(list(opts))
    return build_saliency_head(cfg)


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    key = f"MODEL.SALIENCY_HEAD.{name}"
    low, high = LIMITS[name]
    kind = type(build_default(name))
    if name != "SMOOTHGRAD.NUM_SAMPLES":  # 0 is for Smooth Grad-CAM++ alone
        build(key, kind(low))
    with pytest.raises(ValueError, match=rf"^{key} is .*; choose a number from .* to .*\.$"):
        build(key, kind(low - 1))
    with pytest.raises(ValueError, match=f"^{key} has no value"):
        build(key, None)
    if kind is float:
        with pytest.raises(ValueError, match=f"^{key} is nan"):
            build(key, float("nan"))


def build_default(name):
    node = demo_cfg("faster_rcnn_planted").MODEL.SALIENCY_HEAD
    for part in name.split("."):
        node = node[part]
    return node


@pytest.mark.parametrize(
    "name, value",
    [
        ("CHANNELS", [-1]),
        ("CHANNELS", ["a"]),
        ("NEURONS", [[1]]),
        ("NEURONS", [[0, -1]]),
        ("NEURONS", [3]),
    ],
)
def test_lists(name, value):
    with pytest.raises(ValueError, match=f"^MODEL.SALIENCY_HEAD.{name} is .*; give"):
        build(f"MODEL.SALIENCY_HEAD.{name}", value)
