"""
Reads configs, YAML or lazy, from paths or model-zoo names, and says in one line why one cannot be
used.
"""

import io
import itertools
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, List, Optional, Tuple, Type

import yaml
from detectron2 import model_zoo
from detectron2.config import CfgNode, LazyConfig
from detectron2.utils.file_io import PathManager
from omegaconf import DictConfig, OmegaConf

from ..utils.bundled import bundled
from ..utils.downloads import DownloadError, Limits, fetched, is_address, resolve_dots
from ..utils.regular_files import read_regular
from ..utils.text import one_line
from ..utils.yaml_limits import YamlLimitError, check_yaml
from .unknown_keys import leave_out_unknown

logger = logging.getLogger(__name__)

MAX_CONFIG = 10**6  # bytes
BASE_LIMITS = Limits(MAX_CONFIG, max_seconds=60)
"""Of each _BASE_ from a server."""


class ConfigError(ValueError):
    """A config that cannot be used; the message is one line that says what to do."""


def find_config(name: str) -> Tuple[str, Optional[str]]:
    """
    Path of a config given as a path, a path in our repository (configs/...) or a model-zoo name,
    and its name if it is from Detectron2's model zoo.
    """
    zoo = Path(model_zoo.get_config_file("Base-RCNN-FPN.yaml")).resolve().parent
    candidates = [name, str(bundled(name)), str(zoo / name)]
    path = next(filter(os.path.isfile, candidates), None)
    if path is None:
        raise ConfigError(
            f"There is no config '{name}', neither as a file nor in Detectron2's model zoo. Name a "
            ".yaml or .py file, "
            "or for example COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml."
        )
    real = Path(path).resolve()
    return path, real.relative_to(zoo).as_posix() if zoo in real.parents else None


def merge_yaml(cfg: CfgNode, path: str, trusted: bool, allow_unknown: bool = False) -> None:
    """
    Merge a YAML config into ``cfg``, without keys that nothing here reads.

    Args:
        trusted: allow tags that run code and a _BASE_ on a server, in the file and in each _BASE_.
        allow_unknown: also leave out unknown keys that may build the model, see
            :func:`leave_out_unknown`.

    Raises:
        ConfigError: neither is allowed but needed, or the config cannot be read or does not fit.
    """
    try:
        # After any error what was fetched is removed, so that a mended _BASE_ is fetched next time.
        with ExitStack() as downloads:
            reader = _reader(path, trusted, downloads)

            def load(filename: str, allow_unsafe: bool) -> Any:
                loaded = reader.load_yaml_with_base(filename, allow_unsafe)
                leave_out_unknown(loaded, cfg, path, allow_unknown)
                return loaded

            # On the instance: merge_from_file calls it, and gives what is read the class of cfg.
            vars(cfg)["load_yaml_with_base"] = load
            downloads.callback(vars(cfg).pop, "load_yaml_with_base")
            cfg.merge_from_file(path, allow_unsafe=trusted)
    except ConfigError:
        raise
    except yaml.constructor.ConstructorError as e:
        raise ConfigError(
            f"The config '{path}' (or its _BASE_) has a YAML tag that runs code ({e.problem}); if "
            "you trust it, allow "
            "that with --trust-config."
        ) from e
    except YamlLimitError as e:
        raise ConfigError(f"The config '{path}' or its _BASE_ {e}: no config needs that.") from e
    except FileNotFoundError as e:
        raise ConfigError(f"The config '{path}' needs '{e.filename}', which does not exist.") from e
    except (OSError, RecursionError, MemoryError) as e:  # of Python's parser, for some values
        raise ConfigError(
            f"The config '{path}' or its _BASE_ cannot be read, or leads back to itself: "
            f"{one_line(e)}"
        ) from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"The config '{path}' is not valid YAML: {one_line(e)}") from e
    except (KeyError, ValueError, AssertionError, AttributeError, TypeError) as e:
        raise ConfigError(
            f"The config '{path}' does not fit Detectron2 with d2_saliency's keys: "
            f"{_shortened(one_line(e))}"
        ) from e


