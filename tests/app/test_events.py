"""Presses the web app's buttons without a browser."""

from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[web]'")

ME, OTHER = SimpleNamespace(session_hash="me"), SimpleNamespace(session_hash="other")


@pytest.fixture
def app_events():
    from d2_saliency.app import events

    return events


def test_cancel_ends_the_work_of_one_visitor(app_events, tmp_path):
    events, shown = app_events.Events(tmp_path), []
    mine, theirs = (
        events.watch(who, lambda count, unit: shown.append((count, unit))) for who in (ME, OTHER)
    )
    mine("ODAM")
    theirs("GradCAM")
    events.cancel(ME)
    with pytest.raises(app_events.Cancelled):
        mine("GradCAM")  # also when it was between two methods
    theirs("GradCAM")
    events.watch(ME, lambda *args, **kwargs: None)("ODAM")  # what is asked for next
    assert shown[:2] == [
        ((1, None), "passes of the model (ODAM)"),
        ((1, None), "passes of the model (GradCAM)"),
    ]


def test_progress_is_not_sent_at_every_pass(app_events, tmp_path, monkeypatch):
    now, shown = [0.0], []
    monkeypatch.setattr(app_events, "time", SimpleNamespace(monotonic=lambda: now[0]))
    on_pass = app_events.Events(tmp_path).watch(ME, lambda count, unit: shown.append(count[0]))
    for _ in range(100):  # a second
        on_pass("ODSmoothGrad")
        now[0] += 0.01
    assert shown[0] == 1 and 4 <= len(shown) <= 5 and shown == sorted(shown)


def test_leaving_cancels(app_events, tmp_path):
    events = app_events.Events(tmp_path)
    on_pass = events.watch(ME, lambda *args, **kwargs: None)
    events.leave(ME)
    events.leave(ME)  # twice is as once
    with pytest.raises(app_events.Cancelled):
        on_pass("ODAM")
    assert not events.jobs
