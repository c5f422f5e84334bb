"""Griffe extension: Sphinx roles of docstrings (:class:`X`, :func:`.x`) become links or code."""

import re
from typing import Dict, Iterator

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`[.~]*([\w.]+)`")


class Roles(griffe.Extension):
    """Links lead to what the site documents; the rest is shown as code."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs) -> None:
        paths: Dict[str, str] = {}
        objects = list(_objects(pkg))
        for found in objects:
            paths.setdefault(found.name, found.path)
        for found in objects:
            if found.docstring:
                found.docstring.value = ROLE.sub(
                    lambda m: _link(m[1], paths), found.docstring.value
                )


def _objects(found: griffe.Object) -> Iterator[griffe.Object]:
    yield found
    for member in found.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _link(name: str, paths: Dict[str, str]) -> str:
    first, *rest = name.removeprefix("d2_saliency.").split(".")
    path = ".".join([paths.get(first, first), *rest])
    return f'<autoref optional identifier="{path}"><code>{name}</code></autoref>'
