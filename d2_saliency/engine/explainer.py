"""Explains one image after the other, in the manner of Detectron2's DefaultPredictor."""

from functools import partial
from typing import Dict, List, Optional, Sequence, Union

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from .. import data  # noqa: F401  # registers the data sets of the bundled detectors
from ..checkpoint.weights import find_weights, load_weights
from ..modeling import SaliencyMixin
from ..modeling.meta_arch.base import head_of
from ..modeling.objects import check_boxes, explain_objects
from ..utils.downloads import Limits
from .detector_classes import names_for
from .model_checks import check_class, check_pixels
from .parts import config_errors, from_lazy, from_yaml


class DefaultExplainer:
    """
    Detect and explain the objects of one image, given as ``cv2.imread`` returns it. Like
    ``DefaultPredictor`` it

    1. builds the model of a config, stock or ours, makes it explainable and loads
       ``MODEL.WEIGHTS``;
    2. takes BGR images and converts them to ``INPUT.FORMAT``;
    3. resizes them as ``INPUT.{MIN,MAX}_SIZE_TEST`` say;
    4. takes one image and returns its result, not a batch;

    and unlike it, it returns the explained detections only: those above
    ``MODEL.SALIENCY_HEAD.SCORE_THRESH``, at most ``MAX_INSTANCES``, best scores first. For all of
    them, call the model.

    Examples:
        ```python
        explainer = DefaultExplainer(cfg)
        instances = explainer(cv2.imread("input.jpg"))["instances"]
        instances.pred_saliency.resize(*instances.image_size)  # (N, 5, H, W)
        ```

    Attributes:
        model: the explaining model; set ``model.saliency_head`` for another method.
        class_names: those of the test set; None if it has none, or not as many as the model.
        weights: path or address that they were loaded from, "" if the weights are random.
    """

    def __init__(
        self,
        cfg,
        saliency_cfg: Optional[CfgNode] = None,
        config_file: str = "",
        trust_weights: bool = False,
    ):
        """
        Args:
            cfg: a CfgNode with the keys of :func:`add_saliency_config`, or a LazyConfig.
            saliency_cfg: for a LazyConfig, a CfgNode whose ``MODEL.SALIENCY_HEAD`` says how to
                explain.
            config_file: where the config is from; relative weights are also looked up beside it.
            trust_weights: allow the weights to be a pickle that runs code.

        Raises:
            ConfigError: the config describes no model that can be built, or one that divides by
                a PIXEL_STD of 0.
            WeightsError: the weights cannot be found or read, are another model's, or not finite.
        """
        with config_errors(config_file):
            parts = from_yaml(cfg) if isinstance(cfg, CfgNode) else from_lazy(cfg, saliency_cfg)
        self.weights: str = find_weights(parts["weights"], config_file)
        self.model: SaliencyMixin = parts["model"].eval()
        self.augmentation: T.Augmentation = parts["augmentation"]
        self.input_format: str = parts["input_format"]
        self.class_names: Optional[List[str]] = names_for(self.model, parts["data_set"])
        if self.input_format not in ("RGB", "BGR"):
            raise ValueError(
                f"INPUT.FORMAT is '{self.input_format}'; 'RGB' and 'BGR' are supported."
            )
        check_pixels(self.model)
        if self.model.saliency_head.target_class >= 0:
            target = self.model.saliency_head.target_class
            check_class(self.model, target, "MODEL.SALIENCY_HEAD.TARGET_CLASS: ")
        load_weights(self.model, self.weights, trust_weights, Limits.of(parts["download"]))

    def __call__(self, original_image: np.ndarray) -> Dict:
        """
        Args:
            original_image: (H, W, 3), uint8, BGR.

        Returns:
            dict: "instances" in coordinates of the original image, on the CPU, with
                ``pred_saliency``.
        """
        with torch.no_grad():
            results = self.model([self.preprocess(original_image)])[0]
        instances = results["instances"].to("cpu")
        return {**results, "instances": instances[instances.pred_saliency.explained]}

    def explain_objects(
        self, original_image: np.ndarray, boxes, classes: Sequence[Union[str, int]]
    ) -> Dict:
        """
        Explain objects that you name, detected or not: why was this missed, why A and not B?

        Args:
            original_image: (H, W, 3), uint8, BGR.
            boxes: (N, 4), x_min, y_min, x_max, y_max in pixels of the original image.
            classes: N names (see ``class_names``) or indices of classes.

        Returns:
            dict: "instances" as of :func:`explain_objects`, in coordinates of the original image,
                on the CPU.

        Raises:
            ValueError: for a box or class that cannot be explained; the message says why.
        """
        batched_input = self.preprocess(original_image)
        height, width = original_image.shape[:2]
        boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([self.class_index(c) for c in classes], dtype=torch.long)
        if len(boxes) != len(labels):
            raise ValueError(f"{len(boxes)} boxes need as many classes; got {len(labels)}.")
        check_boxes(boxes, (height, width))
        new_height, new_width = batched_input["image"].shape[-2:]
        scale = torch.tensor([new_width / width, new_height / height] * 2)
        found = explain_objects(self.model, batched_input, boxes * scale, labels).to("cpu")
        found.pred_boxes = Boxes(found.pred_boxes.tensor / scale)
        return {"instances": Instances((height, width), **found.get_fields())}

    def class_index(self, name: Union[str, int]) -> int:
        """Index of a class given by its name or index; ValueError for one that does not exist."""
        if self.class_names and name in self.class_names:
            name = self.class_names.index(name)
        if isinstance(name, int) or name.isdecimal():
            check_class(self.model, int(name))
            return int(name)
        known = ", ".join(self.class_names) if self.class_names else "known by their numbers only"
        raise ValueError(f"There is no class '{name}'. The classes are: {known}.")

    def choose_classes(self, saliency_cfg: CfgNode, names: Sequence[str]) -> CfgNode:
        """
        Explain detections of these classes only, with the model's method and those of the config.

        Args:
            names: or numbers of classes; empty: as ``saliency_cfg`` says.

        Returns:
            CfgNode: with their numbers as CLASSES. A ValueError if the model has no such class.
        """
        chosen = sorted({self.class_index(name) for name in names})
        if not chosen:
            return saliency_cfg
        saliency_cfg = saliency_cfg.clone()
        saliency_cfg.defrost()
        saliency_cfg.MODEL.SALIENCY_HEAD.CLASSES = chosen
        saliency_cfg.freeze()
        head_of(self.model).classes = chosen
        return saliency_cfg

    def preprocess(self, original_image: np.ndarray) -> Dict:
        """The input dict of the model for an image (H, W, 3), uint8, BGR."""
        height, width = original_image.shape[:2]
        image = original_image[:, :, ::-1] if self.input_format == "RGB" else original_image
        augmented = T.AugInput(np.ascontiguousarray(image))
        try:
            self.augmentation(augmented)
        except ValueError as e:  # Pillow's: a side became 0
            raise ValueError(
                f"An image of {width}x{height} pixels cannot be resized as INPUT.MIN_SIZE_TEST and "
                f"MAX_SIZE_TEST say ({e}); crop it."
            ) from e
        pixels = torch.as_tensor(augmented.image.astype("float32").transpose(2, 0, 1))
        return {"image": pixels, "height": height, "width": width}


class ObjectExplainer:
    """
    A :class:`DefaultExplainer` of objects that the user names, the same in every image.

    Args:
        explainer: whose model and method are used.
        boxes, classes: see :meth:`DefaultExplainer.explain_objects`.
    """

    def __init__(self, explainer: DefaultExplainer, boxes, classes: Sequence[Union[str, int]]):
        self.model, self.class_names, self.weights = (
            explainer.model,
            explainer.class_names,
            explainer.weights,
        )
        classes = [explainer.class_index(c) for c in classes]
        self._explain = partial(explainer.explain_objects, boxes=boxes, classes=classes)

    def __call__(self, original_image: np.ndarray) -> Dict:
        return self._explain(original_image)


Explainer = Union[DefaultExplainer, ObjectExplainer]
"""From an image to explained detections or objects."""
