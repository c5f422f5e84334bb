"""
Damaged or nonsensical configs, options, weights and results: read as they should be, or one line
that names them.
"""

import argparse
import copy
import io
import json
import pickle
from functools import reduce
from operator import getitem

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import get_cfg
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from d2_saliency import add_saliency_config, build_saliency_head, explainable
from d2_saliency.checkpoint.weights import WeightsError, load_weights
from d2_saliency.cli.arguments import add_explainer_arguments
from d2_saliency.engine.config_files import ConfigError, merge_opts, merge_yaml
from d2_saliency.engine.defaults import setup_cfg
from d2_saliency.results.maps_file import MapsError, load_maps, save_maps
from d2_saliency.results.reader import ResultsError
from d2_saliency.results.run_info import run_info
from d2_saliency.results.writer import ResultsWriter
from d2_saliency.testing import ToyDetector
from d2_saliency.visualization import write_report
from tests.results.test_maps_file import make_instances
from tests.robustness.conftest import CASES, fuzz, is_one_line

pytestmark = pytest.mark.filterwarnings("ignore")


def known_keys(node, prefix=""):
    for key, value in node.items():
        yield from (
            known_keys(value, f"{prefix}{key}.")
            if isinstance(value, type(node))
            else [prefix + key]
        )


def new_cfg():
    cfg = get_cfg()
    add_saliency_config(cfg)
    return cfg


