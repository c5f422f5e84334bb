"""Small copies of the kinds of models that other projects have."""

import copy

import pytest
import torch
from detectron2.structures import BitMasks, Boxes

from d2_saliency import explainable
from d2_saliency.testing import ToyDetector
from tests.modeling.kinds import assert_right, explained, picture, toy


class Restless(ToyDetector):
    """Outputs change their order, or some are lost, from one run to the next."""

    def forward(self, batched_inputs):
        self.runs += 1
        results = super().forward(batched_inputs)
        choice = self.choices[min(self.runs, len(self.choices)) - 1]
        return [{"instances": r["instances"][torch.tensor(choice)]} for r in results]


@pytest.mark.parametrize("again", [[1, 0, 2], [2, 1, 0], [1, 2, 0], [0, 1, 2]])
def test_outputs_in_another_order_keep_their_maps(again):
    stock = toy(Restless, runs=0, choices=[[0, 1, 2], again])
    assert_right(stock, explained(explainable(stock), picture()))


def test_more_outputs_than_were_reported_are_told_apart():
    stock = toy(Restless, runs=0, choices=[[2, 0], [0, 1, 2]])
    assert_right(stock, explained(explainable(stock), picture()))


@pytest.mark.parametrize("again", [[0, 1], [1, 2], [0, 0, 1], [2]])
def test_a_detection_that_is_not_found_again_is_refused(again):
    stock = toy(Restless, runs=0, choices=[[0, 1, 2], again])
    with pytest.raises(RuntimeError, match=r"Restless: \d of 3 detections .* not found again"):
        explained(explainable(stock), picture())


class Undecided(ToyDetector):
    """A detector without NMS: twice the same box and class with different scores, in any order."""

    def forward(self, batched_inputs):
        self.runs += 1
        (found,) = (r["instances"] for r in super().forward(batched_inputs))
        found = found[torch.tensor([0, 0, 1])]
        found.scores = found.scores * torch.tensor([1, self.second, 1])
        return [{"instances": found[torch.tensor([[0, 1, 2], self.again][self.runs > 1])]}]


def test_equal_boxes_are_told_apart_by_their_scores():
    stock = toy(Undecided, runs=0, second=0.25, again=[1, 0, 2])
    found = explained(explainable(stock), picture())
    maps = found.pred_saliency.resize(24, 32)[:, 0]
    torch.testing.assert_close(maps[1], maps[0] / 4)
    stock = toy(Undecided, runs=0, second=0.25, again=[1, 2])
    with pytest.raises(RuntimeError, match="1 of 3 detections"):
        explained(explainable(stock), picture())


class OwnNames(ToyDetector):
    """A model with methods, attributes and a layer that have names of ours."""

    def run(self):
        return self.postprocess(self._preprocess())

    def postprocess(self, images):
        return [
            {"instances": self._detect(self.raw_outputs(self.features(image)) * self.outputs)}
            for image in images
        ]

    def _preprocess(self):
        return [x["image"].float() for x in self.saliency_head]

    def forward(self, batched_inputs):
        self.saliency_head = batched_inputs  # as any name, it may be the model's own
        return self.run()


def own_names():
    model = toy(OwnNames, outputs=1.0, input_gradients=None)
    model.raw_outputs = torch.nn.Identity()
    return model


def test_names_of_the_model_that_are_also_ours():
    stock, x = own_names(), picture()
    model = explainable(stock)
    assert_right(stock, explained(model, x))
    assert list(model.state_dict()) == list(stock.state_dict())
    assert [n for n, _ in model.named_modules()] == [n for n, _ in stock.named_modules()]
    assert all(a is b for a, b in zip(model.parameters(), stock.parameters()))
    assert isinstance(model, OwnNames) and model.score_thresh == stock.score_thresh
    model.score_thresh = 1.0
    assert not len(explained(model, x)) and len(stock([x])[0]["instances"])
    copied = copy.deepcopy(model).double()
    copied.score_thresh = 0.05
    assert_right(stock.double(), explained(copied, {"image": x["image"].double()}))


