"""
d2-saliency explain with every kind of config: stock and ours, YAML and lazy, paths and model-zoo
names.
"""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from detectron2 import model_zoo
from detectron2.modeling import build_model

from tests.conftest import ROOT

FAST = ("--method", "Gradient", "--max-instances", "1")
RANDOM = ("--opts", "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu")
TINY = ("INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "64")
TINY_LAZY = tuple(
    f"dataloader.test.mapper.augmentations.0.{key}=64" for key in ("short_edge_length", "max_size")
)
SCENE = ROOT / "demo" / "images" / "planted_0007.png"


class TestConfigs:
    @pytest.mark.parametrize(
        "name, thresh", [("faster_rcnn", "ROI_HEADS"), ("retinanet", "RETINANET")]
    )
    def test_model_zoo(self, tool, tmp_path, name, thresh):
        config = f"COCO-Detection/{name}_R_101_FPN_3x.yaml"
        cfg = model_zoo.get_config(config)
        cfg.MODEL.DEVICE = "cpu"
        model = build_model(cfg)
        state = {
            k: v * 0.1 if k.endswith("conv3.weight") else v for k, v in model.state_dict().items()
        }
        torch.save(
            {"model": state}, tmp_path / "w.pth"
        )  # damped: plain random residual blocks end in overflow
        opts = (
            "--opts",
            "MODEL.WEIGHTS",
            "w.pth",
            f"MODEL.{thresh}.SCORE_THRESH_TEST",
            "0.0",
            *TINY,
        )
        run = tool(
            "--input",
            SCENE,
            "--output",
            "out",
            "--config-file",
            config,
            "--score-thresh",
            "0",
            *FAST,
            *opts,
        )
        (record,) = run.results["detections"]
        assert (
            run.status == 0 and record["class_name"] != f"class {record['class_id']}"
        )  # COCO's names are known
        assert np.isfinite(record["peaks"]).all() and max(record["peaks"]) > 0

    def test_lazy_model_zoo(self, tool):
        opts = (
            "MODEL.DEVICE",
            "cpu",
            "train.init_checkpoint=",
            "model.test_score_thresh=0.0",
            *TINY_LAZY,
        )
        config = ("--config-file", "COCO-Detection/fcos_R_50_FPN_1x.py", "--score-thresh", "0")
        run = tool("--input", SCENE, "--output", "out", *config, *FAST, "--opts", *opts)
        assert run.status == 0 and len(run.results["images"]) == 1

    def test_lazy_config_of_the_user_runs_only_if_trusted(self, tool, tmp_path):
        (tmp_path / "mine.py").write_text(
            "import pathlib\nfrom detectron2.model_zoo import "
            "get_config\npathlib.Path('mark').touch()\n"
            "zoo = get_config('COCO-Detection/retinanet_R_50_FPN_1x.py')\n"
            "model, dataloader, train = zoo.model, zoo.dataloader, zoo.train\n"
        )
        opts = (
            "--opts",
            "train.init_checkpoint=",
            "MODEL.SALIENCY_HEAD.MAX_INSTANCES",
            "1",
            *TINY_LAZY,
        )
        command = ("--input", SCENE, "--output", "out", "--config-file", "mine.py")
        refused = tool(*command, *opts)
        assert refused.status == 2 and "is Python code, which opening it would run" in refused.err
        assert "--trust-config" in refused.err and not os.path.exists("mark")
        run = tool(*command, "--trust-config", *opts)
        assert run.status == 0 and os.path.exists("mark") and len(run.results["images"]) == 1

    def test_yaml_that_runs_code_is_refused(self, tool, tmp_path):
        base = ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"
        tag = 'OUTPUT_DIR: !!python/object/apply:os.mkdir ["mark"]'
        (tmp_path / "mine.yaml").write_text(f'_BASE_: "{base}"\n{tag}\n')
        run = tool("--input", SCENE, "--output", "out", "--config-file", "mine.yaml")
        assert (
            run.status == 2
            and "has a YAML tag that runs code" in run.err
            and not os.path.exists("mark")
        )

    def test_stock_file_in_a_process_of_its_own_is_quiet(self, tmp_path):
        config = model_zoo.get_config_file("COCO-Detection/retinanet_R_50_FPN_1x.yaml")
        tool = [
            sys.executable,
            ROOT / "tools" / "explain_net.py",
            "--config-file",
            config,
            "--output",
            "out",
        ]
        # Detectron2's main imports pkg_resources, which says that it is deprecated.
        env = {**os.environ, "PYTHONWARNINGS": "ignore:pkg_resources is deprecated"}
        run = subprocess.run(
            [*tool, "--input", SCENE, *FAST, *RANDOM, *TINY],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=env,
        )
        assert run.returncode == 0 and run.stdout.splitlines()[-1] == "Report: out/index.html"
        assert (
            "1/1 [" in run.stderr
            and "Warning" not in run.stderr
            and "unsafe" not in run.stdout + run.stderr
        )
        assert [line.split("]: ")[-1][:22] for line in run.stdout.splitlines()[:-1]] == [
            "MODEL.WEIGHTS is empty"
        ]

    def test_unreachable_weights(self, tool, monkeypatch):
        def fail(*args, **kwargs):
            raise OSError("Name or service not known")

        monkeypatch.setattr(socket, "create_connection", fail)
        monkeypatch.setenv("FVCORE_CACHE", "empty_cache")
        run = tool("--input", SCENE, "--config-file", "COCO-Detection/retinanet_R_101_FPN_3x.yaml")
        address = "https://dl.fbaipublicfiles.com/detectron2/COCO-Detection/retinanet_R_101_FPN_3x/190397697/model_final"
        assert run.status == 2 and f"d2-saliency explain: The weights '{address}" in run.err
        assert (
            "cannot be fetched (Name or service not known)" in run.err
            and "--opts MODEL.WEIGHTS FILE" in run.err
        )


def test_help_gives_an_example_of_each_option(tool):
    parts = tool("--help").out.split("options:")[1].split("examples:")[0].split("\n  --")[1:]
    assert len(parts) >= 10
    for part in parts:
        assert "e.g." in part, part
