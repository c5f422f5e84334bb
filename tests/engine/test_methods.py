"""The methods of a run: what they are called, which head explains, and what results.json says."""

import json

import pytest
from detectron2 import model_zoo

from d2_saliency.engine.methods import build_methods, method_cfgs
from d2_saliency.evaluation.reference_maps import REFERENCES, TrueCause
from d2_saliency.modeling.saliency_heads import ODAM, ODSmoothGrad
from tests.conftest import demo_cfg


@pytest.fixture
def cfg():
    return demo_cfg("faster_rcnn_planted")


def build_one(cfg, *args, **options):
    (method,) = build_methods(cfg, [cfg], "w.pth", *args, **options)
    return method


def changed(cfg, *opts):
    other = cfg.clone()
    other.merge_from_list([*opts])
    return other


def test_a_method_for_each_name_once(cfg):
    before = cfg.dump()
    cfgs = method_cfgs(cfg, ["ODSmoothGrad", "ODAM", "ODSmoothGrad"])
    methods = build_methods(cfg, cfgs, "w.pth")
    assert [method.name for method in methods] == ["ODSmoothGrad", "ODAM"]
    assert [type(method.head) for method in methods] == [ODSmoothGrad, ODAM]
    assert [method.run["method"] for method in methods] == ["ODSmoothGrad", "ODAM"]
    assert len({method.run["digest"] for method in methods}) == 2 and cfg.dump() == before
    (own,) = method_cfgs(changed(cfg, "MODEL.SALIENCY_HEAD.NAME", "GradCAM"))
    assert own.MODEL.SALIENCY_HEAD.NAME == "GradCAM"


def test_class_targets_have_names_of_their_own(cfg):
    targets = [changed(cfg, "MODEL.SALIENCY_HEAD.CLASS_TARGET", t) for t in ("score", "logit")]
    cfgs = [c for target in targets for c in method_cfgs(target, ["ODAM"])]
    methods = build_methods(cfg, [*cfgs, *cfgs], "")
    assert [method.name for method in methods] == ["ODAM", "ODAM_logit"]
    assert [method.run["method"] for method in methods] == ["ODAM", "ODAM"]  # as explained
    assert [method.run["class_target"] for method in methods] == ["score", "logit"]


def test_what_the_run_says(cfg):
    options = ["MODEL.SALIENCY_HEAD.SEED", 7, "MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES", 9]
    better = {"average_drop.drop": "lower"}
    run = build_one(changed(cfg, *options), command="explain --fast", better=better).run
    assert {key: run[key] for key in ("command", "method", "seed", "num_samples", "weights")} == {
        "command": "explain --fast",
        "method": "ODSmoothGrad",
        "seed": 7,
        "num_samples": 9,
        "weights": "w.pth",
    }
    assert run["metrics"] == better and json.loads(json.dumps(run)) == run
    assert build_one(changed(cfg, "MODEL.SALIENCY_HEAD.NAME", "ODAM")).run["num_samples"] is None


def test_the_digest_changes_with_all_that_decides_the_maps_and_nothing_else(cfg):
    first = build_one(cfg).run["digest"]
    assert build_one(cfg, command="other").run["digest"] == first
    assert build_one(changed(cfg, "MODEL.DEVICE", "cuda")).run["digest"] == first
    assert build_one(cfg, REFERENCES).run["digest"] == first
    box = [1.0, 2.0, 3.0, 4.0]
    others = [
        build_one(changed(cfg, "MODEL.SALIENCY_HEAD.SEED", 1)),
        build_one(changed(cfg, "INPUT.MIN_SIZE_TEST", 64)),
        build_one(cfg, better={"average_drop.drop": "lower"}),
        build_one(cfg, targets=[(box, "dog")]),
        build_one(cfg, targets=[(box, "cat")]),
    ]
    assert len({first, *(method.run["digest"] for method in others)}) == 6


def test_a_lazy_config_decides_too(cfg):
    lazy = model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x.py")
    digests = []
    for thresh in (0.1, 0.2, 0.2):
        lazy.model.test_score_thresh = thresh
        (method,) = build_methods(lazy, [cfg], "")
        digests.append(method.run["digest"])
    assert digests[0] != digests[1] == digests[2]


def test_reference_maps_are_methods_for_those_who_name_them(cfg):
    ours = changed(cfg, "MODEL.SALIENCY_HEAD.MAX_INSTANCES", 3, "MODEL.SALIENCY_HEAD.SEED", 5)
    cfgs = method_cfgs(ours, ["ODAM", "TrueCause"])
    methods = build_methods(cfg, cfgs, "", REFERENCES)
    assert [method.name for method in methods] == ["ODAM", "TrueCause"]
    head = methods[1].head
    assert type(head) is TrueCause and (head.max_instances, head.seed) == (3, 5)
    with pytest.raises(ValueError, match="There is no saliency method 'TrueCause'"):
        build_methods(cfg, cfgs, "")