class OwnArguments(ToyDetector):
    """A model whose forward takes more than the batch, as those of semi-supervised training do."""

    def forward(self, batched_inputs, branch="supervised", *, do_postprocess=True):
        if self.training:
            return {f"loss_{branch}": do_postprocess}
        results = super().forward(batched_inputs)
        if branch == "teacher":
            for r in results:
                r["instances"].scores = r["instances"].scores * 0.5
        return results


def test_further_arguments_reach_the_model():
    stock, x = toy(OwnArguments), picture()
    model = explainable(stock)
    expected = explained(model, x)
    with torch.no_grad():
        (found,) = (r["instances"] for r in model([x], "teacher", do_postprocess=False))
        assert torch.equal(found.scores, expected.scores * 0.5)
        for half, whole in zip(found.pred_saliency.maps, expected.pred_saliency.maps):
            torch.testing.assert_close(half[0], whole[0] * 0.5)
        model.saliency_head = None
        assert torch.equal(model([x], branch="teacher")[0]["instances"].scores, found.scores)
    model.train()
    assert model([x], branch="teacher", do_postprocess=0) == {"loss_teacher": 0}
    assert model([x]) == {"loss_supervised": True}


class Masked(ToyDetector):
    """Masks, and boxes without area, as Mask2Former has."""

    def forward(self, batched_inputs):
        results = super().forward(batched_inputs)
        for found in (r["instances"] for r in results):
            masks = torch.zeros(len(found), 24, 32)
            for mask, label in zip(masks, found.pred_classes):
                mask[3 : 10 + label, 2 + label : 20] = 1
            found.pred_masks = masks if self.masks == "tensor" else BitMasks(masks > 0)
            found.pred_boxes = Boxes(torch.zeros(len(found), 4))
        return results


@pytest.mark.parametrize("masks", ["tensor", "BitMasks"])
def test_boxes_without_area_are_those_of_the_masks(masks, caplog):
    stock = toy(Masked, masks=masks)
    found = explained(explainable(stock), picture())
    labels = found.pred_classes.tolist()
    assert found.pred_boxes.tensor.tolist() == [[2 + k, 3, 20, 10 + k] for k in labels]
    assert_right(stock, found)
    assert found.pred_saliency.resize(24, 32)[:, 1:].abs().max() == 0
    assert "Masked returned boxes without area" in caplog.text or masks == "BitMasks"  # once


class Padded(ToyDetector):
    """Copies images into views of one tensor, as ImageList of Detectron2 0.6 does."""

    def forward(self, batched_inputs):
        images = [x["image"] for x in batched_inputs]
        if len(images) == 1 and not self.always:
            batch = images[0][None]
        else:
            batch = images[0].new_zeros(len(images), 3, 24, 32)
            for image, place in zip(images, batch):
                place[:].copy_(image)
        return super().forward([{"image": image} for image in batch])


def test_batches_of_models_that_pad_in_place():
    stock, images = toy(Padded, always=False), [picture(1)["image"], picture(2)["image"]]
    model = explainable(stock)
    with torch.no_grad():
        together = model.run([{"image": x} for x in images])
        assert len(stock([{"image": x} for x in images])) == 2
    images = [x.requires_grad_() for x in images]
    again = model.run([{"image": x} for x in images], together.instances)
    seen = set()
    for b, i, gradient in model.input_gradients(again, "score"):
        found = together.instances[b][i]
        p, weight = found.scores, stock.class_weights[int(found.pred_classes)]
        torch.testing.assert_close(gradient[0], p * (1 - p) * weight, rtol=1e-4, atol=1e-9)
        seen.add((b, i))
    assert seen == {(b, i) for b in (0, 1) for i in range(3)}


def test_a_model_that_always_pads_in_place_is_told_how_not_to():
    model = explainable(toy(Padded, always=True))
    with pytest.raises(RuntimeError, match=r"Padded writes into a view .*functional\.pad.*DRISE"):
        explained(model, picture())
