"""Comparisons of methods by hand, and what becomes of them on the page."""

import math
import re

import numpy as np
import pytest

from d2_saliency.evaluation.comparison import (
    compare,
    comparison_text,
    shared_detections,
    win_percentages,
)
from d2_saliency.evaluation.metrics_page import write_metrics_page
from d2_saliency.evaluation.summary import as_json, as_results, markdown_table, summarise


def record(image_id, *detections):
    """Detections as (index, drop, hit); None: not defined."""
    return {
        "image_id": image_id,
        "detections": [
            {
                "index": index,
                "class_id": 1,
                "score": 0.9,
                "matched": hit is not None,
                "empty_map": False,
                "metrics": {
                    "average_drop": {"drop": drop, "increase": 0.0},
                    "pointing_game": {"hit": hit, "energy": hit},
                },
            }
            for index, drop, hit in detections
        ],
    }


@pytest.fixture
def records():
    return {
        "A": [
            record(7, (0, 10.0, 1.0), (2, 30.0, None)),
            record(8, (0, 50.0, 0.0)),
            record(9, (1, 0.0, 1.0)),
        ],
        "B": [
            record(7, (2, 20.0, None), (0, 15.0, 0.0)),
            record(8, (0, 50.0, 0.0)),
            {"image_id": 9, "error": "no"},
        ],
    }


def test_detections_are_paired_by_image_and_index(records):
    shared = shared_detections(records)
    drops = {
        m: [d["metrics"]["average_drop"]["drop"] for d in found] for m, found in shared.items()
    }
    assert drops == {"A": [10, 30, 50], "B": [15, 20, 50]}


def test_differences_are_paired(records):
    drop = compare(records, ["average_drop"], "A")["average_drop"]["drop"]
    assert drop["A"].mean.mean == 30 and drop["B"].mean.mean == pytest.approx(85 / 3)
    assert drop["A"].difference == (0, 0, 0, 3)
    assert (
        drop["B"].difference.mean == pytest.approx((5 - 10 + 0) / 3)
        and drop["B"].difference.count == 3
    )


def test_what_is_not_defined_has_no_difference(records):
    hit = compare(records, ["pointing_game"], "A")["pointing_game"]["hit"]
    assert hit["B"].difference == pytest.approx((-0.5, -1, 0, 2))


def test_wins_are_shared_by_equal_drops():
    wins = win_percentages(
        {"A": np.array([1.0, 5, 3]), "B": np.array([2.0, 5, 3]), "C": np.array([3.0, 5, 4])}
    )
    assert wins["A"] == pytest.approx([100, 100 / 3, 50]) and wins["B"] == pytest.approx(
        [0, 100 / 3, 50]
    )
    assert sum(w[1] for w in wins.values()) == pytest.approx(100)


def test_text(records):
    text = comparison_text(records, compare(records, ["average_drop"], "A"), "A", "photos")
    assert (
        text.startswith("# Saliency methods on photos\n\n3 images, 3 detections")
        and "| drop ↓ " in text
    )
    assert "| difference from A | drop ↓" in text and "| increase ↑ | win ↑ " in text


def test_page_of_one_and_of_several_methods(records, tmp_path):
    for chosen in (records, {"A": records["A"]}):
        write_metrics_page(
            tmp_path / "metrics.html", "photos <b>", chosen, ["pointing_game", "average_drop"]
        )
        page = (tmp_path / "metrics.html").read_text()
        assert "photos &lt;b&gt;" in page and page.count("<img") == 2
        assert (
            "The class score of a detection in its explanation image" in page
            and ":func:" not in page
        )
        assert ("difference from A" in page) == (len(chosen) > 1)


def test_page_lists_each_detection_with_every_method(records, tmp_path, monkeypatch):
    write_metrics_page(
        tmp_path / "metrics.html", "photos <b>", records, ["average_drop", "pointing_game"]
    )
    page = (tmp_path / "metrics.html").read_text()
    tables = re.findall(r'<table class="each">(.*?)</table>', page, re.DOTALL)
    rows = [
        [re.split("<td>", row)[1:] for row in table.strip().splitlines() if "<td>" in row]
        for table in tables
    ]
    assert rows[0] == [
        ["7 #0: class 1 90%", "A", "10", "0"],
        ["", "B", "15", "0"],
        ["7 #2: class 1 90%", "A", "30", "0"],
        ["", "B", "20", "0"],
        ["8 #0: class 1 90%", "A", "50", "0"],
        ["", "B", "50", "0"],
    ]
    assert rows[1][2] == ["7 #2: class 1 90%", "A", "–", "–"]
    assert "(the first" not in page
    monkeypatch.setattr("d2_saliency.evaluation.metrics_page.MAX_LISTED", 2)
    write_metrics_page(tmp_path / "metrics.html", "photos", records, ["average_drop"])
    page = (tmp_path / "metrics.html").read_text()
    assert page.count("class 1 90%") == 2 and "(the first 2 of 3; all are in records/)" in page


def test_nested_floats_for_detectron2(records):
    summary = summarise(records["A"], ["pointing_game"])
    results = as_results(records["A"], summary)
    assert (
        results["pointing_game"]["hit"] == pytest.approx(2 / 3)
        and results["pointing_game"]["hit-count"] == 3
    )
    assert results["saliency"] == {
        "images": 3,
        "failed": 0,
        "detections": 4,
        "matched": 3,
        "empty_maps": 0,
    }
    assert all(isinstance(v, float) for values in results.values() for v in values.values())


def test_json_has_null_where_there_is_no_number(records):
    empty = summarise([], ["pointing_game"])
    assert math.isnan(empty["pointing_game"]["hit"].mean)
    assert as_json(empty)["pointing_game"]["hit"] == {
        "mean": None,
        "low": None,
        "high": None,
        "count": 0,
    }


def test_table_is_markdown_in_aligned_columns():
    assert markdown_table(("a", "bcd"), [("long", "1"), ("x", "2")]).splitlines() == [
        "| a    | bcd |",
        "|------|-----|",
        "| long | 1   |",
        "| x    | 2   |",
    ]


def test_page_in_a_browser_is_whole_and_runs_no_script(records, tmp_path, browse):
    """Even if one should ever get into it."""
    path = tmp_path / "metrics.html"
    write_metrics_page(path, "photos", records, ["average_drop", "pointing_game"])
    evil = "<script>window.evil = 1</script><details open ontoggle='window.evil = 2'></details>"
    path.write_text(path.read_text().replace("<h1>", evil + "<h1>", 1))
    page = browse()
    page.goto(path.as_uri())
    refused = [text for text in browse.troubles if "Content Security Policy" in text]
    assert page.evaluate("window.evil") is None
    assert len(refused) == 2 and browse.troubles == refused
    browse.troubles.clear()
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 2 and min(widths) > 100
    assert page.evaluate("getComputedStyle(document.body).fontSize") == "15px"
