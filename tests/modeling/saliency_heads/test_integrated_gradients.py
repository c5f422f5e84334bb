import pytest
import torch

from d2_saliency import explainable
from d2_saliency.modeling.saliency_heads import integrated_gradients
from d2_saliency.modeling.saliency_heads.integrated_gradients import (
    IntegratedGradients,
    baseline_image,
)
from d2_saliency.testing import ToyDetector


@pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
def test_attributions_sum_to_the_change_of_the_output(
    stock_detector, demo_image, monkeypatch, name
):
    """
    Completeness (Proposition 1 of the paper): sum of attributions = Y(x) - Y(baseline).

    From a baseline near the image, because a detector has so many kinks on the way from a blurred
    one that hundreds of steps are needed until the sum is that of the integral.
    """
    monkeypatch.setattr(
        integrated_gradients, "baseline_image", lambda image, baseline: 0.95 * image
    )
    model = explainable(stock_detector(name))
    image = demo_image(1)["image"][:, :160, :160].contiguous()
    head = IntegratedGradients(num_steps=40, class_target="logit")
    with torch.no_grad():
        clean = model.run([{"image": image}])
        clean.instances = [clean.instances[0][:1]]
        end, start = (
            model.outputs(model.run([{"image": t * image}], clean.instances))[0]
            for t in (1.0, 0.95)
        )
    attributions = head.attributions(model, {"image": image}, clean)
    c = int(clean.instances[0].pred_classes[0])
    change = end.raw_boxes[0] - start.raw_boxes[0]
    change = torch.cat([(end.class_logits - start.class_logits)[0, c : c + 1], change])
    error = (attributions[0].sum((1, 2, 3)) - change).abs()
    assert error.max() <= 0.05 * change.abs().max()


def test_black_baseline_of_a_linear_output_is_exact():
    """For a linear output one step gives weight * pixel."""
    toy = ToyDetector.random()
    model = explainable(toy)
    type(model).knows_provenance = True  # the toy's objects are where they are, whatever the image
    image = torch.rand(3, 24, 32) * 255
    with torch.no_grad():
        clean = model.run([{"image": image}])
    toy.score_thresh = model.score_thresh = 0.0
    head = IntegratedGradients(num_steps=1, baseline="black")
    model.run = lambda inputs, instances=None: _in_class_order(
        type(model).run(model, inputs), clean.instances
    )
    attributions = head.attributions(model, {"image": image}, clean)
    for i, c in enumerate(clean.instances[0].pred_classes.tolist()):
        expected = toy.box_weights[c].detach() * image
        torch.testing.assert_close(attributions[i, 1:], expected, rtol=1e-4, atol=1e-5)


def _in_class_order(forward_pass, reference):
    """The toy sorts by score, which changes on the way to the baseline."""
    found = forward_pass.instances[0]
    order = [int((found.pred_classes == c).nonzero()) for c in reference[0].pred_classes]
    forward_pass.instances = [found[torch.tensor(order)]]
    return forward_pass


def test_baselines():
    image = torch.rand(3, 30, 40) * 255
    assert baseline_image(image, "black").abs().max() == 0
    blurred = baseline_image(image, "blur")
    assert blurred.shape == image.shape and blurred.std() < 0.2 * image.std()
    assert blurred.mean().item() == pytest.approx(image.mean().item(), rel=0.05)
    assert baseline_image(torch.rand(3, 1, 1), "blur").shape == (3, 1, 1)


def test_unknown_architectures_are_refused():
    model = explainable(ToyDetector.random())
    model.saliency_head = IntegratedGradients(score_thresh=0.0)
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match="follows a detection's proposal or anchor"),
    ):
        model([{"image": torch.rand(3, 24, 32)}])


def test_bad_options():
    with pytest.raises(ValueError, match="BASELINE is 'white'"):
        IntegratedGradients(baseline="white")
    with pytest.raises(ValueError, match="NUM_STEPS is 0; choose a whole number from 1"):
        IntegratedGradients(num_steps=0)
