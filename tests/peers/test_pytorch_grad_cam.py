"""
GradCAM, GradCAMPlusPlus and LayerCAM against pytorch-grad-cam, and where that peer departs from its
papers:

- Its Grad-CAM++ adds 1e-6 to a denominator of the size of g^2, so its map depends on the units of
  the features.
- Its Grad-CAM++ keeps denominators that are negative (some are where features are), and weights
  then have the wrong sign or no bound. Ours sets alpha to 0 there.
- It subtracts each map's minimum and divides by the maximum, twice: a constant map looks like no
  map at all, and rounding noise like a full one.

Its Grad-CAM and LayerCAM are those of the papers. Maps are compared as they are before the peer
scales them.
"""

import copy
from typing import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from d2_saliency import explainable
from d2_saliency.modeling.saliency_heads import GradCAM, GradCAMPlusPlus, LayerCAM
from d2_saliency.modeling.saliency_heads.evidence import Evidence
from d2_saliency.testing import ToyDetector
from tests.modeling import naive

peer = pytest.importorskip(
    "pytorch_grad_cam", reason="pytorch-grad-cam is missing: pip install -e '.[peers]'"
)

METHODS = [GradCAM, GradCAMPlusPlus, LayerCAM]
RES4 = "backbone.bottom_up.res4"
UNIT = 2.0**16


class Explained(nn.Module):
    """
    A scalar of a model in the form that the peer explains: one output for each image of a batch.
    """

    def __init__(self, model: nn.Module, scalar: Callable[[Tensor], Tensor]):
        super().__init__()
        self.model, self.scalar = model, scalar

    def forward(self, images: Tensor):
        return [self.scalar(image) for image in images]


def peer_scaled_map(method, model, layer: str, scalar, image: Tensor) -> Tensor:
    """The peer's map of ``scalar(image)`` as it hands it out, (H, W) in 0..1."""
    image = image[None].clone().requires_grad_()  # the layer may be the image
    with getattr(peer, method.__name__)(
        Explained(model, scalar), [model.get_submodule(layer)]
    ) as cam:
        return torch.from_numpy(cam(image, [lambda output: output])[0])


def peer_map(*args) -> Tensor:
    """The same map as it is before it is scaled and resized, (h, w)."""
    with mock.patch("pytorch_grad_cam.base_cam.scale_cam_image", lambda cam, target_size=None: cam):
        return peer_scaled_map(*args)


def our_maps(method, detector, layer: str, image: Tensor, index: int, **options) -> Tensor:
    """The five maps of a detection, (5, h, w)."""
    model = explainable(detector)
    model.saliency_head = method(layer=layer, score_thresh=0.0, **options)
    with torch.no_grad():
        return model([{"image": image}])[0]["instances"].pred_saliency.maps[index]


def assert_equal_maps(ours: Tensor, expected: Tensor):
    # Float32, 6e-8 per operation: the gradients come from sums over whole layers in another order,
    # so that a small value has an error of the size of the large ones.
    assert expected.max() > 0
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * float(expected.max()))


class TestToyDetector:
    """
    All five outputs. Gradients to the layer are of the size of 100, so that the peer's 1e-6 does
    not show.
    """

    @pytest.fixture
    def toy(self):
        toy = ToyDetector.random()
        class_weights, box_weights = (
            1e3 * torch.randn_like(w) for w in (toy.class_weights, toy.box_weights)
        )
        return ToyDetector(toy.anchors, class_weights, box_weights).eval()

    @pytest.mark.parametrize("method", METHODS)
    def test_same_maps_of_all_outputs(self, toy, method):
        image = 1e-6 * torch.randn(3, 24, 32)
        with torch.no_grad():
            x0, y0, x1, y1 = toy([{"image": image}])[0]["instances"].pred_boxes.tensor[1]

        def score(image):
            return toy([{"image": image}])[0]["instances"].scores[1]

        maps = {
            s: our_maps(method, toy, "features", image, 1, coord_sign=s)
            for s in ("both", "positive", "negative")
        }
        assert_equal_maps(maps["both"][0], peer_map(method, toy, "features", score, image))
        for k, side in enumerate([x1 - x0, y1 - y0, x1 - x0, y1 - y0]):

            def coordinate(image, sign=1, k=k, side=side):
                return sign * toy([{"image": image}])[0]["instances"].pred_boxes.tensor[1, k] / side

            positive = peer_map(method, toy, "features", coordinate, image)
            negative = peer_map(method, toy, "features", lambda image: coordinate(image, -1), image)
            assert_equal_maps(maps["positive"][1 + k], positive)
            assert_equal_maps(maps["negative"][1 + k], negative)
            assert_equal_maps(maps["both"][1 + k], torch.maximum(positive, negative))


