"""SaliencyFCOS against Detectron2's FCOS and plain autograd of it."""

import numpy as np
import pytest
import torch
from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg, instantiate
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from scipy.ndimage import gaussian_filter

from d2_saliency import CLASS_TARGETS, add_saliency_config, explainable
from d2_saliency.modeling.meta_arch import SaliencyFCOS
from d2_saliency.modeling.saliency_heads import ODAM, Gradient
from tests.conftest import ROOT
from tests.modeling.naive import unclipped_boxes
from tests.modeling.tiny_fcos import tiny_fcos

SETTINGS = (
    "num_classes head_in_features center_sampling_radius focal_loss_alpha focal_loss_gamma "
    "test_score_thresh test_topk_candidates test_nms_thresh max_detections_per_image"
)


def a_picture(height=48, width=80):
    return torch.rand(3, height, width) * 255


def test_yaml_path_builds_the_model_of_the_lazy_config():
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "Base-SaliencyFCOS.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    ours = build_model(cfg)
    stock = instantiate(model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x.py").model)
    shapes, expected = ({k: v.shape for k, v in m.state_dict().items()} for m in (ours, stock))
    assert shapes == expected and isinstance(ours, FCOS)
    assert all(getattr(ours, name) == getattr(stock, name) for name in SETTINGS.split())
    assert ours.backbone.top_block.in_feature == stock.backbone.top_block.in_feature == "p5"
    assert torch.equal(ours.pixel_mean, stock.pixel_mean) and torch.equal(
        ours.pixel_std, stock.pixel_std
    )


def test_keys_of_another_projects_fcos_are_left_alone():
    cfg = get_cfg()
    cfg.MODEL.FCOS = CfgNode({"THEIRS": 1})
    add_saliency_config(cfg)
    assert cfg.MODEL.FCOS == {"THEIRS": 1}


def test_values_without_a_meaning_are_refused():
    cfg = get_cfg()
    add_saliency_config(cfg)
    cfg.MODEL.FCOS.PRIOR_PROB = 0.0
    with pytest.raises(ValueError, match="^MODEL.FCOS.PRIOR_PROB is 0.0; choose a number from"):
        SaliencyFCOS.from_config(cfg)


@pytest.mark.parametrize("norm", ["", "GN"])
def test_detections_are_those_of_the_stock_model(norm):
    stock = tiny_fcos(norm)
    model = explainable(stock)
    model.saliency_head = Gradient(max_instances=3)
    inputs = [{"image": a_picture(), "height": 96, "width": 160}, {"image": a_picture(40, 64)}]
    with torch.no_grad():
        expected, found = stock(inputs), model(inputs)
    for e, f in zip((r["instances"] for r in expected), (r["instances"] for r in found)):
        assert len(e) > 3 and e.image_size == f.image_size
        assert torch.equal(e.scores, f.scores) and torch.equal(e.pred_classes, f.pred_classes)
        assert torch.equal(e.pred_boxes.tensor, f.pred_boxes.tensor)
        assert set(f.get_fields()) == {"pred_boxes", "scores", "pred_classes", "pred_saliency"}


@pytest.mark.parametrize("norm", ["", "GN"])
@pytest.mark.parametrize("class_target", CLASS_TARGETS)
def test_gradients_to_pixels_equal_autograd_of_the_stock_model(norm, class_target):
    stock = tiny_fcos(norm)
    model = explainable(stock)
    image = a_picture().requires_grad_()
    with torch.no_grad():
        clean = model.run([{"image": image}]).instances[0]
    chosen = clean[clean.pred_boxes.nonempty()][[0, 3, 7]]
    forward_pass = model.run([{"image": image}], [chosen])
    overheard = {}
    for layer in ("cls_score", "ctrness"):
        outputs = overheard[layer] = []
        getattr(stock.head, layer).register_forward_hook(
            lambda m, i, y, outputs=outputs: outputs.append(y.clone())
        )
    with unclipped_boxes():
        found = stock([{"image": image}])[0]["instances"]
    logits, centerness = (
        torch.cat([y[0].flatten(1) for y in ys], dim=1).T for ys in overheard.values()
    )
    scores = (logits.sigmoid() * centerness.sigmoid()).sqrt()
    for _, i, ours in model.input_gradients(forward_pass, class_target):
        c = int(chosen.pred_classes[i])
        row = (scores[:, c] - chosen.scores[i]).abs().argmin()
        z = logits[row]
        others = torch.cat([z[:c], z[c + 1 :]]).exp().sum().log()
        class_output = {"score": scores[row, c], "logit": z[c], "contrast": z[c] - others}[
            class_target
        ]
        j = (found.scores - chosen.scores[i]).abs().argmin()
        for k, output in enumerate([class_output, *found.pred_boxes.tensor[j]]):
            (expected,) = torch.autograd.grad(output, image, retain_graph=True)
            assert (ours[k] - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert i == 2


def test_a_distance_that_is_cut_at_zero_has_no_gradient():
    stock = tiny_fcos()
    stock.head.bbox_pred.bias.data[0] = -1e3  # the left sides: all at their points
    model = explainable(stock)
    image = a_picture().requires_grad_()
    with torch.no_grad():
        clean = model.run([{"image": image}]).instances[0][:1]
    ((_, _, gradient),) = model.input_gradients(model.run([{"image": image}], [clean]))
    centre = clean.anchor_boxes.get_centers()[0, 0]
    assert (
        clean.pred_boxes.tensor[0, 0] == centre
        and (gradient[1] == 0).all()
        and (gradient[3] != 0).any()
    )


def test_odam_is_the_level_times_the_smoothed_gradient_of_the_stock_model():
    """Coordinates as shares of the box's side, both directions; scipy has the Gaussian."""
    stock, levels = tiny_fcos(), {}
    x = {"image": a_picture()}
    overhearing = stock.backbone.register_forward_hook(
        lambda module, inputs, output: levels.update(output)
    )
    with unclipped_boxes():
        found = stock([x])[0]["instances"]
    overhearing.remove()
    model = explainable(stock)
    model.saliency_head = ODAM(max_instances=3, score_thresh=0)
    with torch.no_grad():
        explained = model([x])[0]["instances"]
    explained = explained[explained.pred_saliency.explained]
    assert len(explained) == 3
    for score, maps, region in zip(
        explained.scores, explained.pred_saliency.maps, explained.pred_saliency.regions
    ):
        j = int((found.scores - score).abs().argmin())
        box = found.pred_boxes.tensor[j]
        width, height = (box[2:] - box[:2]).detach().clamp(min=1)
        for k, (output, side) in enumerate(
            zip([found.scores[j], *box], [1, width, height, width, height])
        ):
            gradients = torch.autograd.grad(
                output, list(levels.values()), retain_graph=True, materialize_grads=True
            )
            expected = torch.zeros(6, 10)
            for level, gradient in zip(levels.values(), gradients):
                if gradient.any():
                    smoothed = [
                        gaussian_filter(g, 1.0, mode="constant", truncate=3)
                        for g in gradient[0].numpy()
                    ]
                    expected = (torch.as_tensor(np.stack(smoothed)) * level[0].detach()).sum(
                        0
                    ) / side
            expected = expected.clamp(min=0) if k == 0 else expected.abs()
            cell = 48 / len(expected)
            x0, y0, x1, y1 = (region / cell).round().int().tolist()
            shown = torch.zeros_like(expected)
            shown[y0:y1, x0:x1] = maps[k]
            assert (shown - expected).abs().max() <= 1e-5 * max(expected.max(), 1e-3)


def test_raw_outputs_are_the_scores_and_boxes_of_all_points():
    stock = tiny_fcos()
    image = a_picture()
    with torch.no_grad():
        (raw,) = explainable(stock).raw_outputs([{"image": image}])
        found = stock([{"image": image}])[0]["instances"]
    assert len(raw.boxes) == 6 * 10 + 3 * 5 and raw.vectors.shape == (75, 4) and len(found) > 3
    for box, score, label in zip(found.pred_boxes.tensor, found.scores, found.pred_classes):
        same = (raw.boxes[:, 0] - box).abs().amax(1) < 1e-4
        assert ((raw.vectors[same, label] - score).abs() < 1e-6).any()


def test_training_is_stock():
    stock = tiny_fcos().train()
    model = explainable(stock)
    truth = Instances(
        (48, 80), gt_boxes=Boxes(torch.tensor([[10.0, 8, 60, 40]])), gt_classes=torch.tensor([2])
    )
    inputs = [{"image": a_picture(), "instances": truth}]
    losses = []
    for m in (stock, model):
        m.__dict__.pop("loss_normalizer", None)  # its running mean
        with EventStorage():
            losses.append(m(inputs))
    assert (
        losses[0].keys() == losses[1].keys() == {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"}
    )
    assert all(torch.equal(losses[0][k], losses[1][k]) for k in losses[0])


class Rescored(FCOS):
    def inference_single_image(self, *args):
        found = super().inference_single_image(*args)
        found.scores = found.scores / 2
        return found


def test_scores_that_are_not_the_heads_are_refused():
    model = explainable(tiny_fcos(cls=Rescored))
    with torch.no_grad(), pytest.raises(RuntimeError, match="META_ARCHITECTURE: SaliencyGeneric"):
        model([{"image": a_picture()}])
