"""``TEST.SALIENCY``: how SaliencyEvaluator and the metrics of a report judge maps."""

from .key import LARGEST, Key
from .saliency_head import BASELINES

EVALUATION = {
    "METRICS": Key(
        [
            "deletion_insertion",
            "average_drop",
            "pointing_game",
            "pointing_game_masks",
            "iof_thirds",
            "coordinate_deletion",
        ],
        "Metrics, names of d2_saliency.evaluation.METRICS. Those that need masks or causes which "
        "the data set does not have are skipped.",
    ),
    "SCORE_THRESH": Key(
        0.6,
        "Explained detections with a score above this are judged (SSGrad-CAM++: 0.6, ODSmoothGrad: "
        "0.9).",
        low=-1e9,
        high=1e9,
    ),
    "IOU_THRESH": Key(
        0.7, "A detection is of an object of its class if their IoU is above this.", low=0, high=1
    ),
    "NUM_STEPS": Key(50, "Deletion and insertion: steps of equal area.", low=1, high=LARGEST),
    "DELETION_FILL": Key(
        "mean",
        'Deleted pixels take the "mean" (the image\'s mean colour), are "black" or a "blur".',
        choices=BASELINES,
    ),
    "INSERTION_FILL": Key("blur", "Insertion starts from this, likewise.", choices=BASELINES),
    "COORDINATE_AREA": Key(
        0.2,
        "Coordinate deletion: deleted pixels as a share of the box's area. The strip of an edge "
        "(0.1 of the side on either side of it) is 0.2 of it.",
        low=0,
        high=1e6,
    ),
    "NUM_DRAWS": Key(3, "Stability: noisy copies of the image.", low=1, high=LARGEST),
    "NOISE": Key(
        0.05,
        "Stability: standard deviation of the noise as a share of (max - min) of the image's "
        "pixels.",
        low=0,
        high=1e6,
    ),
    "BATCH_SIZE": Key(
        4,
        "Perturbed images computed at once on a GPU: memory, time, and the result by rounding. A "
        "CPU computes four at a time.",
        low=1,
        high=LARGEST,
        changes_results=False,
    ),
    "SEED": Key(
        0,
        "Seed of the order of pixels with equal saliency, and of noise.",
        low=0,
        high=LARGEST,
    ),
}
