"""
Small copies of the kinds of models that other projects have. All are ToyDetectors, whose gradients
are known in closed form, with one habit each.
"""

import copy
from unittest import mock

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import GeneralizedRCNNWithTTA

from d2_saliency import explainable
from d2_saliency.modeling.meta_arch.twin import twin_of
from d2_saliency.modeling.saliency_heads import Gradient
from d2_saliency.testing import ToyDetector
from tests.modeling.meta_arch.test_feature_gradients import random_model


def toy(cls, **attributes):
    """A random ToyDetector of 3 objects that has the habit of a class."""
    model = ToyDetector.random()
    model.__class__ = cls
    vars(model).update(attributes)
    return model


def picture(seed=0):
    pixels = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(seed)) * 255
    return {"image": pixels}


def true_maps(model, found):
    """Gradient's class map of each detection: the largest |d score / dx| of a pixel's channels."""
    weights, scores = model.class_weights[found.pred_classes], found.scores[:, None, None, None]
    return (scores * (1 - scores) * weights).abs().amax(1)


def explained(model, x, **options):
    model.saliency_head = Gradient(score_thresh=0.0, **options)
    with torch.no_grad():
        return model([x])[0]["instances"]


def assert_right(stock, found):
    expected, maps = true_maps(stock, found), found.pred_saliency.resize(24, 32)[:, 0]
    assert len(found) and (maps - expected).abs().max() <= 1e-4 * expected.max()


class Restless(ToyDetector):
    """Outputs change their order, or some are lost, from one run to the next."""

    def forward(self, batched_inputs):
        self.runs += 1
        results = super().forward(batched_inputs)
        choice = self.choices[min(self.runs, len(self.choices)) - 1]
        return [{"instances": r["instances"][torch.tensor(choice)]} for r in results]


@pytest.mark.parametrize("again", [[1, 0, 2], [2, 1, 0], [1, 2, 0], [0, 1, 2]])
def test_outputs_in_another_order_keep_their_maps(again):
    stock = toy(Restless, runs=0, choices=[[0, 1, 2], again])
    assert_right(stock, explained(explainable(stock), picture()))


def test_more_outputs_than_were_reported_are_told_apart():
    stock = toy(Restless, runs=0, choices=[[2, 0], [0, 1, 2]])
    assert_right(stock, explained(explainable(stock), picture()))


@pytest.mark.parametrize("again", [[0, 1], [1, 2], [0, 0, 1], [2]])
def test_a_detection_that_is_not_found_again_is_refused(again):
    stock = toy(Restless, runs=0, choices=[[0, 1, 2], again])
    with pytest.raises(RuntimeError, match=r"Restless: \d of 3 detections .* not found again"):
        explained(explainable(stock), picture())


class Undecided(ToyDetector):
    """A detector without NMS: twice the same box and class with different scores, in any order."""

    def forward(self, batched_inputs):
        self.runs += 1
        (found,) = (r["instances"] for r in super().forward(batched_inputs))
        found = found[torch.tensor([0, 0, 1])]
        found.scores = found.scores * torch.tensor([1, self.second, 1])
        return [{"instances": found[torch.tensor([[0, 1, 2], self.again][self.runs > 1])]}]


def test_equal_boxes_are_told_apart_by_their_scores():
    stock = toy(Undecided, runs=0, second=0.25, again=[1, 0, 2])
    found = explained(explainable(stock), picture())
    maps = found.pred_saliency.resize(24, 32)[:, 0]
    torch.testing.assert_close(maps[1], maps[0] / 4)
    stock = toy(Undecided, runs=0, second=0.25, again=[1, 2])
    with pytest.raises(RuntimeError, match="1 of 3 detections"):
        explained(explainable(stock), picture())


class OwnNames(ToyDetector):
    """A model with methods, attributes and a layer that have names of ours."""

    def run(self):
        return self.postprocess(self._preprocess())

    def postprocess(self, images):
        return [
            {"instances": self._detect(self.raw_outputs(self.features(image)) * self.outputs)}
            for image in images
        ]

    def _preprocess(self):
        return [x["image"].float() for x in self.saliency_head]

    def forward(self, batched_inputs):
        self.saliency_head = batched_inputs  # as any name, it may be the model's own
        return self.run()


def own_names():
    model = toy(OwnNames, outputs=1.0, input_gradients=None)
    model.raw_outputs = torch.nn.Identity()
    return model


def test_names_of_the_model_that_are_also_ours():
    stock, x = own_names(), picture()
    model = explainable(stock)
    assert_right(stock, explained(model, x))
    assert list(model.state_dict()) == list(stock.state_dict())
    assert [n for n, _ in model.named_modules()] == [n for n, _ in stock.named_modules()]
    assert all(a is b for a, b in zip(model.parameters(), stock.parameters()))
    assert isinstance(model, OwnNames) and model.score_thresh == stock.score_thresh
    model.score_thresh = 1.0
    assert not len(explained(model, x)) and len(stock([x])[0]["instances"])
    copied = copy.deepcopy(model).double()
    copied.score_thresh = 0.05
    assert_right(stock.double(), explained(copied, {"image": x["image"].double()}))


def modes(model):
    """Of the layers; a head that was set later has its own."""
    return [m.training for n, m in model.named_modules() if not n.startswith("saliency_head")]


@pytest.mark.parametrize("kind", ["Restless", "FPN"])
def test_the_model_keeps_its_modes_while_both_are_in_use(kind):
    stock = toy(Restless, runs=0, choices=[[0, 1, 2]]) if kind == "Restless" else random_model(kind)
    stock.train()
    next(stock.children()).eval()  # a frozen part
    before, x = modes(stock), picture() if kind == "Restless" else {"image": torch.ones(3, 64, 64)}
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
