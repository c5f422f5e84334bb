"""Data sets that a command names: COCO files that nobody registered, and names of classes."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2_saliency.data.user_data_sets import (
    DatasetError,
    register_class_names,
    register_coco_json,
)


def content():
    """Two images; categories 7 and 3, in this order in the file."""
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in (5, 6)],
        "categories": [{"id": 7, "name": "bar"}, {"id": 3, "name": "disc"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 7, "bbox": [1, 2, 3, 4], "iscrowd": 0}
        ],
    }


@pytest.fixture
def save(tmp_path):
    """Function: content, name -> path of a JSON file. What is registered is forgotten after."""
    before = set(DatasetCatalog.list())

    def save(content, name="shapes_of_a_test.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content) if not isinstance(content, str) else content)
        return str(path)

    yield save
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_ids_with_gaps_are_classes_in_the_order_of_the_ids(save, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "6.png").touch()
    name = register_coco_json(save(content()), str(tmp_path / "pictures"))
    assert name == "shapes_of_a_test"
    assert MetadataCatalog.get(name).thing_classes == ["disc", "bar"]  # known before it is loaded
    first, second = DatasetCatalog.get(name)
    assert first["file_name"] == str(tmp_path / "pictures" / "5.png") and first["image_id"] == 5
    assert [a["category_id"] for a in first["annotations"]] == [1] and not second["annotations"]


def test_images_lie_beside_the_file_by_default(save, tmp_path):
    name = register_coco_json(save(content()))
    assert DatasetCatalog.get(name)[0]["file_name"] == str(tmp_path / "5.png")


def test_the_same_file_twice_and_another_file_of_the_same_name(save):
    path = save(content())
    assert register_coco_json(path) == register_coco_json(path) == "shapes_of_a_test"
    other = register_coco_json(save(content(), "elsewhere/shapes_of_a_test.json"))
    assert other.startswith("shapes_of_a_test_") and other == register_coco_json(
        save(content(), "elsewhere/shapes_of_a_test.json")
    )
    taken = register_coco_json(save(content(), "planted_val.json"))
    assert taken.startswith("planted_val_") and len(DatasetCatalog.get(taken)) == 2


def test_images_without_annotations(save):
    images = content()
    del images["annotations"]
    assert len(DatasetCatalog.get(register_coco_json(save(images)))) == 2


def without(part, index, key):
    bad = content()
    del bad[part][index][key]
    return bad


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{", "is not valid JSON: Expecting property name"),
        ("[]", "is not in COCO's format: it is no object with 'images'."),
        ({"images": []}, "is not in COCO's format: it has no list 'categories'."),
        ({**content(), "categories": []}, "it has no list 'categories'."),
        ({**content(), "annotations": {}}, "it has no list 'annotations'."),
        ({**content(), "images": [3]}, "images[0] has no 'id'."),
        ({**content(), "images": content()["images"] * 2}, "has 2 images with the id"),
        (without("images", 1, "height"), "images[1] has no 'height'."),
        (without("categories", 0, "name"), "categories[0] has no 'name'."),
        (without("annotations", 0, "bbox"), "annotations[0] has no 'bbox'."),
    ],
)
def test_one_line_that_says_what_is_wrong(save, bad, message):
    path = save(bad)
    with pytest.raises(DatasetError) as error:
        register_coco_json(path)
    assert str(error.value).startswith(f"--coco-json {path!r} ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_not_there(save, tmp_path):
    with pytest.raises(DatasetError, match="^--coco-json 'no.json' cannot be read .No such file"):
        register_coco_json("no.json")
    with pytest.raises(DatasetError, match="^--image-root 'nowhere' is no folder: check the path"):
        register_coco_json(save(content()), "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="has none of the images of --coco-json, '5.png' for on"):
        register_coco_json(save(content()), str(tmp_path / "empty"))


def test_names_of_classes_alone():
    first, second = register_class_names(["cat", "dog"]), register_class_names(["dog", "cat"])
    assert MetadataCatalog.get(first).thing_classes == ["cat", "dog"]
    assert MetadataCatalog.get(second).thing_classes == ["dog", "cat"]
    assert register_class_names(("cat", "dog")) == first
