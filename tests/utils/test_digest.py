import copy

import pytest
from detectron2 import model_zoo
from detectron2.config import get_cfg

from d2_saliency import add_saliency_config
from d2_saliency.keys import KEYS
from d2_saliency.results.run_info import config_text
from d2_saliency.utils.digest import digest, file_digest


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_saliency_config(cfg)
    return cfg


@pytest.mark.parametrize(
    "key, value, same",
    [
        ("MODEL.DEVICE", "cpu", True),
        ("OUTPUT_DIR", "elsewhere", True),
        ("MODEL.SALIENCY_HEAD.DOWNLOAD.MAX_MB", 7, True),
        ("MODEL.WEIGHTS", "w.pth", True),  # run_info identifies weights by their content
        ("MODEL.SALIENCY_HEAD.DRISE.BATCH_SIZE", 7, True),
        ("MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES", 7, False),
        ("INPUT.MIN_SIZE_TEST", 7, False),
    ],
)
def test_text_is_the_same_where_the_maps_are(cfg, key, value, same):
    other = cfg.clone()
    other.merge_from_list([key, value])
    before = cfg.dump()
    assert (config_text(cfg, cfg) == config_text(other, other)) == same
    assert cfg.dump() == before


@pytest.mark.parametrize("name", KEYS)
def test_each_of_our_keys_is_in_the_text_if_results_depend_on_it(cfg, name):
    key, other = KEYS[name], cfg.clone()
    other.merge_from_list([name, another_value(key)])
    assert (config_text(cfg, cfg) != config_text(other, other)) == key.changes_results


def another_value(key):
    if key.choices:
        return next(choice for choice in key.choices if choice != key.default)
    if isinstance(key.default, bool):
        return not key.default
    kind = type(key.default)
    if key.is_number:
        return kind(key.low if key.low != key.default else key.high)
    return key.default + kind("x")  # a word or a list


def test_no_results_depend_on_downloads_and_batch_sizes():
    assert {name for name, key in KEYS.items() if not key.changes_results} == {
        "MODEL.SALIENCY_HEAD.DOWNLOAD.MAX_MB",
        "MODEL.SALIENCY_HEAD.DOWNLOAD.MAX_SECONDS",
        "MODEL.SALIENCY_HEAD.SMOOTHGRAD.BATCH_SIZE",
        "MODEL.SALIENCY_HEAD.INTEGRATED_GRADIENTS.BATCH_SIZE",
        "MODEL.SALIENCY_HEAD.DRISE.BATCH_SIZE",
        "TEST.SALIENCY.BATCH_SIZE",
    }


def test_lazy(cfg):
    lazy = model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x.py")
    text = config_text(lazy, cfg)
    assert (
        " at 0x" not in text and "get_detection_dataset_dicts" in text and "SALIENCY_HEAD" in text
    )
    moved, other = copy.deepcopy(lazy), copy.deepcopy(lazy)
    moved.train.device, moved.train.output_dir, moved.train.init_checkpoint = (
        "cpu",
        "elsewhere",
        "w.pth",
    )
    other.model.test_score_thresh = 0.123
    assert config_text(moved, cfg) == text != config_text(other, cfg)
    assert moved.train.device == "cpu"


def test_files(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    (tmp_path / "c").write_text("2")
    a, b, c, missing = (file_digest(tmp_path / name) for name in ("a", "b", "c", "d"))
    assert a == b != c and missing is None and digest(a) == digest(b) != digest(c)
