"""What is remembered of a detector that was folded, and what is not."""

import copy
import gc
import pickle
import weakref

import pytest
import torch

from d2_saliency import explainable
from d2_saliency.modeling import folding
from d2_saliency.modeling.folding import folded
from d2_saliency.modeling.saliency_heads import Gradient
from tests.modeling.odd_convolutions import batch_norms


@pytest.fixture
def detector(stock_detector):
    """A Faster R-CNN of its own, which may be changed."""
    folding._warn_once.cache_clear()
    return copy.deepcopy(stock_detector("faster_rcnn_planted"))


@pytest.fixture
def model(detector):
    return explainable(detector)


@pytest.fixture
def looks(model, monkeypatch):
    """Function: image -> how often a copy of the model was compared with it when asked for."""
    compared, difference = [], folding._difference
    monkeypatch.setattr(
        folding, "_difference", lambda *args: compared.append(1) or difference(*args)
    )

    def ask(x):
        before = len(compared)
        assert folded(model, x) is not model
        return len(compared) - before

    return ask


def test_the_copy_is_compared_once_for_many_images(looks, demo_image):
    assert [looks(demo_image(i)) for i in (1, 2, 1)] == [1, 0, 0]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_and_anew_after_an_optimizer_step(optimizer, model, looks, demo_image):
    looks(demo_image(1))
    for p in model.parameters():
        p.grad = torch.full_like(p, 1e-4)
    optimizer(model.parameters(), lr=1e-4).step()
    model.zero_grad()
    assert [looks(demo_image(i)) for i in (1, 2)] == [1, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}),
        lambda model: model.backbone.bottom_up.stem.conv1.norm.train(),
        lambda model: model.backbone.bottom_up.stem.conv1.register_forward_hook(lambda *_: None),
    ],
    ids=["load_state_dict", "train", "hook"],
)
def test_and_after_other_changes(change, model, looks, demo_image):
    assert looks(demo_image(1)) == 1
    change(model)
    assert [looks(demo_image(1)) for _ in range(2)] == [1, 0]


def test_and_in_another_precision(model):
    """Detectron2's NMS has none in double precision, so no image is explained here."""
    before = folding._state(model)
    assert folding._state(model) == before
    assert folding._state(model.double()) != before


@pytest.mark.parametrize(
    "write", [lambda p: p.data.mul_(1.5), lambda p: setattr(p, "data", p.data * 1.5)]
)
def test_the_copy_has_the_weights_and_settings_of_the_moment(write, model, demo_image):
    """
    Writing through .data leaves no trace in a tensor's version, and settings are no tensors at all.
    """
    folded(model, demo_image(1))
    conv = model.backbone.bottom_up.stem.conv1
    write(conv.weight)
    model.roi_heads.box_predictor.test_score_thresh = 0.321
    twin, x = folded(model, demo_image(1)), torch.randn(1, 3, 32, 32)
    again = twin.backbone.bottom_up.stem.conv1
    assert again.norm is None and twin.roi_heads.box_predictor.test_score_thresh == 0.321
    with torch.no_grad():
        torch.testing.assert_close(again(x), conv(x), atol=1e-5, rtol=1e-4)


def test_a_model_with_nothing_to_fold_is_not_copied(model, demo_image):
    twin = folded(model, demo_image(1))
    assert folded(twin, demo_image(1)) is twin
    model.train()
    assert folded(model, demo_image(1)) is model


def test_nothing_is_left_on_the_model(detector, model, demo_image):
    def state():
        return [(name, type(m), sorted(vars(m)), m.training) for name, m in model.named_modules()]

    model.saliency_head = Gradient(max_instances=1)
    before, pickled = state(), len(pickle.dumps(detector))
    flags = [p.requires_grad for p in model.parameters()]
    keys = list(model.state_dict())
    with torch.no_grad():
        assert model([demo_image(1)])[0]["instances"].pred_saliency.explained.any()
    assert (
        state() == before
        and list(model.state_dict()) == keys
        and len(pickle.dumps(detector)) == pickled
    )
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not batch_norms(folded(copy.deepcopy(model), demo_image(1)))


def test_nothing_keeps_the_model_alive(detector, demo_image):
    model = explainable(detector)
    gc.collect()
    alive, known = weakref.ref(model), len(folding._verdicts)
    folded(model, demo_image(1))
    assert len(folding._verdicts) == known + 1
    del model
    gc.collect()
    assert alive() is None and len(folding._verdicts) == known
