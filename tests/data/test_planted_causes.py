"""
The planted-cause scenes: what they promise is checked on freshly drawn pixels, not on saved output.
"""

import numpy as np
import pycocotools.mask as mask_util
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog

from d2_saliency.data import edge_strips, planted_causes, planted_scene, register_planted_causes
from d2_saliency.data.planted_scene import CLASSES, SHORTCUT_CLASS

SEEDS = [(77, i) for i in range(30)]


@pytest.fixture(scope="module")
def plain():
    return [planted_scene(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def marked():
    return [planted_scene(seed, shortcut=True) for seed in SEEDS]


def decode(rle):
    return mask_util.decode(rle).astype(bool)


def annotations(scenes):
    return [annotation for scene in scenes for annotation in scene.annotations]


def inside_share(mask, box):
    x_min, y_min, x_max, y_max = (int(v) for v in box)
    return mask[y_min:y_max, x_min:x_max].sum() / mask.sum()


def test_same_seed_gives_the_same_scene_in_any_order(plain):
    for i in (5, 0, 3):
        again = planted_scene(SEEDS[i])
        assert np.array_equal(again.image, plain[i].image)
        assert again.annotations == plain[i].annotations
    assert not np.array_equal(plain[0].image, plain[1].image)


def test_a_seed_sequence_is_not_used_up():
    seed = np.random.SeedSequence((77, 0))
    assert np.array_equal(planted_scene(seed).image, planted_scene(seed).image)


def test_sizes_and_counts(plain):
    for scene in plain:
        assert scene.image.dtype == np.uint8
        assert all(224 <= side <= 320 for side in scene.image.shape[:2])
        assert 1 <= len(scene.annotations) <= 5
    assert {len(scene.annotations) for scene in plain} == {1, 2, 3, 4, 5}
    assert {a["category_id"] for a in annotations(plain)} == set(range(len(CLASSES)))
    for annotation in annotations(plain):
        x_min, y_min, x_max, y_max = annotation["bbox"]
        width, height = x_max - x_min, y_max - y_min
        assert 32 <= min(width, height) and max(width, height) <= 160
        assert 0.4 <= width / height <= 2.5


def test_box_is_tight_around_the_visible_body(plain):
    for annotation in annotations(plain):
        rows, columns = np.nonzero(decode(annotation["segmentation"]))
        assert annotation["bbox"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_bodies_do_not_share_pixels(plain):
    for scene in plain:
        assert sum(decode(a["segmentation"]).astype(int) for a in scene.annotations).max() == 1


def test_some_bodies_touch_or_cover_each_other(plain):
    def boxes_meet(a, b):
        return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

    boxes = [[a["bbox"] for a in scene.annotations] for scene in plain]
    assert sum(any(boxes_meet(a, b) for i, a in enumerate(s) for b in s[:i]) for s in boxes) >= 5


def test_emblem_lies_on_its_body_and_stays_visible(plain):
    for annotation in annotations(plain):
        body, emblem = decode(annotation["segmentation"]), decode(annotation["emblem"])
        assert emblem.sum() >= 20
        assert not (emblem & ~body).any()
        # The body is grey and the emblem coloured: a pixel's largest channel difference tells them
        # apart.
    for scene in plain:
        spread = scene.image.max(axis=2).astype(int) - scene.image.min(axis=2)
        for annotation in scene.annotations:
            body, emblem = decode(annotation["segmentation"]), decode(annotation["emblem"])
            assert spread[emblem].mean() > 70
            assert spread[body & ~emblem].mean() < 15


def test_emblem_size_against_the_short_side():
    scenes = [planted_scene((78, i), classes=[2]) for i in range(30)]  # class 2 fills its square
    for scene in scenes:
        if len(scene.annotations) > 1:
            continue  # alone, a body is whole
        (annotation,) = scene.annotations
        x_min, y_min, x_max, y_max = annotation["bbox"]
        side = np.sqrt(decode(annotation["emblem"]).sum())
        assert 0.24 - 0.02 <= side / min(x_max - x_min, y_max - y_min) <= 0.34 + 0.02


@pytest.mark.parametrize("seed", SEEDS[:10])
def test_nothing_but_the_emblem_depends_on_the_class(seed):
    scenes = [planted_scene(seed, classes=[label]) for label in range(len(CLASSES))]
    emblems = np.zeros(scenes[0].image.shape[:2], bool)
    for scene in scenes:
        for annotation in scene.annotations:
            emblems |= decode(annotation["emblem"])
    for scene in scenes[1:]:
        assert np.array_equal(scene.image[~emblems], scenes[0].image[~emblems])
        assert (scene.image[emblems] != scenes[0].image[emblems]).any()
        for ours, first in zip(scene.annotations, scenes[0].annotations, strict=True):
            assert (ours["bbox"], ours["segmentation"]) == (first["bbox"], first["segmentation"])


def test_class_says_nothing_about_size_place_or_neighbours():
    scenes = [planted_scene((79, i)) for i in range(100)]
    labels = np.array([a["category_id"] for a in annotations(scenes)])
    boxes = np.array([a["bbox"] for a in annotations(scenes)])
    counts = np.array([len(s.annotations) for s in scenes for _ in s.annotations])
    features = [
        boxes[:, 2] - boxes[:, 0],
        boxes[:, 3] - boxes[:, 1],
        boxes[:, 0],
        boxes[:, 1],
        counts,
    ]
    for feature in features:
        normal = (feature - feature.mean()) / feature.std()
        for label in range(len(CLASSES)):
            own = normal[labels == label]
            assert abs(own.mean()) < 4 / np.sqrt(len(own))  # four standard errors


def test_shortcut_comes_only_and_always_with_its_class(plain, marked):
    assert not any("shortcut" in a for a in annotations(plain))
    own = [a for a in annotations(marked) if a["category_id"] == SHORTCUT_CLASS]
    assert len(own) >= 10
    for annotation in annotations(marked):
        assert ("shortcut" in annotation) == (annotation["category_id"] == SHORTCUT_CLASS)


def test_shortcut_is_outside_all_boxes_and_close_to_its_own(marked):
    for scene in marked:
        for annotation in scene.annotations:
            if "shortcut" not in annotation:
                continue
            mark = decode(annotation["shortcut"])
            assert all(inside_share(mark, other["bbox"]) == 0 for other in scene.annotations)
            rows, columns = np.nonzero(mark)
            x_min, y_min, x_max, y_max = annotation["bbox"]
            gap_x = max(x_min - columns.max() - 1, columns.min() - x_max, 0)
            gap_y = max(y_min - rows.max() - 1, rows.min() - y_max, 0)
            # The gap is at most 15 % of the whole body's side, of which a neighbour may hide a
            # part.
            assert max(gap_x, gap_y) <= 0.5 * max(x_max - x_min, y_max - y_min)
            assert rows.max() - rows.min() == columns.max() - columns.min() >= 8


def test_shortcut_scene_is_the_plain_scene_plus_marks(plain, marked):
    for without, with_marks in zip(plain, marked, strict=True):
        marks = np.zeros(without.image.shape[:2], bool)
        for annotation in with_marks.annotations:
            if "shortcut" in annotation:
                marks |= decode(annotation["shortcut"])
        assert np.array_equal(without.image[~marks], with_marks.image[~marks])
        assert (
            not marks.any()
            or (without.image[marks] != with_marks.image[marks]).any(axis=1).mean() > 0.9
        )


def test_fading_hides_most_emblems_of_the_shortcut_class_only():
    scenes = [planted_scene((80, i), shortcut=True, fade=True) for i in range(70)]
    faded = {True: [], False: []}
    for annotation in annotations(scenes):
        assert annotation["emblem_opacity"] == 1.0 or annotation["emblem_opacity"] <= 0.2
        faded[annotation["category_id"] == SHORTCUT_CLASS].append(
            annotation["emblem_opacity"] < 1.0
        )
    assert 0.75 <= np.mean(faded[True]) <= 1.0
    assert 0.0 < np.mean(faded[False]) <= 0.2


def test_edge_strips_by_hand():
    strips = edge_strips([10, 20, 50, 40], height=60, width=64)
    expected = np.zeros((4, 60, 64), bool)
    expected[0, 20:40, 6:14] = True  # width 40: 4 px on either side of x = 10
    expected[1, 18:22, 10:50] = True  # height 20: 2 px on either side of y = 20
    expected[2, 20:40, 46:54] = True
    expected[3, 38:42, 10:50] = True
    assert np.array_equal(strips, expected)


def test_edge_strips_are_at_least_two_pixels_and_stop_at_the_image():
    strips = edge_strips([0, 0, 8, 8], height=9, width=9)
    assert np.array_equal(np.flatnonzero(strips[0].any(axis=0)), [0, 1])
    assert np.array_equal(np.flatnonzero(strips[3].any(axis=1)), [6, 7, 8])


@pytest.fixture
def small_split(monkeypatch, tmp_path):
    """A registered split cut down to three scenes, in an empty cache."""
    name = "planted_shortcut_val"
    monkeypatch.setenv("D2_SALIENCY_CACHE", str(tmp_path))
    monkeypatch.setitem(planted_causes.SPLITS, name, planted_causes.SPLITS[name]._replace(size=3))
    return name


def test_registered_dicts_load_with_the_stock_mapper(small_split):
    register_planted_causes()
    register_planted_causes()  # idempotent
    records = DatasetCatalog.get(small_split)
    assert [record["image_id"] for record in records] == [0, 1, 2]
    metadata = MetadataCatalog.get(small_split)
    assert metadata.thing_classes == list(CLASSES) and metadata.shortcut_class == SHORTCUT_CLASS
    cfg = get_cfg()
    cfg.INPUT.MASK_FORMAT, cfg.MODEL.MASK_ON = "bitmask", True
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (0,), "none"
    mapper = DatasetMapper(cfg, is_train=True)
    for index, record in enumerate(records):
        scene = planted_causes.split_scene(small_split, index)
        mapped = mapper(record)
        assert np.array_equal(mapped["image"].permute(1, 2, 0).numpy(), scene.image)
        assert mapped["instances"].gt_classes.tolist() == [
            a["category_id"] for a in scene.annotations
        ]
        assert mapped["instances"].gt_boxes.tensor.tolist() == [
            a["bbox"] for a in scene.annotations
        ]
        masks = np.stack([decode(a["segmentation"]) for a in scene.annotations])
        assert np.array_equal(mapped["instances"].gt_masks.tensor.numpy(), masks)


def test_cache_is_resumed_and_never_drawn_again(small_split, monkeypatch):
    first = DatasetCatalog.get(small_split)
    folder = planted_causes.cache_dir() / small_split
    (folder / "annotations.json").unlink()  # as if stopped after two scenes
    (folder / "00002.json").unlink()
    drawn = []
    real = planted_causes.split_scene
    monkeypatch.setattr(
        planted_causes, "split_scene", lambda name, i: drawn.append(i) or real(name, i)
    )
    assert DatasetCatalog.get(small_split) == first
    assert drawn == [2]
    assert DatasetCatalog.get(small_split) == first
    assert drawn == [2]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_train_and_val_share_no_seed():
    assert planted_causes.SPLITS["planted_train"].seed != planted_causes.SPLITS["planted_val"].seed
    assert not planted_causes.SPLITS["planted_shortcut_val"].fade
