"""Small configs that take all time or memory: one line, and soon."""

import time

import pytest
import yaml
from detectron2 import model_zoo
from detectron2.config import get_cfg

from d2_saliency.engine.config_files import ConfigError, merge_opts, merge_yaml
from d2_saliency.utils.yaml_limits import MAX_DEPTH, MAX_VALUES, YamlLimitError, check_yaml

N = 100_000


def repeated(nine_times):
    """Nine levels, each nine times the one before: 9 ** 9 values in 600 bytes."""
    first = f"a: &a {nine_times(['x'] * 9)}\n"
    return first + "".join(
        f"{name}: &{name} {nine_times([f'*{before}'] * 9)}\n"
        for before, name in zip("abcdefgh", "bcdefghi")
    )


def as_list(items):
    return f"[{', '.join(items)}]"


def as_map(items):
    return f"{{{', '.join(f'k{i}: {item}' for i, item in enumerate(items))}}}"


@pytest.mark.parametrize(
    "text, reason",
    [
        ("SEED: " + "-" * N + "1", "characters"),
        ("SEED: " + "-" * 9000 + "1", "cannot be read"),
        ("SEED: '" + "not " * 2400 + "1'", "cannot be read|does not fit"),
        ("SEED: '1" + "+1" * 4900 + "'", "cannot be read"),
        ("SEED: " + "~" * 9000 + "1", "cannot be read"),
        ("SEED: " + "(" * 9000, "does not fit"),
        ("SEED: 1" + ":1" * N, "characters"),
        ("SEED: " + "9" * 9000, "does not fit"),
        ("- " * N, f"{MAX_DEPTH} deep"),
        ("[" * N, f"{MAX_DEPTH} deep"),
        ("{" * N, f"{MAX_DEPTH} deep"),
        (repeated(as_list), f"{MAX_VALUES} values"),
        (repeated(as_map), f"{MAX_VALUES} values"),
        ("MODEL: {MASK_ON: &a [*a]}", "does not fit|cannot be read"),
        ("a: *b", "is not valid YAML"),
        ("SEED: [" + "1, " * (N + 2) + "]", f"{MAX_VALUES} values"),
    ],
)
@pytest.mark.parametrize("place", ["config", "base"])
def test_one_line_at_once(tmp_path, text, reason, place):
    (tmp_path / "base.yaml").write_text(text)
    (tmp_path / "x.yaml").write_text(text if place == "config" else "_BASE_: base.yaml\n")
    start = time.process_time()
    with pytest.raises(ConfigError, match=reason) as error:
        merge_yaml(get_cfg(), str(tmp_path / "x.yaml"), trusted=False)
    assert time.process_time() - start < 5 and "\n" not in str(error.value)
    assert "x.yaml" in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "value", ["-" * N + "1", "(" * N, "1" + "+1" * N, "[-" * 5000, "not " * 9000]
)
def test_options(value):
    with pytest.raises(ConfigError, match="^--opts: ") as error:
        merge_opts(get_cfg(), ["SEED", value])
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_values_are_counted_with_their_copies():
    """9 + 1 in a list, ten copies of it, and the names: by hand."""
    text = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\nb: [" + "*a, " * 9_998 + "]\n"
    check_yaml(text)
    with pytest.raises(YamlLimitError):
        check_yaml(text.replace("b: [", "b: [*a, "))
    with pytest.raises(yaml.YAMLError):
        check_yaml("a: [")


def test_configs_of_the_model_zoo_are_far_from_the_limits():
    path = model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml")
    check_yaml(get_cfg().dump())
    merge_yaml(get_cfg(), path, trusted=False)
