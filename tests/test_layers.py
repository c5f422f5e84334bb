"""The plan of the house: imports go down from floor to floor, and never in a circle."""

import ast
from typing import Dict, Iterator, List, Set

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "d2_saliency"

# From the ground up. What is on a floor may import its own package and the floors below. Packages
# on the same floor do not know each other.
FLOORS = [
    ["keys", "methods", "structures", "version"],
    ["config", "utils"],
    ["data", "modeling"],
    ["checkpoint", "results", "testing"],
    ["evaluation", "visualization"],
    ["engine"],
    ["app"],
    ["cli"],
]
FLOOR_OF = {name: level for level, names in enumerate(FLOORS) for name in names}


def imports(path) -> Iterator[List[str]]:
    """Dotted names inside of d2_saliency, as lists of their parts, that a file imports anywhere."""
    package = ["d2_saliency", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1:] for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            if module[:1] == ["d2_saliency"]:
                yield from ([*module[1:], alias.name] for alias in node.names)


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "d2_saliency"


def file_of(parts: List[str]) -> str:
    """The file that a dotted name leads to: a module, a package, or the module with the name."""
    for path in (PACKAGE.joinpath(*parts), PACKAGE.joinpath(*parts[:-1])):
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return str(file.relative_to(PACKAGE))
    raise AssertionError(f"{'.'.join(parts)} is no module of d2_saliency")


FILES = {
    str(path.relative_to(PACKAGE)): sorted({file_of(parts) for parts in imports(path)})
    for path in sorted(PACKAGE.rglob("*.py"))
}


def unit(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("file", [f for f in FILES if f != "__init__.py"])
def test_imports_go_down(file):
    own = unit(file)
    for imported in FILES[file]:
        other = unit(imported)
        assert other == own or FLOOR_OF[other] < FLOOR_OF[own], f"{file} imports {imported}"


def test_no_circles():
    """Every file can be taken away after those that it imports."""
    left: Dict[str, Set[str]] = {file: set(used) - {file} for file, used in FILES.items()}
    while free := [file for file, used in left.items() if not used & left.keys()]:
        for file in free:
            del left[file]
    assert not left, f"circles among {sorted(left)}"


def test_every_part_has_a_floor():
    assert {unit(file) for file in FILES} - {"__init__"} <= FLOOR_OF.keys()


def test_one_builder_describes_a_run():
    """Only it calls run_info: with other arguments elsewhere, a run would not know itself again."""
    sources = [
        p for folder in ("d2_saliency", "demo", "tools") for p in (ROOT / folder).rglob("*.py")
    ]
    callers = [
        path.relative_to(ROOT).as_posix()
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "run_info"
    ]
    assert callers == ["d2_saliency/engine/methods.py"]
