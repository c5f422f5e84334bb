"""A stop at any moment of an explanation leaves the model as it was."""

import pytest
import torch
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from d2_saliency import build_saliency_head, explainable, method_names
from d2_saliency.testing import ToyDetector
from tests.conftest import demo_cfg
from tests.modeling.places import know_places

METHODS = [
    name for name in method_names() if name != "CAM"
]  # CAM is for C4 models; the toy has no boxes' heads


class StopAt(TorchFunctionMode):
    """
    Raises in place of the n-th function of torch, not counting what freezes parameters and puts
    them back.
    """

    def __init__(self, n):
        super().__init__()
        self.n = self.calls = n

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not torch.Tensor.requires_grad_:
            self.calls -= 1
            if self.calls == 0:
                raise KeyboardInterrupt
        return function(*args, **(kwargs or {}))


@pytest.fixture(params=METHODS)
def model(request, monkeypatch):
    cfg = demo_cfg("faster_rcnn_planted")
    head = cfg.MODEL.SALIENCY_HEAD
    head.NAME, head.LAYER, head.SCORE_THRESH, head.SMOOTHGRAD.NUM_SAMPLES = (
        request.param,
        "features",
        0.0,
        2,
    )
    head.INTEGRATED_GRADIENTS.NUM_STEPS, head.DRISE.NUM_MASKS = 2, 8
    model = explainable(ToyDetector.random(height=8, width=12))
    know_places(monkeypatch)
    model.class_weights.requires_grad_(False)
    model.saliency_head = build_saliency_head(cfg)
    return model


def state(model):
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [(m.training, *(len(getattr(m, name)) for name in hooks)) for m in model.modules()]
    parameters = [
        (p.requires_grad, p.grad, p.dtype, p.detach().sum().item()) for p in model.parameters()
    ]
    settings = (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        len(_get_current_function_mode_stack()),
    )
    return modules, parameters, list(model.state_dict()), settings


def test_stopped_at_any_function(model):
    inputs = [{"image": torch.rand(3, 8, 12) * 255}]
    before = state(model)
    with torch.no_grad():
        with StopAt(-1) as whole:
            model(inputs)
        assert state(model)[:3] == before[:3]
        total = -1 - whole.calls
        assert total > 50
        for n in range(1, total, max(1, total // 40)):
            with pytest.raises(KeyboardInterrupt), StopAt(n):
                model(inputs)
            assert state(model)[:3] == before[:3]
    assert state(model) == before
