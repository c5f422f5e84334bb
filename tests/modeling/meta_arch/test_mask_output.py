"""The map of the mask against plain autograd of stock Mask R-CNNs, on small random weights."""

from unittest import mock

import pytest
import torch
from detectron2 import model_zoo
from detectron2.modeling import build_model

from d2_saliency import explainable
from d2_saliency.modeling.saliency_heads import DRISE, ODAM, Gradient, ODSmoothGrad
from d2_saliency.testing import ToyDetector, calibrate

CONFIGS = {
    "FPN": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "C4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
    "Cascade": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
    "class-agnostic": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
}
IMAGE = {"image": torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(3)) * 255}


def random_model(name, mask_on=True):
    cfg = model_zoo.get_config(CONFIGS[name])
    cfg.MODEL.DEVICE, cfg.MODEL.MASK_ON = "cpu", mask_on
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8, 32
    cfg.MODEL.FPN.OUT_CHANNELS = cfg.MODEL.ROI_BOX_HEAD.FC_DIM = (
        cfg.MODEL.ROI_MASK_HEAD.CONV_DIM
    ) = 32
    cfg.MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK = name == "class-agnostic"
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST, cfg.MODEL.ROI_HEADS.NUM_CLASSES = 0.0, 4
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.TEST.DETECTIONS_PER_IMAGE = 15, 2
    torch.manual_seed(1)
    model = build_model(cfg).eval()
    calibrate(model)
    return model


def stock_mask_logits(model, image):
    """
    Mean logit inside each predicted mask of the stock model, one by one, with the graph to the
    image.
    """
    overheard = []
    handle = model.roi_heads.mask_head.predictor.register_forward_hook(
        lambda m, i, y: overheard.append(y)
    )
    with mock.patch(
        "detectron2.modeling.meta_arch.rcnn.detector_postprocess", lambda found, *size: found
    ):
        found = model([{"image": image}])[0]["instances"]
    handle.remove()
    means = []
    for logits, label, mask in zip(overheard[0], found.pred_classes, found.pred_masks):
        own = logits[label] if len(logits) > 1 else logits[0]
        inside = mask[0] > 0.5
        means.append(own[inside].mean() if inside.any() else own.mean())
    return found, means


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_equal_autograd_of_the_stock_model(name):
    stock = random_model(name)
    pixels = IMAGE["image"].clone().requires_grad_()
    found, means = stock_mask_logits(stock, pixels)
    model = explainable(stock)
    model.saliency_head = Gradient(score_thresh=0, max_instances=0, mask_output=True)
    with torch.no_grad():
        ours = model([IMAGE])[0]["instances"]
    assert torch.equal(ours.scores, found.scores) and len(ours) == 2
    maps = ours.pred_mask_saliency
    assert maps.outputs == ("mask",) and maps.resize(30, 40).shape == (2, 1, 30, 40)
    for m, mean in zip(maps.maps, means):
        (gradient,) = torch.autograd.grad(mean, pixels, retain_graph=True)
        expected = gradient.abs().amax(dim=0)
        assert expected.max() > 0 and (m[0] - expected).abs().max() <= 1e-4 * expected.max()


def test_the_five_maps_stay_what_they_are():
    model = explainable(random_model("FPN"))
    with torch.no_grad():
        for head in (Gradient, ODAM):
            model.saliency_head = head(score_thresh=0, max_instances=1)
            expected = model([IMAGE])[0]["instances"].pred_saliency
            model.saliency_head = head(score_thresh=0, max_instances=1, mask_output=True)
            found = model([IMAGE])[0]["instances"]
            assert all(torch.equal(a, b) for a, b in zip(expected.maps, found.pred_saliency.maps))
            mask = found.pred_mask_saliency
            assert torch.equal(mask.explained, expected.explained) and mask.explained.sum() == 1
            assert mask.peaks[mask.explained].min() > 0 and found[
                :1
            ].pred_mask_saliency.outputs == ("mask",)


def test_a_noise_method_has_it_too():
    model = explainable(random_model("FPN"))
    model.saliency_head = ODSmoothGrad(
        score_thresh=0, max_instances=1, num_samples=2, match="index", mask_output=True
    )
    with torch.no_grad():
        mask = model([IMAGE])[0]["instances"].pred_mask_saliency
    assert mask.peaks[mask.explained].min() > 0


@pytest.mark.parametrize(
    "model, head, reason",
    [
        (lambda: random_model("FPN", mask_on=False), Gradient, "this model has no mask head"),
        (lambda: ToyDetector.random(), Gradient, "needs a Mask R-CNN"),
        (lambda: random_model("FPN"), DRISE, "such as ODSmoothGrad or ODAM"),
    ],
)
def test_what_has_no_mask_is_refused_before_the_work(model, head, reason, monkeypatch):
    monkeypatch.setattr(DRISE, "_sums", None)  # its masks, which take minutes
    model = explainable(model())
    options = {"num_masks": 2} if head is DRISE else {}
    model.saliency_head = head(score_thresh=0, mask_output=True, **options)
    image = {"image": torch.rand(3, 24, 32) * 255} if hasattr(model, "anchors") else IMAGE
    with torch.no_grad(), pytest.raises(ValueError, match=reason):
        model([image])


def test_without_detections_there_are_no_maps():
    model = explainable(random_model("FPN"))
    model.saliency_head = Gradient(score_thresh=1.0, mask_output=True)
    with torch.no_grad():
        found = model([IMAGE])[0]["instances"]
    assert (
        len(found.pred_mask_saliency) == len(found) and not found.pred_mask_saliency.explained.any()
    )
