import torch
from torch import nn
from torch.nn import functional as F

from d2_saliency import build_saliency_head, explainable
from d2_saliency.modeling.saliency_heads.guided_backprop import guided_relus
from tests.conftest import demo_cfg


def test_by_hand():
    # y = -relu(a) + 2 relu(b) at a = 3, b = 4: plain gradients -1 and 2; guided, the negative one
    # stops at its ReLU.
    x = torch.tensor([3.0, 4.0, -5.0], requires_grad=True)
    weights = torch.tensor([-1.0, 2.0, 1.0])
    plain = torch.autograd.grad((weights * F.relu(x)).sum(), x)[0]
    assert plain.tolist() == [-1.0, 2.0, 0.0]
    with guided_relus():
        guided = torch.autograd.grad((weights * F.relu(x)).sum(), x)[0]
    assert guided.tolist() == [0.0, 2.0, 0.0]


def test_every_way_to_call_relu_and_none_afterwards():
    ways = [
        F.relu,
        torch.relu,
        nn.ReLU(),
        nn.ReLU(inplace=True),
        lambda v: F.relu_(v + 0),
        lambda v: (v + 0).relu_(),
    ]
    for relu in ways:
        x = torch.ones(2, requires_grad=True)
        with guided_relus():
            assert torch.autograd.grad(-relu(x * 1).sum(), x)[0].tolist() == [0.0, 0.0]
        assert torch.autograd.grad(-relu(x * 1).sum(), x)[0].tolist() == [-1.0, -1.0]


def test_guided_grad_cam_is_the_product(stock_detector, demo_image):
    model = explainable(stock_detector("faster_rcnn_planted"))
    cfg = demo_cfg("faster_rcnn_planted")
    cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = 1
    maps = {}
    for name in ("GuidedBackprop", "GradCAM", "GuidedGradCAM"):
        cfg.MODEL.SALIENCY_HEAD.NAME = name
        model.saliency_head = build_saliency_head(cfg)
        with torch.no_grad():
            found = model([demo_image(1)])[0]["instances"]
        i = int(found.pred_saliency.explained.nonzero()[0, 0])
        maps[name] = found.pred_saliency.resize(*demo_image(1)["image"].shape[-2:])[i]
    expected = maps["GuidedBackprop"] * maps["GradCAM"]
    assert expected.max() > 0
    torch.testing.assert_close(
        maps["GuidedGradCAM"], expected, rtol=1e-3, atol=1e-6 * float(expected.max())
    )
