"""Refuses small YAML files that would take all time or memory once they are read."""

from typing import Dict, List, Optional

import yaml

MAX_DEPTH = 100  # of lists and maps in each other
MAX_VALUES = 100_000  # once each alias (*name) is as many values as what it stands for
MAX_LENGTH = 10_000  # characters of a value; 1:1:1:... is a number, in quadratic time


class YamlLimitError(ValueError):
    """YAML that is too much; the message is the end of a sentence about the file."""


def check_yaml(text: str) -> None:
    """
    Go through the events of YAML, before anything is built of it.

    Raises:
        YamlLimitError: it is beyond a limit above.
        yaml.YAMLError: it is not valid.
    """
    counts = [0]  # values in the document, and in each list or map around an event
    anchors: List[Optional[str]] = []  # of these lists and maps
    sizes: Dict[str, int] = {}  # of what has an anchor
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            counts.append(1)
            anchors.append(event.anchor)
            if len(counts) > MAX_DEPTH:
                raise YamlLimitError(f"has lists and maps more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            size = counts.pop()
            _add(counts, size, anchors.pop(), sizes)
        elif isinstance(event, yaml.AliasEvent):
            _add(counts, sizes.get(event.anchor, 1), None, sizes)
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MAX_LENGTH:
                raise YamlLimitError(f"has a value of more than {MAX_LENGTH} characters")
            _add(counts, 1, event.anchor, sizes)


def _add(counts: List[int], size: int, anchor: Optional[str], sizes: Dict[str, int]) -> None:
    counts[-1] += size
    if anchor is not None:
        sizes[anchor] = size
    if counts[-1] > MAX_VALUES:
        raise YamlLimitError(f"has more than {MAX_VALUES} values, with those that it repeats")
