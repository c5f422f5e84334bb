"""Lazy configs of Detectron2 and of other projects, which name the parts of a mapper otherwise."""

import detectron2.data.transforms as T
import numpy as np
import pytest
from detectron2.config import LazyCall, get_cfg
from omegaconf import OmegaConf

from d2_saliency import add_saliency_config
from d2_saliency.engine.explainer import DefaultExplainer
from d2_saliency.testing import ToyDetector


def build(device):
    """As models of detrex it is told its device."""
    toy = ToyDetector.random()
    toy.asked_device = device
    return toy


RESIZE = [LazyCall(T.Resize)(shape=[24, 32])]


def explainer(**mapper):
    """Of a lazy config with a mapper of these names."""
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.MODEL.DEVICE, cfg.MODEL.SALIENCY_HEAD.NAME = "cpu", "Gradient"
    test = {"mapper": mapper, "dataset": {"names": "nobody_registered_this"}}
    lazy = {
        "model": LazyCall(build)(device="cuda"),
        "dataloader": {"test": test},
        "train": {"init_checkpoint": ""},
    }
    lazy = OmegaConf.create(lazy, flags={"allow_objects": True})
    found = DefaultExplainer(lazy, cfg)
    assert lazy.model.device == "cuda" and found.model.asked_device == "cpu"
    return found


@pytest.mark.parametrize(
    "mapper",
    [
        dict(augmentations=RESIZE, image_format="RGB"),
        dict(augmentation=RESIZE, img_format="RGB", augmentation_with_crop=None),
    ],
)
def test_both_names_of_a_mappers_parts(mapper, caplog):
    found = explainer(**mapper)
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 2] = 200  # red
    x = found.preprocess(image)["image"]
    assert x.shape == (3, 24, 32) and x[:, 0, 0].tolist() == [200, 0, 0]
    assert "mapper" not in caplog.text


def test_a_mapper_without_them_is_named(caplog):
    x = explainer().preprocess(np.full((24, 32, 3), [1, 2, 3], np.uint8))["image"]
    assert x.shape == (3, 24, 32) and x[:, 0, 0].tolist() == [1, 2, 3]
    assert "mapper of the config has no augmentations or augmentation: images are" in caplog.text
    assert "has no image_format or img_format: images are explained with BGR" in caplog.text
