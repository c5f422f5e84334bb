"""The Python of the documents runs. tests/docs/test_third_party.py has that of third_party.md."""

import cv2
import pytest
import torch
from detectron2.structures import BoxMode

from d2_saliency import SALIENCY_HEAD_REGISTRY, SaliencyMaps, build_saliency_head
from tests.conftest import ROOT, demo_cfg
from tests.docs.documents import code_blocks
from tests.evaluation.conftest import NAME, scenes  # noqa: F401  # a fixture


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def image():
    return cv2.imread(str(ROOT / "demo" / "images" / "planted_0009.png"))


@pytest.mark.parametrize("document", ["README.md", "docs/start.md"])
def test_first_example(document, image, stock_detector):
    names = {"bgr_image": image, "model": stock_detector("faster_rcnn_planted")}
    code = "\n".join(code_blocks(ROOT / document))
    before, merge, after = code.partition(
        'cfg.merge_from_file("configs/demo/faster_rcnn_planted.yaml")'
    )
    # One detection of a small image, and a fast method that has noise passes, too.
    small = ["INPUT.MIN_SIZE_TEST", 128]
    fast = {"NAME": "SmoothGradCAMPlusPlus", "MAX_INSTANCES": 1, "SMOOTHGRAD.NUM_SAMPLES": 2}
    for key, value in fast.items():
        small += [f"MODEL.SALIENCY_HEAD.{key}", value]
    options = f"\ncfg.merge_from_list({small})"
    # In start.md the image is an array at first, and then the tensor of a built model.
    after = after.replace(
        "model([", "image = torch.as_tensor(image[::4, ::4].transpose(2, 0, 1).copy())\nmodel(["
    )
    exec(f"import torch\n{before}{merge}{options}{after}", names)
    found = names["instances"]
    assert len(found) == 1 and isinstance(found.pred_saliency, SaliencyMaps)
    assert names["model"].saliency_head.max_instances == 1


def test_a_method_of_ones_own(demo_image):
    (block,) = code_blocks(ROOT / "docs" / "guides" / "add_method.md")
    try:
        exec(block, {"__name__": "my_methods"})
        cfg = demo_cfg("faster_rcnn_planted")
        cfg.MODEL.SALIENCY_HEAD.NAME, cfg.MODEL.WEIGHTS = "BoxOutline", ""
        head = build_saliency_head(cfg)
    finally:
        SALIENCY_HEAD_REGISTRY._obj_map.pop("BoxOutline", None)
    from detectron2.structures import Boxes, Instances

    from d2_saliency.modeling.forward_pass import ForwardPass

    found = Instances((8, 10), pred_boxes=Boxes([[2.0, 1.0, 6.0, 4.0]]), scores=torch.tensor([0.9]))
    clean = ForwardPass([torch.zeros(3, 8, 10)], {}, (8, 10), [found])
    (m,) = head(None, {}, clean)["pred_saliency"].maps
    expected = torch.zeros(8, 10)
    expected[1:4, 2:6] = 1
    assert head.black_box and torch.equal(m, expected.expand(5, 8, 10))


def test_plugin(scenes):  # noqa: F811
    config, built, trainer = code_blocks(ROOT / "docs" / "guides" / "plugin.md")
    names = {"__name__": "my_project"}
    exec(config, names)
    cfg = names["cfg"]
    assert cfg.MODEL.SALIENCY_HEAD.NAME == "ODAM"
    cfg.merge_from_file("configs/demo/faster_rcnn_planted.yaml")
    cfg.MODEL.SALIENCY_HEAD.NAME = "ODAM"
    cfg.DATASETS.TEST = (NAME,)
    cfg.INPUT.MIN_SIZE_TEST, cfg.MODEL.SALIENCY_HEAD.MAX_INSTANCES = 128, 1
    cfg.TEST.SALIENCY.METRICS = ["pointing_game"]
    cfg.TEST.SALIENCY.SCORE_THRESH = cfg.MODEL.SALIENCY_HEAD.SCORE_THRESH = 0.0
    exec(built, names)
    model, explaining = names["model"], names["explaining"]
    assert all(a is b for a, b in zip(model.parameters(), explaining.parameters()))
    exec(trainer, names)
    results = names["Trainer"].test(cfg, explaining)
    assert "pointing_game" in results and results["saliency"]["images"] == len(scenes)
    assert scenes[0]["annotations"][0]["bbox_mode"] in (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
