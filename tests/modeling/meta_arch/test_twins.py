"""The model and the one that explains it: modes, wiring, and what was wrapped around the model."""

from unittest import mock

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import GeneralizedRCNNWithTTA

from d2_saliency import explainable
from d2_saliency.modeling.meta_arch.twin import twin_of
from d2_saliency.testing import ToyDetector
from tests.modeling.kinds import assert_right, explained, picture, toy
from tests.modeling.meta_arch.test_feature_gradients import random_model


def modes(model):
    """Of the layers; a head that was set later has its own."""
    return [m.training for n, m in model.named_modules() if not n.startswith("saliency_head")]


@pytest.mark.parametrize("kind", ["toy", "FPN"])
def test_the_model_keeps_its_modes_while_both_are_in_use(kind):
    stock = ToyDetector.random() if kind == "toy" else random_model(kind)
    stock.train()
    next(stock.children()).eval()  # a frozen part
    before, x = modes(stock), picture() if kind == "toy" else {"image": torch.ones(3, 64, 64)}
    model = explainable(stock)
    assert modes(model) == before
    model.eval()
    assert modes(stock) == before and not any(modes(model))
    found = explained(model, x)
    assert found.has("pred_saliency") and modes(stock) == before and not any(modes(model))
    model.saliency_head.explain = None  # fails
    with pytest.raises(TypeError):
        model([x])
    stock.eval()
    model.train()
    assert not any(modes(stock)) and all(modes(model))
    name, _ = next(stock.named_parameters())
    with torch.no_grad():
        stock.get_parameter(name).add_(1)
    assert torch.equal(model.get_parameter(name), stock.get_parameter(name))


class Wired(torch.nn.Module):
    """Modules that are also in a list, a dict, a method and a tied layer, as in ResNet and FPN."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Dropout(), torch.nn.BatchNorm2d(3)
        self.tied, self.plain = self.a, [1, 2]
        self.stages, self.by_name = [self.a, (self.b, "b")], {"b": self.b}
        self.work = self.b.forward
        self.stages.append(self.stages)


def test_a_twin_is_wired_as_its_model():
    model = Wired().eval()
    twin = twin_of(model)
    assert twin.a is twin.tied is twin.stages[0] and twin.stages[1][0] is twin.b
    assert twin.by_name["b"] is twin.b is twin.work.__self__
    assert twin.a is not model.a and twin.b is not model.b and twin.plain is model.plain
    twin.double()
    assert model.b.running_mean is twin.b.running_mean and model.b.weight is twin.b.weight
    assert model.b.running_mean.dtype == torch.float64


def test_test_time_augmentation_is_refused_with_what_to_pass_instead():
    cfg = get_cfg()
    model = random_model("FPN")
    with pytest.raises(ValueError, match=r"WithTTA has a __call__ .*explainable\(model\.model\)"):
        explainable(GeneralizedRCNNWithTTA(cfg, model))
    with pytest.raises(ValueError, match="function is no torch.nn.Module: pass the model"):
        explainable(toy)


@pytest.mark.parametrize("wrap", ["DataParallel", "compile", "compile in place", "compiled layer"])
def test_wrapped_models_are_unwrapped(wrap):
    stock, x = ToyDetector.random(), picture()
    wrapped, refuse = stock, mock.Mock(side_effect=AssertionError("ran what was compiled"))
    if wrap == "DataParallel":
        wrapped = torch.nn.DataParallel(stock)
    elif wrap == "compile":
        wrapped = torch.compile(stock, backend=refuse)
    elif wrap == "compile in place":
        stock.compile(backend=refuse)
    else:
        stock.features = torch.compile(stock.features, backend=refuse)
    model = explainable(wrapped)
    assert isinstance(model, ToyDetector)
    assert list(model.state_dict()) == list(ToyDetector.random().state_dict())
    assert_right(ToyDetector.random(), explained(model, x))
