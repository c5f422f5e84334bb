"""Records of images: written whole, read by the run that wrote them and by no other."""

import pytest

from d2_saliency.results.record_store import RecordStore, record_name
from d2_saliency.utils.files import OutputError


@pytest.fixture
def photo(tmp_path):
    (tmp_path / "a.jpg").write_text("a photo")
    return tmp_path / "a.jpg"


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path / "out", "ODAM", "run")


def test_where_records_are_and_who_reads_them(tmp_path, store):
    store.write("a", {"detections": [1]}, "d")
    assert (tmp_path / "out" / "records" / "ODAM" / "a.json").is_file()
    assert store.read("a") == {"run": "run", "digest": "d", "detections": [1]}
    assert RecordStore(tmp_path / "out", "ODAM", "run").finished("a", "d") == store.read("a")
    assert RecordStore(tmp_path / "out", "ODAM", "other").read("a") == {}
    assert RecordStore(tmp_path / "out", "GradCAM", "run").read("a") == {}


def test_finished_from_the_same_input_and_without_an_error(store):
    assert store.finished("a", "d") is None
    store.write("a", {"error": "damaged"})
    assert store.read("a")["error"] == "damaged" and store.finished("a", "") is None
    store.write("a", {"detections": []}, "d")
    assert store.finished("a", "d") and store.finished("a", "e") is None
    store.remove("a")
    store.remove("a")  # nothing there
    assert store.read("a") == {} and store.finished("a", "d") is None


def test_half_a_record_is_no_record(store):
    store.write("a", {"detections": []}, "d")
    (path,) = store.folder.iterdir()
    for content in (path.read_text()[:20], "[]", "3", '{"detections": []}', "[" * 100_000):
        path.write_text(content)
        assert store.read("a") == {} and store.finished("a", "d") is None


def test_an_input_is_the_run_the_file_and_what_else_is_known(tmp_path, store, photo):
    first = store.input_digest(photo)
    assert first == RecordStore(tmp_path, "other method", "run").input_digest(str(photo))
    assert len({first, store.input_digest(photo, "boxes"), store.input_digest(photo, "masks")}) == 3
    assert first != RecordStore(tmp_path, "ODAM", "another run").input_digest(photo)
    photo.write_text("A photo")  # of the same size
    assert first != store.input_digest(photo) != store.input_digest(tmp_path / "missing.jpg")


def test_names(tmp_path, store):
    assert store.names() == []
    RecordStore(tmp_path / "out", "ODAM", "other").write("b", {"error": ""})
    store.write("a", {"error": ""})
    (store.folder / ".c.1.tmp.json").touch()  # of a run that was killed
    assert store.names() == ["a", "b"]


def test_identifiers_as_file_names():
    assert [record_name(name) for name in (7, "a-B_9")] == ["7", "a-B_9"]
    names = [record_name(name) for name in ("a/b", "a_b", "a:b", "x" * 81, "x" * 82)]
    assert len(set(names)) == 5 and all(len(name) < 100 for name in names)
    assert not any("/" in name or ":" in name for name in names)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another output folder"):
        RecordStore(tmp_path / "file", "ODAM", "run").write("a", {})
