"""Average drop: scores worked out by hand."""

import math

import pytest
import torch

from d2_saliency.evaluation import average_drop
from d2_saliency.evaluation.average_drop import drop_and_increase, explanation_image
from tests.evaluation.lamp import HEIGHT, LAMP, WIDTH, explained_lamp, lamp_detector


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def lamp_map(value):
    """The lamp has ``value`` of the map's maximum, which lies elsewhere."""
    m = torch.zeros(HEIGHT, WIDTH)
    m[0, 0], m[LAMP] = 2.0, 2.0 * value
    return m


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
def test_the_image_is_multiplied_by_the_map_over_its_maximum(share):
    # Lit, the logit is 4; at a share of the light it is that share of 4.
    (values,) = average_drop(explained_lamp(lamp_detector(logit_per_pixel=1.0), lamp_map(share)))
    expected = 100 * (sigmoid(4) - sigmoid(4 * share)) / sigmoid(4)
    assert values == {"drop": pytest.approx(expected, abs=1e-4), "increase": 0.0}


def test_a_detection_that_goes_loses_all():
    (values,) = average_drop(explained_lamp(lamp_detector(), lamp_map(0.0)))
    assert values == {"drop": 100.0, "increase": 0.0}


def test_hiding_what_speaks_against_the_object_is_an_increase():
    model = lamp_detector(logit_per_pixel=1.0)
    with torch.no_grad():
        model.class_weights[0, :, 3, 7] = -1 / (3 * 255)
    image = torch.zeros(3, HEIGHT, WIDTH)
    image[:, LAMP[0], LAMP[1]] = image[:, 3, 7] = 255
    (values,) = average_drop(explained_lamp(model, lamp_map(1.0), image))
    assert values == {"drop": 0.0, "increase": 100.0}


def test_constant_map_shows_all_and_map_of_zeros_nothing():
    image = torch.rand(3, 4, 5)
    assert torch.equal(explanation_image(image, torch.full((4, 5), 3.0)), image)
    assert not explanation_image(image, torch.zeros(4, 5)).any()


def test_drop_and_increase():
    assert drop_and_increase(0.8, 0.6) == (pytest.approx(25.0), 0.0)
    assert drop_and_increase(0.5, 0.5) == (0.0, 0.0)
    assert drop_and_increase(0.5, 0.6) == (0.0, 100.0)
