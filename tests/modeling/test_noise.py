"""The options that all methods with noise passes share; the passes are tested with the methods."""

import pytest

from d2_saliency import build_saliency_head
from d2_saliency.modeling.saliency_heads import ODSmoothGrad, SmoothGradCAMPlusPlus
from tests.conftest import demo_cfg

METHODS = [ODSmoothGrad, SmoothGradCAMPlusPlus]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options, message",
    [
        ({"match": "name"}, "SMOOTHGRAD.MATCH is 'name'; choose one of detection, index"),
        ({"num_samples": -1}, "SMOOTHGRAD.NUM_SAMPLES is -1; choose a whole number from 0"),
        ({"window": "on"}, "SMOOTHGRAD.WINDOW is 'on'; choose one of off, auto"),
        ({"batch_size": 0}, "SMOOTHGRAD.BATCH_SIZE is 0; choose a whole number from 1"),
    ],
)
def test_values_without_a_meaning_are_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        method(**options)


def test_no_passes_are_something_only_where_the_method_says_so():
    assert SmoothGradCAMPlusPlus(num_samples=0).num_samples == 0
    with pytest.raises(ValueError, match="NUM_SAMPLES is 0; ODSmoothGrad needs at least 1"):
        ODSmoothGrad(num_samples=0)


@pytest.mark.parametrize("method", METHODS)
def test_config(method):
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.MODEL.SALIENCY_HEAD.NAME = method.__name__
    values = {
        "NUM_SAMPLES": 3,
        "SIGMA": 0.25,
        "IOU_THRESH": 0.5,
        "MATCH": "index",
        "BATCH_SIZE": 2,
        "AUTOCAST": True,
        "WINDOW": "auto",
    }
    cfg.MODEL.SALIENCY_HEAD.SMOOTHGRAD.update(values)
    head = build_saliency_head(cfg)
    assert {key: getattr(head, key.lower()) for key in values} == values
    assert head.seed == cfg.MODEL.SALIENCY_HEAD.SEED
