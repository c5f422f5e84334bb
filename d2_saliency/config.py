"""Config keys of d2_saliency: one node, ``MODEL.SALIENCY_HEAD``."""

from detectron2.config import CfgNode as CN


def add_saliency_config(cfg: CN) -> None:
    """Add d2_saliency's keys with their defaults to a config. Call it before ``merge_from_file``."""
    cfg.MODEL.SALIENCY_HEAD = CN()
    head = cfg.MODEL.SALIENCY_HEAD
    # Method: a name of SALIENCY_HEAD_REGISTRY.
    head.NAME = "ODSmoothGrad"
    # Detections with a score above this are explained (ODSmoothGrad's validation uses 0.9, SSGrad-CAM++'s 0.6).
    head.SCORE_THRESH = 0.5
    # At most this many detections of an image are explained, best scores first. 0: all of them.
    head.MAX_INSTANCES = 20
    # What "the class" means: "score" (ODSmoothGrad, second method: the output after softmax or sigmoid),
    # "logit" (first method: before it) or "contrast" (logit of the class minus log-sum-exp of the other foreground
    # logits: why this class and no other).
    head.CLASS_TARGET = "score"
    # Index of the class to explain instead of the predicted one; -1: the predicted one.
    head.TARGET_CLASS = -1
    # Seed of everything random in a method. The same seed gives the same maps, whatever the batch size.
    head.SEED = 0
    # Architecture that META_ARCHITECTURE: SaliencyGeneric makes explainable.
    head.META_ARCHITECTURE = "GeneralizedRCNN"

    # Noise passes, shared by every Smooth* method.
    head.SMOOTHGRAD = CN()
    # Number of noise passes n (ODSmoothGrad: 20).
    head.SMOOTHGRAD.NUM_SAMPLES = 20
    # Standard deviation of the noise as a share of (max - min) of the image's pixels (ODSmoothGrad: 0.05).
    head.SMOOTHGRAD.SIGMA = 0.05
    # A detection under noise is the same one if its class agrees and its IoU is above this (ODSmoothGrad: 0.7).
    head.SMOOTHGRAD.IOU_THRESH = 0.7
    # "detection": match what the detector outputs under noise (ODSmoothGrad);
    # "index": no matching, follow the detection's own proposal or anchor through the noise.
    head.SMOOTHGRAD.MATCH = "detection"
    # Noise passes computed at once. Changes memory and time, not the result.
    head.SMOOTHGRAD.BATCH_SIZE = 4

    # CAM methods.
    # Feature map under study: "auto" is the pyramid level (or C4/DC5 map) that the detection was read from; a module
    # name such as "backbone.bottom_up.res4" takes that layer (Smooth Grad-CAM++: layer selection).
    head.LAYER = "auto"
    # Coordinate maps: the pixel-wise maximum of the maps of +Y and -Y ("both"), or one of them ("positive",
    # "negative").
    head.COORD_SIGN = "both"
    # Gaussian of ODAM and of the space maps of SSGrad-CAM(++), in cells of the feature map; 0: none.
    head.SMOOTH_SIGMA = 1.0
    # Use only these channels of the feature map (Smooth Grad-CAM++); empty: all.
    head.CHANNELS = []
    # Use only these cells [[y, x], ...] of the feature map (Smooth Grad-CAM++); empty: all.
    head.NEURONS = []
    # NEURONS are two corners [[y0, x0], [y1, x1]] of a rectangle of cells, both included.
    head.REGION = False
    # Smooth Grad-CAM++: numerator of alpha, "D2" as its Eq. (5) gives it, or "D1" as its Eq. (7) prints it.
    head.NUMERATOR = "D2"

    # Integrated gradients.
    head.INTEGRATED_GRADIENTS = CN()
    # Steps on the way from the baseline to the image.
    head.INTEGRATED_GRADIENTS.NUM_STEPS = 20
    # "blur" (Gaussian of a tenth of the shorter side) or "black".
    head.INTEGRATED_GRADIENTS.BASELINE = "blur"
    # Steps computed at once. Changes memory and time, not the result.
    head.INTEGRATED_GRADIENTS.BATCH_SIZE = 4
