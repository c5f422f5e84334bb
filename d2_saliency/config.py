"""
Config keys of d2_saliency: ``MODEL.SALIENCY_HEAD``, ``TEST.SALIENCY``, and ``MODEL.FCOS`` of
SaliencyFCOS.
"""

from detectron2.config import CfgNode as CN


def add_saliency_config(cfg: CN) -> None:
    """
    Add d2_saliency's keys with their defaults to a config. Call it before ``merge_from_file``.
    """
    if "FCOS" not in cfg.MODEL:  # another project's FCOS keeps its keys
        _add_fcos_config(cfg)
    _add_evaluation_config(cfg)
    cfg.MODEL.SALIENCY_HEAD = CN()
    head = cfg.MODEL.SALIENCY_HEAD
    # Method: a name of SALIENCY_HEAD_REGISTRY.
    head.NAME = "ODSmoothGrad"
    # Detections with a score above this are explained (ODSmoothGrad's validation uses 0.9,
    # SSGrad-CAM++'s 0.6).
    head.SCORE_THRESH = 0.5
    # At most this many detections of an image are explained, best scores first. 0: all of them.
    head.MAX_INSTANCES = 20
    # What "the class" means: "score" (ODSmoothGrad, second method: the output after softmax or
    # sigmoid), "logit" (first method: before it) or "contrast" (logit of the class minus
    # log-sum-exp of the other foreground logits: why this class and no other).
    head.CLASS_TARGET = "score"
    # Index of the class to explain instead of the predicted one; -1: the predicted one.
    head.TARGET_CLASS = -1
    # Mask R-CNN: also explain the mask, as the mean mask logit inside of it, in the field
    # pred_mask_saliency.
    head.MASK_OUTPUT = False
    # Seed of everything random in a method. The same seed gives the same maps, whatever the batch
    # size.
    head.SEED = 0
    # Gradients to pixels and D-RISE run the detector as a copy whose batch norms are part of the
    # convolutions before them, channels last: the same function up to rounding, in less time.
    # BENCHMARKS.md has its effect.
    head.FOLD_NORMS = True
    # Gradients to pixels, on a CPU: backward passes of convolutions leave out where a detection's
    # gradient is zero. The same maps up to rounding, in less time where objects are small beside
    # the image (BENCHMARKS.md).
    head.SKIP_ZEROS = True
    # Architecture that META_ARCHITECTURE: SaliencyGeneric makes explainable.
    head.META_ARCHITECTURE = "GeneralizedRCNN"

    # Limits of what MODEL.WEIGHTS may fetch. A config file can set them only with --trust-config.
    head.DOWNLOAD = CN()
    # Largest file, in MB (10^6 bytes).
    head.DOWNLOAD.MAX_MB = 4000
    # Longest time from the first connection to the last byte, in seconds.
    head.DOWNLOAD.MAX_SECONDS = 3600

    # Noise passes, shared by every Smooth* method.
    head.SMOOTHGRAD = CN()
    # Number of noise passes n (ODSmoothGrad: 20).
    head.SMOOTHGRAD.NUM_SAMPLES = 20
    # Standard deviation of the noise as a share of (max - min) of the image's pixels (ODSmoothGrad:
    # 0.05).
    head.SMOOTHGRAD.SIGMA = 0.05
    # A detection under noise is the same one if its class agrees and its IoU is above this
    # (ODSmoothGrad: 0.7).
    head.SMOOTHGRAD.IOU_THRESH = 0.7
    # "detection": match what the detector outputs under noise (ODSmoothGrad);
    # "index": no matching, follow the detection's own proposal or anchor through the noise.
    head.SMOOTHGRAD.MATCH = "detection"
    # Noise passes computed at once on a GPU: memory, time, and the result by rounding. A CPU
    # computes one at a time.
    head.SMOOTHGRAD.BATCH_SIZE = 4
    # ODSmoothGrad: run the detector under noise in bfloat16; faster where the processor has it, and
    # other maps (see BENCHMARKS.md). Smooth Grad-CAM++ does not: its powers of small gradients come
    # out as others.
    head.SMOOTHGRAD.AUTOCAST = False
    # ODSmoothGrad: "auto" shows the detector under noise only the part of the image that holds 99 %
    # of a detection's noise-free gradient, if that is less than half of it; for small objects in
    # large images. "off" is exact.
    head.SMOOTHGRAD.WINDOW = "off"

    # CAM methods.
    # Feature map under study: "auto" is the pyramid level (or C4/DC5 map) that the detection was
    # read from; a module name such as "backbone.bottom_up.res4" takes that layer (Smooth
    # Grad-CAM++: layer selection).
    head.LAYER = "auto"
    # Coordinate maps: the pixel-wise maximum of the maps of +Y and -Y ("both"), or one of them
    # ("positive", "negative"), or the one that makes the box smaller: what says that it ends there
    # ("inward"; best for FCOS).
    head.COORD_SIGN = "both"
    # Gaussian of ODAM and of the space maps of SSGrad-CAM(++), in cells of the feature map; 0:
    # none.
    head.SMOOTH_SIGMA = 1.0
    # Use only these channels of the feature map (Smooth Grad-CAM++); empty: all.
    head.CHANNELS = []
    # Use only these cells [[y, x], ...] of the feature map (Smooth Grad-CAM++); empty: all.
    head.NEURONS = []
    # NEURONS are two corners [[y0, x0], [y1, x1]] of a rectangle of cells, both included.
    head.REGION = False
    # Smooth Grad-CAM++: numerator of alpha, "D2" as its Eq. (5) gives it, or "D1" as its Eq. (7)
    # prints it.
    head.NUMERATOR = "D2"

    # Integrated gradients.
    head.INTEGRATED_GRADIENTS = CN()
    # Steps on the way from the baseline to the image.
    head.INTEGRATED_GRADIENTS.NUM_STEPS = 20
    # "blur" (Gaussian of a tenth of the shorter side), "black" or "mean" (the image's mean colour).
    head.INTEGRATED_GRADIENTS.BASELINE = "blur"
    # Steps computed at once on a GPU: memory, time, and the result by rounding. A CPU computes one
    # at a time.
    head.INTEGRATED_GRADIENTS.BATCH_SIZE = 4

    # D-RISE.
    head.DRISE = CN()
    # "mean": the paper's map; with NUM_MASKS 5000 the paper's experiment.
    # "multiscale" (ours): with 500 masks at least as faithful as "mean" with 5000 (BENCHMARKS.md).
    head.DRISE.ESTIMATOR = "multiscale"
    # Number of masks N (paper: 5000).
    head.DRISE.NUM_MASKS = 500
    # Rows and columns of the masks' grid (paper: 16); "multiscale" also takes half as many.
    head.DRISE.GRID_SIZE = 16
    # Probability that a cell is shown (paper: 0.5).
    head.DRISE.P = 0.5
    # What fills the hidden area: "black" (paper), "mean" (the image's mean colour) or "blur".
    head.DRISE.CONTEXT = "black"
    # Stop early, looking every 100 masks, when 1 - reliability of every map is below this; the
    # reliability of a map is known from how well those of the odd and of the even masks correlate.
    # 0: never; 0.1 is a sensible value.
    head.DRISE.TOLERANCE = 0.0
    # Masked images computed at once on a GPU: memory, time, and the result by rounding. A CPU
    # computes four at a time.
    head.DRISE.BATCH_SIZE = 4
    # Run the model on masked images in bfloat16: faster where the processor has it; a little other
    # maps.
    head.DRISE.AUTOCAST = False


