"""ODSmoothGrad against an independent loop, and what it does with detections that noise loses."""

import sys
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

from d2_saliency import explainable
from d2_saliency.modeling.noise import gaussian_noise
from d2_saliency.testing import ToyDetector

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import naive  # noqa: E402


def clean_pass(model, image):
    with torch.no_grad():
        return model.run([{"image": image}])


class TestAgainstPlainLoops:
    @pytest.mark.parametrize("class_target", ["score"])
    @pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted", "fcos_planted"])
    def test_on_the_demo_detectors(self, stock_detector, demo_image, name, class_target):
        stock = stock_detector(name)
        model = explainable(stock)
        image = demo_image(1)["image"]
        noise = list(gaussian_noise(image, 3, 0.05, seed=3))
        clean = clean_pass(model, image)
        clean.instances = [clean.instances[0][:2]]
        head = model.saliency_head
        head.class_target, head.batch_size, head.fold_norms = class_target, 2, False
        with torch.enable_grad():
            ours = head.explain(model, {"image": image}, clean, noise=noise)
        for i in range(2):
            expected = naive.od_smoothgrad(stock, image, i, noise)
            assert ours["num_matched"][i] == expected["num_matched"] > 0
            assert ours["num_samples"][i] == len(noise)
            for k in range(5):
                error = (ours["pred_saliency"].maps[i][k] - expected["maps"][k]).abs().max()
                assert error <= 1e-3 * expected["maps"][k].max()

    @pytest.mark.parametrize("name", ["faster_rcnn_planted", "retinanet_planted"])
    @pytest.mark.parametrize(
        "switch, correlation", [({"fold_norms": True}, 0.9999), ({"autocast": True}, 0.9)]
    )
    def test_fast_ways_give_these_maps_too(
        self, stock_detector, demo_image, name, switch, correlation
    ):
        """
        Rounding moves a few inputs of ReLUs across 0, which changes single pixels: maps are
        compared as a whole.
        """
        model = explainable(stock_detector(name))
        model.saliency_head.num_samples, model.saliency_head.max_instances = 2, 1
        maps = []
        for options in ({"fold_norms": False}, switch):
            vars(model.saliency_head).update(options)
            with torch.no_grad():
                found = model([demo_image(1)])[0]["instances"]
            maps.append(found.pred_saliency.maps[int(found.pred_saliency.explained.nonzero()[0])])
        assert not torch.equal(*maps)
        for exact, fast in zip(*maps):
            assert spearmanr(exact.flatten(), fast.flatten()).statistic > correlation

    def test_on_the_toy_detector(self):
        toy = ToyDetector.random()
        model = explainable(toy)
        image = torch.rand(3, 24, 32) * 255
        noise = [20 * torch.randn(3, 24, 32) for _ in range(5)]
        clean = clean_pass(model, image)
        with torch.enable_grad():
            ours = model.saliency_head.explain(model, {"image": image}, clean, noise=noise)
        for i, c in enumerate(clean.instances[0].pred_classes.tolist()):
            scores = torch.stack(
                [(toy.class_weights[c] * (image + n)).sum().sigmoid() for n in noise]
            ).detach()
            # d score / dx = p (1 - p) w: of the same shape in every pass, so the mean is that of p
            # (1 - p)
            expected = (scores * (1 - scores)).mean() * toy.class_weights[c].abs().amax(0).detach()
            assert ours["num_matched"][i] == 5
            torch.testing.assert_close(
                ours["pred_saliency"].maps[i][0], expected, rtol=1e-4, atol=0
            )


class Fragile(ToyDetector):
    """Detects its objects only in images that are zero in the corner, as noise never is."""

    def _detect(self, image):
        found = super()._detect(image)
        return found if image[:, 0, 0].abs().max() == 0 else found[:0]


@pytest.fixture
def fragile():
    toy = ToyDetector.random()
    return Fragile(toy.anchors, toy.class_weights.data, toy.box_weights.data).eval()


def test_a_detection_never_found_again_has_the_map_of_the_clean_image(fragile):
    image = torch.rand(3, 24, 32) * 255
    image[:, 0, 0] = 0
    model = explainable(fragile)
    model.saliency_head.score_thresh = 0.0
    with torch.no_grad():
        found = model([{"image": image}])[0]["instances"]
    assert found.num_matched.tolist() == [0, 0, 0] and found.num_samples.tolist() == [20] * 3
    c = int(found.pred_classes[0])
    expected = fragile.box_weights[c].abs().amax(1).detach()
    torch.testing.assert_close(found.pred_saliency.maps[0][1:], expected, rtol=1e-4, atol=0)


def test_a_moved_detection_is_another_one():
    class Moving(ToyDetector):
        """Half of its objects jump away in any image but the clean one."""

        def _detect(self, image):
            found = super()._detect(image)
            if image[:, 0, 0].abs().max() > 0:
                found.pred_boxes.tensor[:, 0::2] += torch.where(found.pred_classes == 0, 8.0, 0.0)[
                    :, None
                ]
            return found

    toy = ToyDetector.random()
    model = explainable(Moving(toy.anchors, toy.class_weights.data, toy.box_weights.data).eval())
    model.saliency_head.score_thresh = 0.0
    image = torch.rand(3, 24, 32) * 255
    image[:, 0, 0] = 0
    with torch.no_grad():
        found = model([{"image": image}])[0]["instances"]
    matched = dict(zip(found.pred_classes.tolist(), found.num_matched.tolist()))
    assert matched == {0: 0, 1: 20, 2: 20}


class TestNoise:
    image = torch.rand(3, 40, 50) * 200 + 20

    def test_scale_is_a_share_of_the_range(self):
        noise = torch.stack(list(gaussian_noise(self.image, 50, 0.05, seed=0)))
        scale = 0.05 * (self.image.max() - self.image.min())
        assert noise.std().item() == pytest.approx(scale.item(), rel=0.01)
        assert noise.mean().item() == pytest.approx(0.0, abs=0.01 * scale.item())

    def test_seeds(self):
        first, again = (list(gaussian_noise(self.image, 2, 0.05, seed=1)) for _ in range(2))
        other = list(gaussian_noise(self.image, 2, 0.05, seed=2))
        assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
        assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])

    def test_more_passes_begin_with_the_same_ones(self):
        few, many = (list(gaussian_noise(self.image, n, 0.05, seed=1)) for n in (2, 4))
        assert torch.equal(few[1], many[1])

    def test_a_constant_image_gets_none(self):
        (noise,) = gaussian_noise(torch.full((3, 4, 4), 7.0), 1, 0.05, seed=0)
        assert noise.abs().max() == 0


def test_index_matching_follows_the_proposal(stock_detector, demo_image):
    model = explainable(stock_detector("faster_rcnn_planted"))
    head = model.saliency_head
    head.num_samples, head.max_instances, head.match = 3, 2, "index"
    with torch.no_grad():
        found = model([demo_image(1)])[0]["instances"]
    explained = found.pred_saliency.explained
    assert found.num_matched[explained].tolist() == found.num_samples[explained].tolist() == [3, 3]


def test_index_matching_needs_provenance():
    model = explainable(ToyDetector.random())
    model.saliency_head.match = "index"
    model.saliency_head.score_thresh = 0.0
    with torch.no_grad(), pytest.raises(ValueError, match="'index' follows.*use 'detection'"):
        model([{"image": torch.rand(3, 24, 32) * 255}])