def _reader(path: str, trusted: bool, downloads: ExitStack) -> Type[CfgNode]:
    """
    A CfgNode that reads files as Detectron2 does, except for those on servers, pipes, devices and
    those beyond our limits.

    Args:
        path: of the config that is to be read, for messages.
        trusted: allow files on servers.
        downloads: holds the files that were fetched, see :func:`fetched`.
    """

    class Reader(CfgNode):
        @classmethod
        def _open_cfg(cls, filename):  # of the config, and of each _BASE_
            at = local(filename) if is_address(filename) else PathManager.get_local_path(filename)
            text = read_regular(at, MAX_CONFIG).decode()
            check_yaml(text)
            return io.StringIO(text)

    def local(address: str) -> str:
        if not trusted:
            raise ConfigError(
                f"The config '{path}' needs {address!r}, which would be fetched from a server; if "
                "you "
                "trust both, allow that with --trust-config."
            )
        try:
            return str(downloads.enter_context(fetched(resolve_dots(address), BASE_LIMITS)))
        except DownloadError as e:
            raise ConfigError(
                f"The config '{path}' needs {address!r}, which cannot be fetched ({e}). Download "
                "it "
                "by other means and name the file in _BASE_."
            ) from e

    return Reader


def _shortened(message: str) -> str:
    """The message of a library that quotes a value, however long."""
    return message if len(message) <= 500 else f"{message[:250]} ... {message[-250:]}"


def check_opts(opts: List[str]) -> None:
    """Raise ConfigError if there are options of the command line among the words of --opts."""
    misplaced = [word for word in opts if word.startswith("--")]
    if misplaced:
        raise ConfigError(
            f"--opts takes all words up to the end of the command: put {misplaced[0]} before "
            "--opts."
        )


def merge_opts(cfg: CfgNode, opts: List[str]) -> None:
    """Merge the words KEY VALUE KEY VALUE ... into ``cfg``."""
    if len(opts) % 2:
        raise ConfigError(
            f"--opts takes pairs of KEY VALUE, got {len(opts)} words: {' '.join(opts)}"
        )
    try:
        cfg.merge_from_list(opts)
    except (MemoryError, RecursionError) as e:  # of Python's parser
        raise ConfigError("--opts: a value has too many signs or brackets in each other.") from e
    except (KeyError, ValueError, AssertionError) as e:
        raise ConfigError(
            f"--opts: {_shortened(one_line(e))}. Keys are those of Detectron2's config, "
            "MODEL.SALIENCY_HEAD.* and TEST.SALIENCY.*"
        ) from e


def split_opts(opts: List[str]) -> Tuple[List[str], List[str]]:
    """
    Pairs KEY VALUE of our keys (MODEL.*, TEST.*; also KEY=VALUE), and the words key=value for a
    lazy config.
    """
    ours, lazy = [], []
    words = iter(opts)
    for word in words:
        if word.startswith(("MODEL.", "TEST.")):
            key, equals, value = word.partition("=")
            ours += [key, value] if equals else [key, *itertools.islice(words, 1)]
        else:
            lazy.append(word)
    return ours, lazy


def load_lazy(path: str, opts: List[str], trusted: bool) -> DictConfig:
    """Run a lazy config, if it is trusted, and override its keys with the words key=value."""
    if not trusted:
        raise ConfigError(
            f"The lazy config '{path}' is Python code, which opening it would run; if you trust "
            "it, allow that with "
            "--trust-config."
        )
    try:
        cfg = LazyConfig.load(path)
    except Exception as e:  # it is code: it may raise anything
        raise ConfigError(
            f"The lazy config '{path}' fails with {type(e).__name__}: {one_line(e)}"
        ) from e
    missing = [key for key in ("model", "dataloader", "train") if key not in cfg]
    if missing:
        raise ConfigError(
            f"The lazy config '{path}' does not define {', '.join(missing)}, so there is nothing "
            "to run."
        )
    for key in (word.partition("=")[0] for word in opts):
        if not key.startswith("+") and not _has_key(cfg, key.lstrip("~")):
            raise ConfigError(
                f"--opts: the lazy config has no key '{key}'; to add it, write +{key}=VALUE."
            )
    try:
        return LazyConfig.apply_overrides(cfg, opts)
    except Exception as e:  # of Hydra, OmegaConf or Detectron2
        raise ConfigError(
            f"--opts: {one_line(e)}. A lazy config takes its own keys as key=value, and "
            "MODEL.SALIENCY_HEAD.* VALUE."
        ) from e


def _has_key(cfg: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return leaf in node if isinstance(node, DictConfig) else node is not None


def zoo_weights(zoo_name: str) -> Optional[str]:
    """
    Address of the trained weights of a model-zoo config; its own MODEL.WEIGHTS is only where
    training starts.
    """
    try:
        return model_zoo.get_checkpoint_url(zoo_name)
    except RuntimeError:
        return None
