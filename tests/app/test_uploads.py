"""Files that visitors send: how many, how large, and who may take them."""

import http.client
import json
import socket
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

gr = pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[web]'")

SCENE = ROOT / "demo" / "images" / "planted_0007.png"
UPLOAD = "/gradio_api/upload"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """(events, address) of the whole app."""
    folder, patch = tmp_path_factory.mktemp("gradio"), pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(folder))
    from d2_saliency.app.events import Events
    from d2_saliency.app.page import build
    from d2_saliency.app.serve import launch

    events = Events(folder)
    page = build(events)
    launch(page, events.uploads, "127.0.0.1", None, prevent_thread_lock=True, quiet=True)
    yield events, ("127.0.0.1", page.server_port)
    page.close(verbose=False)
    patch.undo()


@pytest.fixture
def events(app):
    """Without uploads that wait."""
    events, _ = app
    for folder in list(events.uploads.waiting):
        events.uploads.remove(folder)
    return events


@pytest.fixture
def send(app):
    """Function: body -> (status, text) of an upload."""

    def post(body, path=UPLOAD, **headers):
        connection = http.client.HTTPConnection(*app[1], timeout=60)
        connection.request("POST", path, body, {**MULTIPART, **headers})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text

    return post


def form(*contents, name="a.png"):
    parts = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n%b\r\n'
        % (name.encode(), content)
        for content in contents
    )
    return b"".join(parts) + b"--x--\r\n"


def files(events):
    return [path for path in events.uploads.folder.rglob("*") if path.is_file()]


def test_an_upload_is_read_once_and_gone(events, send):
    status, text = send(form(SCENE.read_bytes(), name="../<b>my photo.png"))
    (path,) = json.loads(text)
    assert status == 200 and Path(path).read_bytes() == SCENE.read_bytes()
    session = events.upload(path)
    assert session.name == "bmy photo.png" and session.image.shape[2] == 3
    assert files(events) == [] and not list(events.uploads.folder.iterdir())
    with pytest.raises(gr.Error, match="Upload the photo again"):
        events.upload(path)


def test_the_same_file_of_two_visitors(events, send):
    """The one that is read first does not take the other's away."""
    one, other = (json.loads(send(form(SCENE.read_bytes()))[1])[0] for _ in range(2))
    events.upload(one)
    assert events.upload(other).name == "a.png"


def test_files_of_the_gallery_are_not_taken(app, events, tmp_path):
    """Nor others that the server keeps or could reach."""
    cached = [p for p in events.folder.rglob("planted_*.png")]
    assert len(cached) > 3  # the gallery's, which any visitor can see the addresses of
    mine = tmp_path / "mine.png"
    mine.write_bytes(SCENE.read_bytes())
    for path in (*cached, mine, events.uploads.folder / ".." / cached[0].name, SCENE):
        with pytest.raises(gr.Error, match="Upload the photo again"):
            events.upload(str(path))
    assert all(p.is_file() for p in (*cached, mine, SCENE))


def test_uploading_a_bundled_image_does_not_take_it_from_the_gallery(events, send):
    name = SCENE.name
    (cached,) = [p for p in events.folder.rglob(name)]
    (path,) = json.loads(send(form(SCENE.read_bytes(), name=name))[1])
    events.upload(path)
    assert cached.is_file()


def test_one_file_at_a_time(events, send):
    assert send(form(b"a", b"b"))[0] == 400
    assert send(form())[0] == 400 and send(b"nonsense")[0] == 400
    assert files(events) == []


def test_a_visitor_s_uploads_are_limited(events, send, monkeypatch):
    monkeypatch.setattr(events.uploads, "max_each", 2500)
    assert [send(form(bytes(1000)))[0] for _ in range(3)] == [200, 200, 429]
    assert len(files(events)) == 2
    # Others come through a proxy on this machine, which says who they are.
    assert send(form(bytes(1000)), **{"X-Forwarded-For": "10.0.0.1"})[0] == 200


def test_all_uploads_are_limited(events, send, monkeypatch):
    monkeypatch.setattr(events.uploads, "max_total", 2500)
    visitors = [{"X-Forwarded-For": f"10.0.0.{i}"} for i in range(3)]
    answers = [send(form(bytes(1000)), **visitor) for visitor in visitors]
    assert [status for status, _ in answers] == [200, 200, 429] and len(files(events)) == 2
    assert "try again in a few minutes" in answers[-1][1]
    events.uploads.remove(next(iter(events.uploads.waiting)))
    assert send(form(bytes(1000)), **visitors[2])[0] == 200


def test_uploads_that_nobody_reads_are_removed(events, send, monkeypatch):
    from d2_saliency.app import uploads

    send(form(bytes(1000)))
    later = uploads.time.monotonic() + uploads.MAX_AGE + 1
    monkeypatch.setattr(uploads.time, "monotonic", lambda: later)
    send(form(b"new"))
    assert [path.read_bytes() for path in files(events)] == [b"new"]


def test_a_connection_that_is_lost_leaves_nothing(app, events, send):
    with socket.create_connection(app[1]) as connection:
        head = f"POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
        head += f"Content-Type: {MULTIPART['Content-Type']}\r\n\r\n"
        connection.sendall(head.encode() + form(bytes(50_000))[:40_000])
    for _ in range(100):
        if not events.uploads.waiting:
            break
        time.sleep(0.05)
    assert not events.uploads.waiting and files(events) == []


def test_size_must_be_told(events, send):
    assert send(iter([form(b"a")]))[0] == 411  # in chunks
    assert send(iter([b"{}"]), "/gradio_api/queue/join")[0] == 411


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/x"])
def test_other_requests_are_small(send, path):
    assert send(b'"' + bytes(2**20) + b'"', path)[0] == 413
