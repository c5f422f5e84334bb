"""Stability and model randomisation: methods of which the answer is known."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from d2_saliency import explainable
from d2_saliency.evaluation import ExplainedImage, model_randomisation, stability
from d2_saliency.evaluation.sanity_checks import layers_by_run, randomisations, rank_correlation
from d2_saliency.modeling.saliency_heads import ODAM
from d2_saliency.modeling.saliency_heads.head import SaliencyHead
from d2_saliency.structures import SaliencyMaps
from d2_saliency.testing import ToyDetector
from tests.evaluation.lamp import explained_lamp, lamp_detector


class Brightness(SaliencyHead):
    """Explains nothing: all maps are the image's brightness."""

    def explain(self, detector, batched_input, clean):
        maps = (
            batched_input["image"]
            .float()
            .mean(0)
            .clamp(min=0)
            .expand(len(clean.instances[0]), 5, -1, -1)
        )
        return {"pred_saliency": SaliencyMaps.full_image(maps, maps.shape[-2:])}


def test_rank_correlation_is_scipy_s():
    rng = np.random.default_rng(0)
    a, b = rng.random((6, 7)), rng.integers(0, 3, (6, 7)).astype(float)  # b has ties
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    assert rank_correlation(a, -a) == pytest.approx(-1) and rank_correlation(
        a, np.exp(a)
    ) == pytest.approx(1)


def test_constant_maps():
    a, constant = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    assert rank_correlation(a, constant) == 0 and rank_correlation(constant, 0 * constant) == 1


class TestStability:
    def test_the_gradient_of_a_linear_model_does_not_change(self):
        # Up to a factor: the slope of the sigmoid.
        (values,) = stability(
            explained_lamp(lamp_detector(logit_per_pixel=1.0), torch.ones(4, 8), num_draws=3)
        )
        assert values == {"found": 1.0, "correlation": pytest.approx(1.0)}

    def test_a_detection_that_noise_hides(self):
        (values,) = stability(
            explained_lamp(lamp_detector(moves=-200.0), torch.ones(4, 8), noise=5.0, num_draws=3)
        )
        assert values["found"] < 1

    def test_maps_of_noise_are_unlike(self):
        model = explainable(ToyDetector.random(num_objects=1, height=40, width=40))
        model.saliency_head = Brightness(score_thresh=0.0)
        x = {"image": torch.full((3, 40, 40), 128.0)}
        x["image"][:, 0, 0], x["image"][:, 1, 1] = 0, 255  # noise is a share of the range
        with torch.no_grad():
            (result,) = model([x])
        (values,) = stability(ExplainedImage(model, x, result["instances"], [None]))
        assert values["found"] == 1 and abs(values["correlation"]) < 0.1

    def test_noise_passes_of_the_method_itself(self):
        model = lamp_detector(logit_per_pixel=1.0)
        image = explained_lamp(model, torch.ones(4, 8), num_draws=1)
        image.instances.num_matched, image.instances.num_samples = torch.tensor([[3], [4]])
        (values,) = stability(image)
        assert values["matched"] == 0.75 and np.isnan(values["correlation"])


class TestModelRandomisation:
    @pytest.fixture
    def explained(self, stock_detector, demo_image):
        model, x = explainable(stock_detector("faster_rcnn_planted")), demo_image(1)

        def explain(head):
            head.score_thresh, head.max_instances = 0.6, 2
            model.saliency_head = head
            with torch.no_grad():
                found = model([x])[0]["instances"]
            found = found[found.pred_saliency.explained]
            return ExplainedImage(model, x, found, [None] * len(found))

        return explain

    def test_a_method_that_ignores_the_model_is_found_out(self, explained):
        for values in model_randomisation(explained(Brightness())):
            assert values["class_correlation"] == values["box_correlation"] == pytest.approx(1)
            assert len(values["class_correlation_curve"]) == 7

    def test_a_method_that_explains_the_model_changes_and_the_model_does_not(self, explained):
        image = explained(ODAM())
        before = {name: value.clone() for name, value in image.model.state_dict().items()}
        records = model_randomisation(image)
        assert len(records) == 2
        for values in records:
            assert (
                values["class_correlation_curve"][0] == 1 and abs(values["class_correlation"]) < 0.9
            )
        assert all(
            torch.equal(value, before[name]) for name, value in image.model.state_dict().items()
        )

    def test_layers_from_the_top(self, explained):
        image = explained(ODAM())
        names = layers_by_run(image.model, image.batched_input)
        assert names[0].startswith("backbone.bottom_up.stem") and "box_predictor" in names[-1]
        assert not any(module._forward_hooks for module in image.model.modules())

    def test_each_stage_redraws_weights_of_the_same_spread(self):
        model = torch.nn.Sequential(torch.nn.Linear(50, 40), torch.nn.Linear(40, 1))
        model.run = lambda inputs: model(inputs[0]["image"])
        first, last = (model[k].weight.clone() for k in (0, 1))
        stages = randomisations(model, {"image": torch.rand(50)})
        assert (
            next(stages) == ["1"]
            and torch.equal(model[0].weight, first)
            and not torch.equal(model[1].weight, last)
        )
        assert next(stages) == ["0"] and model[0].weight.std().item() == pytest.approx(
            first.std().item(), rel=0.1
        )
        assert next(stages, None) is None

    def test_an_unknown_architecture_is_refused(self):
        with pytest.raises(ValueError, match="leave it out of the metrics"):
            model_randomisation(explained_lamp(lamp_detector(), torch.ones(4, 8)))
