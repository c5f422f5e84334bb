"""
``MODEL.FCOS``: the architecture SaliencyFCOS. Detectron2 has no keys for FCOS; the defaults are
those of its lazy config fcos_R_50_FPN_1x.py.
"""

from .key import LARGEST, Key

FCOS = {
    "NUM_CLASSES": Key(80, "Number of foreground classes.", low=1, high=LARGEST),
    "IN_FEATURES": Key(["p3", "p4", "p5", "p6", "p7"], "Pyramid levels with points, finest first."),
    "NUM_CONVS": Key(4, "Convolutions before each prediction layer.", low=0, high=LARGEST),
    "NORM": Key("GN", 'Norm after each of these convolutions; "": none.'),
    "PRIOR_PROB": Key(
        0.01,
        "Score that a new model gives to every class at the start of training.",
        low=1e-6,
        high=0.999999,
    ),
    "CENTER_SAMPLING_RADIUS": Key(
        1.5,
        "Points this near to the centre of an object, in cells, learn to detect it.",
        low=0,
        high=1e6,
    ),
    "FOCAL_LOSS_ALPHA": Key(
        0.25, "Weight of the foreground in the focal loss; -1: none.", low=-1, high=1
    ),
    "FOCAL_LOSS_GAMMA": Key(2.0, "Exponent of the focal loss.", low=0, high=1000),
    "SCORE_THRESH_TEST": Key(0.2, "Smallest score of a detection.", low=-1e9, high=1e9),
    "TOPK_CANDIDATES_TEST": Key(
        1000, "At most this many candidates of each level count.", low=0, high=LARGEST
    ),
    "NMS_THRESH_TEST": Key(0.6, "Largest IoU of two detections of a class.", low=0, high=1),
}
