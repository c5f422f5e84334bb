"""The list of methods that needs no torch, beside the registry that it fills."""

import sys
from inspect import getmodule

import d2_saliency.modeling.saliency_heads as heads
from d2_saliency.evaluation.reference_maps import REFERENCES as REFERENCE_HEADS
from d2_saliency.methods import METHODS, REFERENCES

OURS = {
    name: getmodule(head).__name__
    for name, head in heads.SALIENCY_HEAD_REGISTRY
    if getmodule(head).__name__.startswith(heads.__name__)
}


def test_every_method_is_listed_with_the_file_that_registers_it():
    assert {name: f"{heads.__name__}.{m.file}" for name, m in METHODS.items()} == OURS
    assert all(getattr(heads, name) is heads.SALIENCY_HEAD_REGISTRY.get(name) for name in METHODS)


def test_every_method_says_what_it_does_in_one_line():
    lines = [method.about for method in METHODS.values()]
    assert all(10 < len(line) <= 70 and "\n" not in line for line in lines)
    assert len(set(lines)) == len(lines)


def test_reference_maps_are_listed():
    assert tuple(REFERENCE_HEADS) == REFERENCES


def test_every_file_of_a_method_is_imported_because_it_is_listed():
    loaded = {name for name in sys.modules if name.startswith(f"{heads.__name__}.")}
    assert set(OURS.values()) <= loaded
