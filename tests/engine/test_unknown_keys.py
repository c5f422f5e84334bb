"""Configs with keys of another Detectron2 or another project."""

import logging

import pytest
import yaml
from detectron2.config import get_cfg

from d2_saliency import add_saliency_config
from d2_saliency.engine.config_files import ConfigError, merge_yaml

OF_MAIN = {  # what Detectron2's main writes into config.yaml, and v0.6 does not have
    "DATALOADER.REPEAT_SQRT": True,
    "DATALOADER.RANDOM_SUBSET_RATIO": 1.0,
    "FLOAT32_PRECISION": "",
    "SOLVER.BASE_LR_END": 0.0,
    "SOLVER.NUM_DECAYS": 3,
    "SOLVER.RESCALE_INTERVAL": False,
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": True,
    "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES": 50,
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": False,
}


@pytest.fixture
def merged(tmp_path, caplog, monkeypatch):
    """Function: keys -> cfg, and what was left out."""
    monkeypatch.setattr(logging.getLogger("d2_saliency"), "propagate", True)

    def merge(keys, allow_unknown=False, whole=False):
        cfg = get_cfg()
        add_saliency_config(cfg)
        content = yaml.safe_load(cfg.dump()) if whole else {}
        for key, value in keys.items():
            *above, name = key.split(".")
            node = content
            for part in above:
                node = node.setdefault(part, {})
            node[name] = value
        path = tmp_path / "x.yaml"
        path.write_text(yaml.safe_dump(content))
        caplog.clear()
        merge_yaml(cfg, str(path), False, allow_unknown)
        said = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
        left_out = said[0].rstrip(".").split("left out: ")[1].split(", ") if said else []
        return cfg, left_out

    return merge


@pytest.mark.parametrize("whole", [False, True])
def test_a_config_of_detectron2s_main_loads(merged, whole):
    known = {"MODEL.ROI_HEADS.NUM_CLASSES": 3, "SOLVER.BASE_LR": 0.5}
    cfg, left_out = merged({**OF_MAIN, **known}, whole=whole)
    theirs = [key for key in OF_MAIN if key not in flat(get_cfg())]
    assert set(left_out) == set(theirs) >= {"DATALOADER.REPEAT_SQRT"} - set(flat(get_cfg()))
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3 and cfg.SOLVER.BASE_LR == 0.5


def flat(node, above=""):
    for name, value in node.items():
        yield f"{above}{name}"
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")


def test_keys_of_training_of_another_project_are_left_out(merged):
    theirs = {"SEMISUPNET.BURN_UP": 1, "INPUT.MIXUP": True, "TEST.EVAL_TYPE": "x", "VIS.ON": 1}
    cfg, left_out = merged({**theirs, "DATASETS.TRAIN_LABEL": ["a"], "SEED": 7})
    assert set(left_out) == {"SEMISUPNET", "INPUT.MIXUP", "TEST.EVAL_TYPE", "VIS"} | {
        "DATASETS.TRAIN_LABEL"
    }
    assert cfg.SEED == 7


NEEDED = {
    "MODEL.SWINT": {"EMBED_DIM": 96},
    "MODEL.ROI_BOX_HEAD.MULT_PROPOSAL_SCORE": True,
    "INPUT.MIN_SIZES_TEST": [1],
}


@pytest.mark.parametrize("key", NEEDED)
def test_keys_that_may_build_the_model_need_a_word(merged, key):
    with pytest.raises(ConfigError, match=f"x.yaml' .*Non-existent config key: {key}. .*--import"):
        merged({key: NEEDED[key], "VIS.ON": 1})
    cfg, left_out = merged({key: NEEDED[key], "SEED": 7}, allow_unknown=True)
    assert left_out == [key] and cfg.SEED == 7


def test_a_sigmoid_in_place_of_the_softmax_is_not_left_out(merged):
    if "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE" in flat(get_cfg()):
        assert merged({"MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": True})[1] == []
        return
    with pytest.raises(ConfigError, match="key: MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE. If"):
        merged({"MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": True})


@pytest.mark.parametrize("key", ["MODEL.SALIENCY_HEAD.NAMEE", "TEST.SALIENCY.METRICSS"])
def test_our_own_keys_are_mistyped(merged, key):
    with pytest.raises(ConfigError, match=f"Non-existent config key: {key}"):
        merged({key: "x"}, allow_unknown=True)


def test_keys_of_an_older_version_are_converted(merged):
    cfg, left_out = merged({"VERSION": 1, "MODEL.WEIGHT": "w.pth"})
    assert cfg.MODEL.WEIGHTS == "w.pth" and left_out == []
    assert merged({"MODEL.WEIGHT": "w.pth"})[0].MODEL.WEIGHTS == "w.pth"


def test_what_a_project_adds_is_known(merged, tmp_path):
    cfg = get_cfg()
    cfg.MODEL.SWINT = type(cfg)({"EMBED_DIM": 1})
    (tmp_path / "y.yaml").write_text("VERSION: 2\nMODEL: {SWINT: {EMBED_DIM: 96}}")
    merge_yaml(cfg, str(tmp_path / "y.yaml"), False)
    assert cfg.MODEL.SWINT.EMBED_DIM == 96
