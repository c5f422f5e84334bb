"""Visitors' pictures and maps have a limit in memory."""

import gc

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from d2_saliency.structures import SaliencyMaps

pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[web]'")

KB = 1000


@pytest.fixture
def shelf():
    from d2_saliency.app.shelf import Shelf

    return Shelf(limit=100 * KB)


def session(size):
    from d2_saliency.app.session import Session

    return Session("x.png", np.zeros((size // 3, 1, 3), np.uint8))


def explained(maps_size):
    found = Instances((10, 10))
    found.pred_boxes = Boxes(torch.zeros(1, 4))
    maps = torch.zeros(1, 5, maps_size // 20, 1)
    found.pred_saliency = SaliencyMaps.full_image(maps, (10, 10))
    return found


def kept(*sessions):
    return [not s.put_away and s.image.size > 0 for s in sessions]


def test_the_one_that_was_used_longest_ago_is_put_away(shelf):
    one, two, three = (shelf.put(session(30 * KB)) for _ in range(3))
    with shelf.use(one):
        pass
    four = shelf.put(session(30 * KB))
    assert kept(one, two, three, four) == [True, False, True, True]
    with pytest.raises(ValueError, match="put away to make room.*: choose it again"):
        with shelf.use(two):
            pass
    assert shelf.size() == 90 * KB


def test_maps_count(shelf):
    one, two = (shelf.put(session(30 * KB)) for _ in range(2))
    with shelf.use(two):
        two.explained["a"] = explained(60 * KB)
    assert kept(one, two) == [False, True] and not one.explained


def test_what_is_in_use_stays(shelf):
    one = shelf.put(session(60 * KB))
    with shelf.use(one):
        two = shelf.put(session(60 * KB))
        assert kept(one, two) == [True, True]
    assert kept(one, two) == [True, False]  # two was used before one


def test_maps_of_one_visitor_alone(shelf):
    """The newest ones stay, and the picture."""
    one = shelf.put(session(30 * KB))
    with shelf.use(one):
        for key in "abc":
            one.explained[key] = explained(30 * KB)
    assert list(one.explained) == ["b", "c"] and kept(one) == [True]


def test_visitors_who_left_do_not_count(shelf):
    one = shelf.put(session(60 * KB))
    del one
    gc.collect()
    assert shelf.size() == 0


def test_put_away_pictures_are_told(tmp_path):
    """By whichever button."""
    import gradio as gr

    from d2_saliency.app.events import Events

    events = Events(tmp_path)
    events.shelf.limit = 0
    mine = events.open_bundled()
    events.open_bundled()
    name = next(iter(events.detectors))
    for press in (
        lambda: events.find(mine, name, None),
        lambda: events.show(mine, name, "ODAM", "no other", "score", 0, None),
        lambda: events.draw(mine, name, 0, None),
        lambda: events.click(mine, name, None),
        lambda: events.bundle(mine),
    ):
        with pytest.raises(gr.Error, match="choose it again"):
            press()