def _add_fcos_config(cfg: CN) -> None:
    """
    Keys of SaliencyFCOS; Detectron2 has none for FCOS. Defaults: its lazy config
    fcos_R_50_FPN_1x.py.
    """
    cfg.MODEL.FCOS = CN()
    fcos = cfg.MODEL.FCOS
    # Number of foreground classes.
    fcos.NUM_CLASSES = 80
    # Pyramid levels with points, finest first.
    fcos.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
    # Convolutions before each prediction layer, and the norm after each of them; "": none.
    fcos.NUM_CONVS = 4
    fcos.NORM = "GN"
    # Score that a new model gives to every class at the start of training.
    fcos.PRIOR_PROB = 0.01
    # Points this near to the centre of an object, in cells, learn to detect it.
    fcos.CENTER_SAMPLING_RADIUS = 1.5
    # Focal loss.
    fcos.FOCAL_LOSS_ALPHA = 0.25
    fcos.FOCAL_LOSS_GAMMA = 2.0
    # Inference: smallest score, largest number of candidates on each level, largest IoU of two
    # detections of a class.
    fcos.SCORE_THRESH_TEST = 0.2
    fcos.TOPK_CANDIDATES_TEST = 1000
    fcos.NMS_THRESH_TEST = 0.6


def _add_evaluation_config(cfg: CN) -> None:
    cfg.TEST.SALIENCY = CN()
    test = cfg.TEST.SALIENCY
    # Metrics of SaliencyEvaluator: names of d2_saliency.evaluation.METRICS. Those that need masks
    # or causes which the data set does not have are skipped.
    test.METRICS = [
        "deletion_insertion",
        "average_drop",
        "pointing_game",
        "pointing_game_masks",
        "iof_thirds",
        "coordinate_deletion",
    ]
    # Explained detections with a score above this are judged (SSGrad-CAM++: 0.6, ODSmoothGrad:
    # 0.9).
    test.SCORE_THRESH = 0.6
    # A detection is of an object of its class if their IoU is above this.
    test.IOU_THRESH = 0.7
    # Deletion and insertion: steps of equal area.
    test.NUM_STEPS = 50
    # What deleted pixels become: "mean" (the image's mean colour), "black" or "blur".
    test.DELETION_FILL = "mean"
    # What insertion starts from, likewise.
    test.INSERTION_FILL = "blur"
    # Coordinate deletion: deleted pixels as a share of the box's area.
    test.COORDINATE_AREA = 0.2
    # Stability: noisy copies of the image, and their noise as a share of (max - min) of the image's
    # pixels.
    test.NUM_DRAWS = 3
    test.NOISE = 0.05
    # Perturbed images computed at once on a GPU: memory, time, and the result by rounding. A CPU
    # computes four.
    test.BATCH_SIZE = 4
    # Seed of the order of pixels with equal saliency, and of noise.
    test.SEED = 0
