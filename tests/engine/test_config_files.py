import argparse

import pytest
from detectron2 import model_zoo
from detectron2.config import get_cfg

from d2_saliency.engine.config_files import (
    ConfigError,
    check_opts,
    find_config,
    load_lazy,
    merge_yaml,
    split_opts,
    zoo_weights,
)
from d2_saliency.engine.defaults import setup_cfg

RETINANET = "COCO-Detection/retinanet_R_50_FPN_1x"


class TestFindConfig:
    @pytest.mark.parametrize("suffix", [".yaml", ".py"])
    def test_model_zoo_by_name_and_by_path(self, suffix):
        path = model_zoo.get_config_file(RETINANET + suffix)
        assert find_config(path)[1] == find_config(RETINANET + suffix)[1] == RETINANET + suffix
        assert zoo_weights(find_config(path)[1]) == model_zoo.get_checkpoint_url(RETINANET + suffix)

    def test_a_file_of_the_user_goes_before_the_model_zoo(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "COCO-Detection").mkdir()
        (tmp_path / f"{RETINANET}.yaml").touch()
        assert find_config(f"{RETINANET}.yaml") == (f"{RETINANET}.yaml", None)

    def test_a_name_that_leads_out_of_the_model_zoo_is_not_of_it(self, tmp_path):
        (tmp_path / "x.py").touch()
        path, zoo_name = find_config(f"{'../' * 30}{tmp_path}/x.py")
        assert path.endswith("x.py") and zoo_name is None

    @pytest.mark.parametrize("name", ["nope.yaml", "COCO-Detection", ""])
    def test_missing(self, name):
        with pytest.raises(ConfigError, match=f"There is no config '{name}'"):
            find_config(name)


@pytest.mark.parametrize(
    "content, reason",
    [
        ("A: [1", "is not valid YAML: while parsing"),
        ("MODEL: {NOPE: 1}\nVERSION: 2", "Non-existent config key: MODEL.NOPE"),
        ("SEED: text\nVERSION: 2", "Type mismatch"),
        ("_BASE_: nope.yaml", "needs '.*nope.yaml', which does not exist"),
        ("SEED: !!python/object/apply:os.getpid []", "has a YAML tag that runs code"),
    ],
)
def test_yaml_errors(tmp_path, content, reason):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(ConfigError, match=reason) as error:
        merge_yaml(get_cfg(), str(tmp_path / "x.yaml"), trusted=False)
    assert "\n" not in str(error.value)


def test_trusted_yaml_runs_its_tags(tmp_path):
    (tmp_path / "x.yaml").write_text("SEED: !!python/object/apply:int ['42']\nVERSION: 2")
    cfg = get_cfg()
    merge_yaml(cfg, str(tmp_path / "x.yaml"), trusted=True)
    assert cfg.SEED == 42


def test_split_opts():
    words = [
        "train.x=1",
        "MODEL.DEVICE",
        "cpu",
        "model.y=2",
        "MODEL.WEIGHTS=w.pth",
        "MODEL.SALIENCY_HEAD.SEED",
    ]
    ours = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "w.pth", "MODEL.SALIENCY_HEAD.SEED"]
    assert split_opts(words) == (ours, ["train.x=1", "model.y=2"])


def test_options_behind_opts_are_told_where_they_belong():
    check_opts(["MODEL.DEVICE", "cpu", "SEED", "-1", "train.x=--y"])
    with pytest.raises(
        ConfigError, match="up to the end of the command: put --method before --opts"
    ):
        setup_cfg(argparse.Namespace(opts=["MODEL.DEVICE", "cpu", "--method", "GradCAM"]))


class TestLazy:
    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "x.py").write_text(
            "model = dict(a=dict(b=None), c=[dict(d=1)])\ndataloader = train = {}\n"
        )
        return str(tmp_path / "x.py")

    def test_overrides(self, path):
        cfg = load_lazy(path, ["model.a.b=3", "model.c.0.d=4", "+model.e=5"], trusted=True)
        assert (cfg.model.a.b, cfg.model.c[0].d, cfg.model.e) == (3, 4, 5)

    @pytest.mark.parametrize(
        "word", ["nope=1", "model.nope=1", "model.nope.a=1", "model.a.b", "model.c.7.d=1"]
    )
    def test_bad_overrides(self, path, word):
        with pytest.raises(ConfigError, match="--opts: ") as error:
            load_lazy(path, [word], trusted=True)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "content, reason",
        [
            ("model = undefined", "fails with NameError: name 'undefined'"),
            ("import nope_nope", "fails with ModuleNotFoundError"),
            ("model = 1 +", "fails with SyntaxError"),
            ("model = {}", "does not define dataloader, train"),
        ],
    )
    def test_bad_files(self, tmp_path, content, reason):
        (tmp_path / "x.py").write_text(content)
        with pytest.raises(ConfigError, match=reason):
            load_lazy(str(tmp_path / "x.py"), [], trusted=True)