KEYS = sorted(known_keys(new_cfg()))
OURS = [key for key in KEYS if "SALIENCY_HEAD" in key]
key = st.one_of(
    st.sampled_from(OURS),
    st.sampled_from(KEYS),
    st.sampled_from(["MODEL", "MODEL.NOPE", "nope", "_BASE_", "VERSION"]),
)
value = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 2**70),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["GradCAM", "D1"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


DEFAULTS = {name: reduce(getitem, name.split("."), new_cfg()) for name in OURS}
OF_KIND = {
    int: st.integers(-2, 9),
    float: st.one_of(st.floats(-1, 2), st.sampled_from([0.0, 1e300])),
    bool: st.booleans(),
    str: st.sampled_from(
        ["auto", "features", "D1", "both", "index", "detection", "logit", "contrast", "black", "x"]
    ),
    list: st.one_of(
        st.lists(st.integers(0, 5), max_size=3),
        st.sampled_from([[[0, 0], [1]], [[0, 0], [3, 4]], [[99, 0]]]),
    ),
}


def nested(pairs):
    """
    {"A.B": 1} as {"A": {"B": 1}}; a later key takes the place of an earlier one that contradicts
    it.
    """
    root = {}
    for dotted, content in pairs:
        node = root
        *parents, leaf = dotted.split(".")
        for parent in parents:
            node[parent] = node.get(parent) if isinstance(node.get(parent), dict) else {}
            node = node[parent]
        node[leaf] = content
    return root


class TestConfigs:
    @fuzz(short=40, long=1200)
    @given(content=st.lists(st.tuples(key, value), max_size=4).map(nested).map(yaml.safe_dump))
    def test_keys_and_values(self, tmp_path, content):
        self.check(tmp_path / "x.yaml", content.encode("utf-8", "surrogatepass"))

    @fuzz(short=40, long=600)
    @given(
        content=st.one_of(
            st.binary(max_size=60), st.text("ab:-[]{}&*!#|>'\" \n\t%@", max_size=40).map(str.encode)
        )
    )
    def test_any_bytes(self, tmp_path, content):
        self.check(tmp_path / "x.yaml", content)

    @pytest.mark.parametrize(
        "content",
        [
            "_BASE_: x.yaml",
            "_BASE_: .",
            "_BASE_: [x.yaml, y.yaml]",
            "- A",
            "A",
            "",
            "[" * 2000,
            "A: &a [*a]",
        ],
    )
    def test_what_chance_would_not_find(self, tmp_path, content):
        self.check(tmp_path / "x.yaml", content.encode())

    def check(self, path, content):
        path.write_bytes(content)
        cfg = new_cfg()
        try:
            merge_yaml(cfg, str(path), trusted=False)
            CASES["configs read"] += 1
        except ConfigError as e:
            assert is_one_line(e) and str(path) in str(e)
            CASES["configs with an error"] += 1
            return
        self.build(cfg)

    @fuzz(short=60, long=1500)
    @given(opts=st.lists(st.one_of(key, value.map(str)), max_size=4))
    def test_options(self, opts):
        cfg = new_cfg()
        try:
            merge_opts(cfg, opts)
            CASES["options read"] += 1
        except ConfigError as e:
            assert is_one_line(e) and str(e).startswith("--opts")
            CASES["options with an error"] += 1
            return
        self.build(cfg)

    def build(self, cfg):
        """Values that configs may have, but heads may not."""
        try:
            build_saliency_head(cfg)
        except ValueError as e:
            assert is_one_line(e)

    @pytest.fixture(scope="class")
    def toy(self):
        return explainable(ToyDetector.random(height=8, width=12))

    @fuzz(short=60, long=1000)
    @given(
        method=st.sampled_from(["SmoothGradCAMPlusPlus", "ODSmoothGrad", "ODAM"]),
        name=st.sampled_from(OURS),
        data=st.data(),
    )
    def test_values_of_our_keys(self, toy, method, name, data):
        cfg, word = new_cfg(), name.rsplit(".", 1)[1]
        content = data.draw(st.one_of(value, OF_KIND[type(DEFAULTS[name])]))
        assume(
            not (word == "NUM_SAMPLES" and isinstance(content, int) and content > 99)
        )  # takes its time
        head = {
            "NAME": method,
            "LAYER": "features",
            "SCORE_THRESH": "0.0",
            "SMOOTHGRAD.NUM_SAMPLES": "2",
        }
        try:
            merge_opts(
                cfg, [text for k, v in head.items() for text in (f"MODEL.SALIENCY_HEAD.{k}", v)]
            )
            merge_opts(cfg, [name, repr(content)])
        except ConfigError as e:
            assert is_one_line(e)
            CASES["values of our keys with an error"] += 1
            return
        try:
            toy.saliency_head = build_saliency_head(cfg)
            with torch.no_grad():
                found = toy([{"image": torch.rand(3, 8, 12) * 255}])[0]["instances"]
            assert all(m.isfinite().all() for m in found.pred_saliency.maps)
            CASES["values of our keys read"] += 1
        except ValueError as e:
            assert is_one_line(e) and (word in str(e) or word == "NAME"), str(e)
            CASES["values of our keys with an error"] += 1


def test_contradictory_options():
    parser = argparse.ArgumentParser()
    add_explainer_arguments(parser)
    config = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
    args = parser.parse_args(
        ["--config-file", config, "--seed", "3", "--opts", "MODEL.SALIENCY_HEAD.SEED", "4"]
    )
    assert setup_cfg(args)[1].MODEL.SALIENCY_HEAD.SEED == 3  # the argument, as --help says of it


@pytest.fixture(scope="module")
def checkpoints():
    """suffix -> the content of a good file."""
    from safetensors.torch import save

    state = nn.Linear(3, 2).state_dict()
    files = {}
    for suffix in (".pth", ".pkl"):
        file = io.BytesIO()
        if suffix == ".pth":
            torch.save({"model": state, "iteration": np.int64(3)}, file)
        else:
            arrays = {name: value.numpy() for name, value in state.items()}
            file.write(pickle.dumps({"model": arrays, "__author__": "x"}))
        files[suffix] = file.getvalue()
    return {**files, ".safetensors": save(state)}


@st.composite
def damaged(draw, content):
    if draw(st.booleans()):
        return content[: draw(st.integers(0, len(content) - 1))]
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@fuzz(short=60, long=1000)
@given(data=st.data(), suffix=st.sampled_from([".pth", ".pkl", ".safetensors"]))
def test_damaged_weights(tmp_path, checkpoints, data, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data.draw(damaged(checkpoints[suffix])))
    try:
        load_weights(nn.Linear(3, 2), str(path))
        CASES["damaged weights that can be read"] += 1
    except WeightsError as e:
        assert is_one_line(e) and str(path) in str(e)
        CASES["damaged weights with an error"] += 1


@fuzz(short=60, long=1000)
@given(data=st.data())
def test_damaged_records_and_maps(tmp_path, data):
    """
    A record or maps that are damaged are as if they were not there, or an error that the report
    knows.
    """
    instances = make_instances([torch.ones(5, 2, 3), torch.ones(5, 1, 1)])
    save_maps(tmp_path / "x.npz", instances)
    content = data.draw(damaged((tmp_path / "x.npz").read_bytes()))
    (tmp_path / "x.npz").write_bytes(content)
    try:
        load_maps(tmp_path / "x.npz")
        CASES["damaged maps that can be read"] += 1
    except MapsError as e:
        assert is_one_line(e) and str(tmp_path / "x.npz") in str(e)
        CASES["damaged maps with an error"] += 1
    writer = ResultsWriter(tmp_path / "out", run_info("explain", "A: 1", "Gradient", 0))
    record = data.draw(
        st.one_of(value.map(lambda v: json.dumps(v, default=str)), st.text(max_size=20))
    )
    writer.add_error("x", "x.png", "an error")
    (path,) = (tmp_path / "out").rglob("x.json")
    path.write_bytes(record.encode("utf-8", "surrogatepass"))
    assert not writer.is_done("x", writer.records.input_digest("x.png"))
    assert writer.finish(["x"])["images"] == []
    CASES["damaged records left out"] += 1


GOOD = {
    "schema_version": 2,
    "runs": [run_info("explain", "A: 1", "GradCAM", 0)],
    "images": [
        {"name": "x", "file": "x.png", "height": 9, "width": 9, "seconds": {}, "warnings": []}
    ],
    "detections": [
        {
            "image": "x",
            "index": 0,
            "class_id": 0,
            "class_name": "dog",
            "score": 0.5,
            "box": [0, 0, 5, 5],
            "method": "GradCAM",
            "explained": True,
            "num_matched": None,
            "num_samples": None,
            "peaks": [1.0, 1.0, None, 1.0, 1.0],
            "flags": [],
            "metrics": {"deletion": None},
        }
    ],
}


@st.composite
def altered(draw, content):
    """JSON with one of its values replaced or left out."""
    content, part = copy.deepcopy(content), None
    places = [(content, key) for key in content]
    for part, key in places:
        inner = part[key]
        if isinstance(inner, (dict, list)):
            places += [
                (inner, k) for k in (inner if isinstance(inner, dict) else range(len(inner)))
            ]
    part, key = draw(st.sampled_from(places))
    if draw(st.booleans()):
        part[key] = draw(value)
    else:
        del part[key]
    return content


@fuzz(short=100, long=5000)
@given(content=altered(GOOD))
def test_results_of_another_shape(tmp_path, content):
    """A report is written, or one line names the file."""
    (tmp_path / "results.json").write_text(json.dumps(content))
    try:
        write_report(tmp_path)
        CASES["results of another shape with a report"] += 1
    except ResultsError as e:
        assert is_one_line(e) and str(tmp_path / "results.json") in str(e)
        CASES["results of another shape with an error"] += 1


@fuzz(short=100, long=5000)
@given(data=st.data())
def test_records_of_another_shape(tmp_path, data):
    """A record of this run is used, or as if it were not there."""
    run = GOOD["runs"][0]
    record = {"image": GOOD["images"][0], "detections": GOOD["detections"], "files": {}}
    error = {"error": {"name": "x", "file": "x", "methods": ["GradCAM"], "error": "no"}}
    writer = ResultsWriter(tmp_path, run)
    content = data.draw(st.one_of(altered(record), altered(error)))
    path = tmp_path / "records" / "GradCAM" / "x.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, "run": run["digest"], "digest": "d"}))
    writer.finish(["x"])
    CASES["records of another shape"] += 1
