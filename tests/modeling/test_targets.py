import math

import pytest
import torch
from detectron2.structures import Instances

from d2_saliency.modeling.targets import instance_targets


def instances(**fields):
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    defaults = dict(
        class_logits=logits,
        class_probs=torch.tensor([[0.6, 0.2, 0.1]]),
        pred_classes=torch.tensor([0]),
        raw_boxes=torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
    )
    return Instances((10, 10), **{**defaults, **fields})


@pytest.mark.parametrize(
    "class_target, expected",
    [("score", 0.6), ("logit", 2.0), ("contrast", 2.0 - math.log(math.exp(1.0) + math.exp(0.0)))],
)
def test_hand_worked_values(class_target, expected):
    targets = instance_targets(instances(), class_target)
    torch.testing.assert_close(targets, torch.tensor([[expected, 1.0, 2.0, 3.0, 4.0]]))


def test_explains_another_class_on_request():
    other = instances(target_classes=torch.tensor([1]))
    assert instance_targets(other, "score")[0, 0].item() == pytest.approx(0.2)
    assert instance_targets(other, "logit")[0, 0].item() == pytest.approx(1.0)
    expected = 1.0 - math.log(math.exp(2.0) + math.exp(0.0))
    assert instance_targets(other, "contrast")[0, 0].item() == pytest.approx(expected)


def test_contrast_of_a_single_class_is_its_logit():
    single = instances(class_logits=torch.tensor([[2.0]]), class_probs=torch.tensor([[0.9]]))
    assert instance_targets(single, "contrast")[0, 0].item() == 2.0


def test_no_detections():
    empty = Instances(
        (10, 10),
        class_logits=torch.zeros(0, 3),
        class_probs=torch.zeros(0, 3),
        pred_classes=torch.zeros(0, dtype=torch.long),
        raw_boxes=torch.zeros(0, 4),
    )
    for class_target in ("score", "logit", "contrast"):
        assert instance_targets(empty, class_target).shape == (0, 5)


class TestScoreOnly:
    """Architectures that reveal nothing but the score of the predicted class."""

    found = Instances(
        (10, 10),
        scores=torch.tensor([0.8]),
        pred_classes=torch.tensor([1]),
        raw_boxes=torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
    )

    def test_score_and_log_odds(self):
        assert instance_targets(self.found, "score")[0, 0].item() == pytest.approx(0.8)
        assert instance_targets(self.found, "logit")[0, 0].item() == pytest.approx(
            math.log(0.8 / 0.2), rel=1e-5
        )

    def test_a_score_of_one_has_a_finite_logit(self):
        certain = Instances((10, 10), **{**self.found.get_fields(), "scores": torch.ones(1)})
        assert instance_targets(certain, "logit").isfinite().all()

    def test_says_what_is_not_available(self):
        with pytest.raises(ValueError, match="contrast.*use 'score' or 'logit'"):
            instance_targets(self.found, "contrast")
        other = Instances((10, 10), **self.found.get_fields(), target_classes=torch.tensor([0]))
        with pytest.raises(ValueError, match="TARGET_CLASS"):
            instance_targets(other, "score")


def test_unknown_target():
    with pytest.raises(ValueError, match="CLASS_TARGET is 'probability'.*score"):
        instance_targets(instances(), "probability")
