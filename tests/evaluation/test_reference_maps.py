"""Maps of known worth, on an object small enough to draw by hand."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from d2_saliency.data import edge_strips
from d2_saliency.evaluation.ground_truth import Truth
from d2_saliency.evaluation.reference_maps import REFERENCES, InvertedCause, Random, TrueCause

BOX = (10.0, 6, 30, 26)


def rle(rows, columns):
    mask = np.zeros((32, 40), dtype=np.uint8)
    mask[rows, columns] = 1
    return coco_mask.encode(np.asfortranarray(mask))


@pytest.fixture
def truth():
    body, emblem = rle(slice(6, 26), slice(10, 30)), rle(slice(15, 18), slice(20, 24))
    annotation = {
        "bbox": BOX,
        "bbox_mode": 0,
        "category_id": 0,
        "segmentation": body,
        "emblem": emblem,
    }
    return Truth(annotation, 32, 40)


def test_emblem_then_object_then_edges_then_nothing(truth):
    maps = TrueCause().reference(truth, 32, 40, 0)
    places = {"emblem": (16, 21), "body": (10, 25), "edge": (10, 31), "elsewhere": (1, 1)}
    values = {name: maps[0][place].item() for name, place in places.items()}
    assert values["emblem"] == 1 > values["body"] > values["edge"] > values["elsewhere"] == 0
    assert maps[0, 15:18, 20:24].sum() / maps[0].sum() > 0.95  # the others are nothing beside it
    assert np.array_equal(maps[1:].numpy().astype(bool), edge_strips(BOX, 32, 40))


def test_inverted_is_the_opposite_order(truth):
    cause, inverted = (head().reference(truth, 32, 40, 0) for head in (TrueCause, InvertedCause))
    torch.testing.assert_close(inverted, 1 - cause)


def test_random_has_a_seed_and_another_map_for_each_detection(truth):
    first, again, second = (Random(seed=3).reference(truth, 32, 40, i) for i in (0, 0, 1))
    assert (
        torch.equal(first, again)
        and not torch.equal(first, second)
        and 0 <= first.min() < first.max() <= 1
    )


@pytest.mark.parametrize("name", ["TrueCause", "InvertedCause"])
def test_without_an_object_constant_and_without_known_causes_refused(name, truth):
    head = REFERENCES[name]()
    assert head.reference(None, 32, 40, 0).unique().tolist() == [1]
    del truth.annotation["emblem"]
    with pytest.raises(
        ValueError, match=f"{name} needs scenes with known causes, such as planted_val"
    ):
        head.reference(truth, 32, 40, 0)
