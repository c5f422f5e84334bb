"""
Lazy config: NanoDet on the COCO photos of ../shared (development data that users do not have), as a
model of unknown architecture. For the table in BENCHMARKS.md:

    d2-saliency compare --config-file tests/evaluation/nanodet_photos.py --trust-config \
        --opts MODEL.SALIENCY_HEAD.LAYER fpn.lateral_convs.1
"""

import sys
from pathlib import Path

from detectron2.config import LazyCall
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.data.transforms import ResizeShortestEdge

SHARED = Path(__file__).resolve().parents[3] / "shared"
sys.path.insert(0, str(SHARED / "models"))

from nanodet_d2 import load_nanodet  # noqa: E402

NAME = "coco_photos_val"
if NAME not in DatasetCatalog:
    coco = SHARED / "data" / "coco"
    register_coco_instances(
        NAME, {}, str(coco / "annotations/instances_val2017.json"), str(coco / "val2017")
    )

# What it says below its usual threshold of 0.3 belongs to the raw outputs that metrics and
# black-box methods ask for.
model = LazyCall(load_nanodet)(
    weights=str(SHARED / "data/weights/nanodet_m_coco.pth"), score_thresh=0.02
)
dataloader = {
    "test": {
        "dataset": {"names": NAME},
        "mapper": {
            "augmentations": [
                LazyCall(ResizeShortestEdge)(short_edge_length=[240, 240], max_size=320)
            ],
            "image_format": "BGR",
        },
    }
}
train = {"init_checkpoint": ""}