class TestDemoDetector:
    """
    A class logit of the bundled Faster R-CNN and the end of its res4, through box head, pooler, FPN
    and res5.
    """

    @pytest.fixture
    def detector(self, stock_detector):
        return copy.deepcopy(
            stock_detector("faster_rcnn_planted")
        )  # the peer leaves gradients on parameters

    @pytest.fixture
    def rescaled(self, detector):
        """
        The same function, bit by bit, whose res4 is in units 65536 times as large (a power of two).
        """
        rescaled = copy.deepcopy(detector)
        rescaled.get_submodule(RES4).register_forward_hook(
            lambda module, inputs, output: output / UNIT
        )
        for reader in ("backbone.bottom_up.res5", "backbone.fpn_lateral4"):
            rescaled.get_submodule(reader).register_forward_pre_hook(
                lambda module, inputs: inputs[0] * UNIT
            )
        return rescaled

    @pytest.fixture
    def image(self, demo_image):
        return demo_image(1)["image"]

    @staticmethod
    def logit(detector, image):
        """Function: image -> the class logit of its best detection."""
        with torch.no_grad():
            best = detector([{"image": image}])[0]["instances"][0]
        return lambda image: naive.class_logits(detector, image, best)[best.pred_classes[0]]

    @pytest.mark.parametrize("method", METHODS)
    def test_same_map(self, detector, rescaled, image, method):
        ours = our_maps(method, detector, RES4, image, 0, class_target="logit", max_instances=1)
        theirs = peer_map(method, rescaled, RES4, self.logit(rescaled, image), image)
        # Gradients 65536 times as large and activations as small give the same maps by the papers'
        # equations, and keep the peer's Grad-CAM++ from what the next test shows.
        assert_equal_maps(ours[0], theirs)

    def test_small_gradients_vanish_in_the_peers_denominator(self, detector, image):
        logit, recorded = self.logit(detector, image), []
        handle = detector.get_submodule(RES4).register_forward_hook(
            lambda module, inputs, out: recorded.append(out)
        )
        y = logit(image)
        handle.remove()
        (a,), (g,) = recorded[-1].detach(), torch.autograd.grad(y, recorded[-1])[0]

        def equation(eps):
            alpha = g**2 / (2 * g**2 + a.sum((1, 2), keepdim=True) * g**3 + eps)
            weights = torch.where(g == 0, 0, alpha * g.relu()).sum((1, 2))
            return (weights[:, None, None] * a).sum(0).relu()

        theirs = peer_map(GradCAMPlusPlus, detector, RES4, logit, image)
        assert_equal_maps(theirs, equation(1e-6))
        assert theirs.max() < 0.8 * equation(0).max()
        ours = our_maps(
            GradCAMPlusPlus, detector, RES4, image, 0, class_target="logit", max_instances=1
        )[0]
        assert_equal_maps(ours, equation(0))


class Linear(nn.Module):
    """``y = <g, A>`` of the layer A = x."""

    def __init__(self, gradient: Tensor):
        super().__init__()
        self.gradient = nn.Parameter(gradient)
        self.features = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        return (self.gradient * self.features(image[None])[0]).sum()


class TestByHand:
    """One channel of 2 x 2 cells."""

    @staticmethod
    def peers(method, a, g, scaled=False):
        model = Linear(torch.tensor([g]))
        return (peer_scaled_map if scaled else peer_map)(
            method, model, "features", model, torch.tensor([a])
        )

    @staticmethod
    def ours(method, a, g):
        a, g = torch.tensor([a]), torch.tensor([g])
        evidence = Evidence(a, a.sum((1, 2)), g.expand(5, 1, 2, 2), 0, 0, torch.ones(2, 2))
        return method()._signed_map(evidence)[0]

    def test_negative_denominators(self):
        # S = sum A = -6: alpha = 1 / (2 - 6) = -1/4, w = -1, map ReLU(-A) = 1.5, though y is the
        # lower for each A.
        a, g = [[-1.5, -1.5], [-1.5, -1.5]], [[1.0, 1.0], [1.0, 1.0]]
        torch.testing.assert_close(self.peers(GradCAMPlusPlus, a, g), torch.full((2, 2), 1.5))
        assert self.ours(GradCAMPlusPlus, a, g).max() == 0

    def test_denominators_of_zero(self):
        # S = -2: alpha = 1 / (2 - 2 + 1e-6), w = 4e6, the larger the smaller that constant
        a, g = [[-3.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]
        torch.testing.assert_close(
            self.peers(GradCAMPlusPlus, a, g), torch.tensor([[0.0, 4e6], [0.0, 0.0]])
        )
        assert self.ours(GradCAMPlusPlus, a, g).max() == 0

    def test_a_constant_map_is_scaled_away(self):
        a, g = [[3.0, 3.0], [3.0, 3.0]], [[0.5, 0.5], [0.5, 0.5]]
        assert self.peers(GradCAM, a, g, scaled=True).max() == 0
        for maps in (self.peers(GradCAM, a, g), self.ours(GradCAM, a, g)):
            torch.testing.assert_close(maps, torch.full((2, 2), 1.5))

    def test_rounding_noise_is_stretched(self):
        a, g = [[1e-6, 0.0], [0.0, 0.0]], [[4e-6, 0.0], [0.0, 0.0]]
        # map max 1e-12: 1e-12 / 1e-7 = 1e-5 after the first division, 1e-5 / (1e-7 + 1e-5) = 0.99
        # after the second
        assert self.peers(GradCAM, a, g, scaled=True).max().item() == pytest.approx(0.99, abs=0.001)
        for maps in (self.peers(GradCAM, a, g), self.ours(GradCAM, a, g)):
            assert maps.max().item() == pytest.approx(1e-12)
