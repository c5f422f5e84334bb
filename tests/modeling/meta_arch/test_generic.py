"""
A real detector that d2_saliency has never heard of, on real photos (development data beside the
repository).
"""

import importlib.util
import sys

import pytest
import torch
from detectron2 import model_zoo
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, RotatedBoxes

from d2_saliency import explainable
from d2_saliency.modeling.meta_arch import BlackBox
from d2_saliency.modeling.saliency_heads import DRISE, ODAM, Gradient, ODSmoothGrad
from d2_saliency.testing import ToyDetector
from d2_saliency.utils.image_io import read_image
from tests.conftest import ROOT
from tests.modeling.meta_arch.test_kinds import OwnPredictor, OwnRoIHeads

SHARED = ROOT.parent / "shared"
PHOTO = SHARED / "data/coco/val2017/000000122745.jpg"
needs_shared = pytest.mark.skipif(
    not PHOTO.is_file(), reason="needs ../shared, which users do not have"
)


@pytest.fixture(scope="module")
def nanodet():
    spec = importlib.util.spec_from_file_location("nanodet_d2", SHARED / "models/nanodet_d2.py")
    module = sys.modules.setdefault("nanodet_d2", importlib.util.module_from_spec(spec))
    if not hasattr(module, "load_nanodet"):
        spec.loader.exec_module(module)
    return module.load_nanodet(str(SHARED / "data/weights/nanodet_m_coco.pth"))


def photo():
    image = read_image(PHOTO)
    return {"image": torch.as_tensor(image.transpose(2, 0, 1).copy()), "height": 320, "width": 240}


@needs_shared
@pytest.mark.parametrize(
    "head",
    [
        Gradient(max_instances=2),
        ODSmoothGrad(max_instances=1, num_samples=2),
        ODAM(layer="fpn.lateral_convs.0"),
    ],
)
def test_maps_lie_on_the_objects(nanodet, head):
    model = explainable(nanodet)
    head.score_thresh = 0.4
    model.saliency_head = head
    with torch.no_grad():
        stock = nanodet([photo()])[0]["instances"]
        found = model([photo()])[0]["instances"]
    assert len(stock) > 0 and torch.equal(stock.pred_boxes.tensor, found.pred_boxes.tensor)
    found = found[found.pred_saliency.explained]
    assert len(found) > 0
    for m, (x0, y0, x1, y1) in zip(
        found.pred_saliency.resize(320, 240), found.pred_boxes.tensor.int().tolist()
    ):
        assert m.isfinite().all()
        inside = m[0, y0:y1, x0:x1].sum() / m[0].sum()
        assert inside > (x1 - x0) * (y1 - y0) / (
            320 * 240
        )  # more than the box's share of the image


@needs_shared
def test_what_an_unknown_model_does_not_reveal_is_refused(nanodet):
    model = explainable(nanodet)
    model.saliency_head = Gradient(class_target="contrast", score_thresh=0.3)
    with torch.no_grad(), pytest.raises(ValueError, match="use 'score' or 'logit'"):
        model([photo()])


class Returns(torch.nn.Module):
    """A model that returns the same for every image."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, batched_inputs):
        return [self.result for _ in batched_inputs]


ROTATED = Instances(
    (9, 9),
    pred_boxes=RotatedBoxes([[4, 4, 2, 2, 30.0]]),
    scores=torch.ones(1),
    pred_classes=torch.zeros(1).long(),
)


@pytest.mark.parametrize(
    "result, reason",
    [
        (
            {"proposals": Instances((9, 9))},
            "no instances; Instances with pred_boxes, scores, pred_classes are needed",
        ),
        ({"instances": Instances((9, 9), scores=torch.ones(1))}, "no pred_boxes, pred_classes"),
        ({"instances": ROTATED}, "returned RotatedBoxes; only upright boxes"),
    ],
)
def test_results_that_are_no_upright_boxes_are_refused(result, reason):
    with pytest.raises(ValueError, match=reason):
        explainable(Returns(result).eval())([{"image": torch.zeros(3, 9, 9)}])


def test_detections_that_are_not_in_pixels_of_the_image_that_was_asked_for_are_refused():
    toy = ToyDetector.random()  # takes no notice of "height" and "width"
    x = {"image": torch.zeros(3, 24, 32), "height": 48, "width": 64}
    with pytest.raises(
        ValueError, match=r"image of \(24, 32\) .*ask for \(48, 64\); .*detector_postprocess"
    ):
        explainable(toy)([x])


def test_a_black_boxs_detections_are_put_into_the_image_that_was_asked_for():
    fields = dict(scores=torch.tensor([0.9]), pred_classes=torch.tensor([1]))
    answer = Instances((24, 32), pred_boxes=Boxes(torch.tensor([[2.0, 4.0, 8.0, 10.0]])), **fields)
    model = explainable(BlackBox(lambda images: [answer] * len(images)))
    model.saliency_head = DRISE(num_masks=2, grid_size=4)
    with torch.no_grad():
        found = model([{"image": torch.zeros(3, 24, 32), "height": 48, "width": 96}])[0][
            "instances"
        ]
    assert found.image_size == (48, 96) and found.pred_boxes.tensor.tolist() == [
        [6.0, 8.0, 24.0, 20.0]
    ]
    assert found.pred_saliency.image_size == (24, 32) and found.pred_saliency.explained.all()
    assert answer.image_size == (24, 32) and answer.pred_boxes.tensor.tolist() == [
        [2.0, 4.0, 8.0, 10.0]
    ]


@pytest.mark.parametrize(
    "part, cls", [("roi_heads", OwnRoIHeads), ("roi_heads.box_predictor", OwnPredictor)]
)
def test_parts_with_an_inference_of_their_own_make_a_model_unknown(part, cls):
    """What a subclass does is not known, even if it does nothing new."""
    cfg = model_zoo.get_config("Base-RCNN-FPN.yaml")
    cfg.MODEL.DEVICE, cfg.MODEL.RESNETS.WIDTH_PER_GROUP, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = (
        "cpu",
        8,
        32,
    )
    model = build_model(cfg)
    assert explainable(model).knows_provenance
    model.get_submodule(part).__class__ = cls
    assert not explainable(model).knows_provenance
