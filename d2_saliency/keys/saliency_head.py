"""``MODEL.SALIENCY_HEAD``: which method explains which detections, and how."""

from .key import LARGEST, Key, is_cell, is_index

CLASS_TARGETS = ("score", "logit", "contrast")
BASELINES = ("black", "mean", "blur")
"""Images without the information: :func:`d2_saliency.modeling.baselines.baseline_image`."""

SALIENCY_HEAD = {
    "NAME": Key("ODSmoothGrad", "The method, a name of SALIENCY_HEAD_REGISTRY."),
    "SCORE_THRESH": Key(
        0.5,
        "Detections with a score above this are explained (ODSmoothGrad's validation uses 0.9, "
        "SSGrad-CAM++'s 0.6).",
        low=-1e9,
        high=1e9,
    ),
    "MAX_INSTANCES": Key(
        20,
        "At most this many detections of an image are explained, best scores first; 0: all.",
        low=0,
        high=LARGEST,
    ),
    "CLASSES": Key(
        [],
        "Numbers of the classes whose detections are explained; []: all. --classes of the command "
        "line takes names, too.",
        each=is_index,
        hint="a list of the numbers of classes, from 0",
    ),
    "CLASS_TARGET": Key(
        "score",
        'The class map explains the "score" (ODSmoothGrad, second method: the output after softmax '
        'or sigmoid), the "logit" (first method: before it) or the "contrast" (logit of the class '
        "minus log-sum-exp of the other foreground logits: why this class and no other).",
        choices=CLASS_TARGETS,
    ),
    "TARGET_CLASS": Key(
        -1,
        "Index of the class to explain instead of the predicted one; -1: the predicted one.",
        low=-1,
        high=LARGEST,
    ),
    "MASK_OUTPUT": Key(
        False,
        "Mask R-CNN: the mask is explained, too, as the mean mask logit inside of it, in the field "
        "pred_mask_saliency.",
    ),
    "SEED": Key(
        0,
        "Seed of everything random in a method. The same seed gives the same maps, whatever the "
        "batch size.",
        low=0,
        high=LARGEST,
    ),
    "FOLD_NORMS": Key(
        True,
        "Gradients to pixels, D-RISE and metrics run a copy of the detector whose batch norms are "
        "part of the convolutions before them: the same function up to rounding, in less time "
        "(BENCHMARKS.md). The first image shows whether it is. Where it is not, a warning says so "
        "and the detector runs as it is.",
    ),
    "SKIP_ZEROS": Key(
        True,
        "Gradients to pixels, on a CPU: backward passes of convolutions leave out where a "
        "detection's gradient is zero. The maps are the same up to rounding, in less time where "
        "objects are small beside the image (BENCHMARKS.md).",
    ),
    "META_ARCHITECTURE": Key(
        "GeneralizedRCNN",
        "The architecture that META_ARCHITECTURE: SaliencyGeneric makes explainable.",
    ),
    # Limits of what MODEL.WEIGHTS may fetch. A config file can set them only with --trust-config.
    "DOWNLOAD.MAX_MB": Key(
        4000, "Largest file, in MB (10^6 bytes).", low=0, high=1e9, changes_results=False
    ),
    "DOWNLOAD.MAX_SECONDS": Key(
        3600,
        "Longest time from the first connection to the last byte, in seconds.",
        low=0,
        high=1e9,
        changes_results=False,
    ),
    # Noise passes, which all Smooth* methods share.
    "SMOOTHGRAD.NUM_SAMPLES": Key(
        20, "Number of noise passes n (ODSmoothGrad: 20).", low=0, high=LARGEST
    ),
    "SMOOTHGRAD.SIGMA": Key(
        0.05,
        "Standard deviation of the noise as a share of (max - min) of the image's pixels "
        "(ODSmoothGrad: 0.05).",
        low=0,
        high=1e6,
    ),
    "SMOOTHGRAD.IOU_THRESH": Key(
        0.7,
        "A detection under noise is the same one if its class agrees and its IoU is above this "
        "(ODSmoothGrad: 0.7).",
        low=0,
        high=1,
    ),
    "SMOOTHGRAD.MATCH": Key(
        "detection",
        '"detection" matches what the detector outputs under noise (ODSmoothGrad); "index" matches '
        "nothing and follows the detection's own proposal or anchor through the noise.",
        choices=("detection", "index"),
    ),
    "SMOOTHGRAD.BATCH_SIZE": Key(
        4,
        "Noise passes computed at once on a GPU: memory, time, and the result by rounding. A CPU "
        "computes one at a time.",
        low=1,
        high=LARGEST,
        changes_results=False,
    ),
    "SMOOTHGRAD.AUTOCAST": Key(
        False,
        "ODSmoothGrad runs the detector under noise in bfloat16: faster where the processor has "
        "it, and other maps (BENCHMARKS.md). Smooth Grad-CAM++ does not: its powers of small "
        "gradients come out as others.",
    ),
    "SMOOTHGRAD.WINDOW": Key(
        "off",
        'ODSmoothGrad: "auto" shows the detector under noise only the part of the image that holds '
        "99 % of a detection's noise-free gradient, if that is less than half of it; for small "
        'objects in large images. "off" is exact.',
        choices=("off", "auto"),
    ),
    # CAM methods.
    "LAYER": Key(
        "auto",
        'The feature map under study. "auto" is the pyramid level (or C4/DC5 map) that the '
        'detection was read from; the name of a module, such as "backbone.bottom_up.res4", takes '
        "its output (Smooth Grad-CAM++: layer selection).",
    ),
    "COORD_SIGN": Key(
        "both",
        'Coordinate maps are of "both" directions (the pixel-wise maximum of the maps of +Y and '
        '-Y), of one ("positive", "negative"), or of the one that makes the box smaller, which '
        'says that it ends there ("inward"; best for FCOS).',
        choices=("both", "positive", "negative", "inward"),
    ),
    "SMOOTH_SIGMA": Key(
        1.0,
        "Gaussian of ODAM and of the space maps of SSGrad-CAM(++), in cells of the feature map; "
        "0: none.",
        low=0,
        high=1000,
    ),
    "CHANNELS": Key(
        [],
        "Only these channels of the feature map count (Smooth Grad-CAM++); empty: all.",
        each=is_index,
        hint="whole numbers from 0, e.g. [3, 17]",
    ),
    "NEURONS": Key(
        [],
        "Only these cells [[y, x], ...] of the feature map count (Smooth Grad-CAM++); empty: all.",
        each=is_cell,
        hint="cells [[y, x], ...], e.g. [[4, 7], [4, 8]]",
    ),
    "REGION": Key(
        False,
        "NEURONS are two corners [[y0, x0], [y1, x1]] of a rectangle of cells, both included.",
    ),
    "NUMERATOR": Key(
        "D2",
        'Smooth Grad-CAM++: the numerator of alpha is "D2", as its Eq. (5) gives it, or "D1", as '
        "its Eq. (7) prints it.",
        choices=("D2", "D1"),
    ),
    # Integrated gradients.
    "INTEGRATED_GRADIENTS.NUM_STEPS": Key(
        20, "Steps on the way from the baseline to the image.", low=1, high=LARGEST
    ),
    "INTEGRATED_GRADIENTS.BASELINE": Key(
        "blur",
        'The way starts at a "blur" (Gaussian of a tenth of the shorter side), at "black" or at '
        'the "mean" (the image\'s mean colour).',
        choices=BASELINES,
    ),
    "INTEGRATED_GRADIENTS.BATCH_SIZE": Key(
        4,
        "Steps computed at once on a GPU: memory, time, and the result by rounding. A CPU computes "
        "one at a time.",
        low=1,
        high=LARGEST,
        changes_results=False,
    ),
    # D-RISE.
    "DRISE.ESTIMATOR": Key(
        "multiscale",
        "\"mean\" is the paper's map; with NUM_MASKS 5000 it is the paper's experiment. "
        '"multiscale" is ours; with 500 masks it is at least as faithful as "mean" with 5000 '
        "(BENCHMARKS.md).",
        choices=("mean", "multiscale"),
    ),
    "DRISE.NUM_MASKS": Key(500, "Number of masks N (paper: 5000).", low=2, high=LARGEST),
    "DRISE.GRID_SIZE": Key(
        16,
        'Rows and columns of the masks\' grid (paper: 16); "multiscale" also takes half as many.',
        low=2,
        high=1000,
    ),
    "DRISE.P": Key(0.5, "Probability that a cell is shown (paper: 0.5).", low=0.001, high=0.999),
    "DRISE.CONTEXT": Key(
        "black",
        'The hidden area is "black" (paper), of the image\'s "mean" colour, or a "blur".',
        choices=BASELINES,
    ),
    "DRISE.TOLERANCE": Key(
        0.0,
        "D-RISE stops early, looking every 100 masks, when 1 - reliability of every map is below "
        "this. The reliability of a map is known from how well those of the odd and of the even "
        "masks correlate. 0: it never stops early; 0.1 is a sensible value.",
        low=0,
        high=1,
    ),
    "DRISE.BATCH_SIZE": Key(
        4,
        "Masked images computed at once on a GPU: memory, time, and the result by rounding. A CPU "
        "computes four at a time.",
        low=1,
        high=LARGEST,
        changes_results=False,
    ),
    "DRISE.AUTOCAST": Key(
        False,
        "The model runs on masked images in bfloat16: faster where the processor has it; a little "
        "other maps.",
    ),
}
