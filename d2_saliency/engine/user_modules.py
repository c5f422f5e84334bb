"""Runs modules of the user, which register data sets, architectures and methods."""

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType
from typing import Sequence, Tuple

from detectron2.config import CfgNode

from ..utils.digest import digest
from ..utils.text import one_line
from .config_files import ConfigError

LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def run_user_modules(names: Sequence[str], cfg: CfgNode) -> None:
    """
    Import modules, and let each add its keys to ``cfg``.

    Args:
        names: of modules ("my_package.register") or paths of files ("register.py"). The function
            ``add_config(cfg)`` of a module is called if there is one; "module:function" calls
            another one, which must be there. As for a Python program, modules are also looked up
            beside the file, or in the working directory.
        cfg: the config, before a file is merged into it.

    Raises:
        ConfigError: a module or function does not exist, or its code fails.
    """
    for name in names:
        where, function = _split(name)
        try:
            module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
            add_config = getattr(module, function or "add_config", None)
            if add_config is not None:
                add_config(cfg)
        except (Exception, SystemExit) as e:  # it is the user's code: it may raise anything
            raise ConfigError(
                f"--import {name}: {type(e).__name__}: {one_line(e)}{_place(e)}"
            ) from e
        if function and add_config is None:
            raise ConfigError(f"--import {name}: {where} has no function '{function}'.")


def _split(name: str) -> Tuple[str, str]:
    """Module and function of "module:function"; the path of a file may have a colon of its own."""
    where, _, function = name.rpartition(":")
    return (where, function) if where and function.isidentifier() else (name, "")


def _import_module(name: str) -> ModuleType:
    _search(Path.cwd())
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no such file: {str(path)!r}")
    path = path.resolve()
    _search(path.parent)
    # Two files register.py are two modules, and the same file runs once.
    name = f"{path.stem}_{digest(str(path))}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _search(folder: Path) -> None:
    """Let modules in ``folder`` be imported, now and later."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _place(error: BaseException) -> str:
    """The last line that was run of the user's own files, if any was."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((__file__, "<frozen", *LIBRARIES))
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
