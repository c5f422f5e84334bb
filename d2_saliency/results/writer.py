"""
Writes what a run leaves in its output folder; a run that was stopped goes on where it stopped.

OUT/maps/<method>/<image>.npz      the maps of one image (:func:`.maps_file.save_maps`)
OUT/report/pictures/<image>.jpg    the picture, reduced to what the report shows
OUT/records/<method>/<image>.json  an image's part of the two files below; written last: an image
                                   with it is done, as long as the files that belong to it are
                                   those that it names
OUT/results.json                   {"schema_version", "runs", "images", "detections"}: one run per
                                   method, one record per detection and method
                                   (:func:`.reader.load_results`)
OUT/errors.json                    the images that failed, and why: [] if none did
"""

import logging
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from detectron2.structures import Instances
from PIL import Image

from ..structures import saliency_fields
from ..utils.digest import file_digest
from ..utils.files import atomic_path, check_writable, inside, write_json
from .class_names import class_name
from .flags import detection_flags
from .maps_file import COUNTS, save_maps
from .record_store import RecordStore
from .shapes import IMAGE_RECORDS

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2
PICTURE_SIDE = 1024  # pixels of the longer side of OUT/report/pictures/<image>.jpg


class ResultsWriter:
    """
    Writes what one method makes of each image to the output folder described at the top of this
    file.

    Several processes may write to one folder, each its own images; one of them then calls
    :func:`finish_results`.
    """

    def __init__(self, output_dir: Union[str, Path], run: Dict[str, Any]):
        """
        Args:
            output_dir: made if missing
            run: from :func:`run_info`

        Raises:
            OutputError: the folder cannot be made or written to (here or in any other method).
        """
        self.output_dir = Path(output_dir)
        self.run = run
        self.method: str = run["method"]
        self.records = RecordStore(self.output_dir, self.method, run["digest"], IMAGE_RECORDS)
        check_writable(self.output_dir)

    def is_done(self, name: str, digest: str) -> bool:
        """
        Say whether the outputs of image ``name`` are complete, undamaged, and made by this config
        from this input.

        Args:
            digest: from :meth:`RecordStore.input_digest` of ``records``.
        """
        record = self.records.finished(name, digest)
        return record is not None and record.get("files") == self._files(name)

    def add_image(
        self,
        name: str,
        digest: str,
        path: Union[str, Path],
        image: np.ndarray,
        instances: Instances,
        class_names: Optional[Sequence[str]] = None,
        seconds: Optional[float] = None,
        warnings: Sequence[str] = (),
        metrics: Optional[Sequence[Dict[str, float]]] = None,
    ) -> None:
        """
        Write everything about one image but its panels. They belong to its record, too, so they are
        there before.

        Args:
            name: folder name of the image, from :func:`d2_saliency.utils.image_files.output_names`
            digest: from :meth:`RecordStore.input_digest` of ``records``
            path: the image file
            image: BGR, uint8, (H, W, 3)
            instances: detections in the coordinates of ``image``, with pred_saliency
            class_names: None: classes are called by their number
            seconds: time it took to detect and explain all of them
            warnings: notes on the image as a whole
            metrics: for each detection, name -> value of what was measured on its maps
        """
        with atomic_path(self._picture_path(name)) as temporary:
            picture = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            picture.save(temporary, quality=88)
        save_maps(self._maps_path(name), instances, self.run["digest"])
        about = {
            "name": name,
            "file": str(path),
            "height": image.shape[0],
            "width": image.shape[1],
            "seconds": {self.method: seconds},
            "warnings": list(warnings),
        }
        detections = self._detection_records(name, instances, class_names)
        for detection, values in zip(detections, metrics or ()):
            detection["metrics"] = {key: _number(value) for key, value in values.items()}
        record = {"image": about, "detections": detections, "files": self._files(name)}
        self.records.write(name, record, digest)

    def add_error(self, name: str, path: Union[str, Path], message: str) -> None:
        """Note that an image failed, and why. It is tried again when the run is resumed."""
        error = {"name": name, "file": str(path), "methods": [self.method], "error": message}
        self.records.write(name, {"error": error})

    def finish(self, names: Optional[Sequence[str]] = None) -> Dict[str, Any]:
        """:func:`finish_results` of a run with one method."""
        return finish_results([self], names)

    def _detection_records(
        self, name: str, instances: Instances, class_names: Optional[Sequence[str]]
    ) -> List[dict]:
        classes = instances.pred_classes.tolist()
        peaks = torch.cat([field.peaks for field in saliency_fields(instances)], dim=1).tolist()
        explained = instances.pred_saliency.explained.tolist()
        counts = {
            name: instances.get(name).tolist() if instances.has(name) else [None] * len(instances)
            for name in COUNTS
        }
        flags = detection_flags(instances)
        return [
            {
                "image": name,
                "index": i,
                "class_id": classes[i],
                "class_name": class_name(classes[i], class_names),
                "score": instances.scores[i].item(),
                "box": instances.pred_boxes.tensor[i].tolist(),
                "method": self.method,
                "explained": explained[i],
                **{count: numbers[i] for count, numbers in counts.items()},
                "peaks": [_number(p) for p in peaks[i]],
                "flags": flags[i],
                "metrics": {},
            }
            for i in range(len(instances))
        ]

    def _files(self, name: str) -> Dict[str, List[Any]]:
        """Size and digest of each file that belongs to an image's record, by its path."""
        panels = inside(self.output_dir, name, self.method).glob("[!.]*.png")
        paths = [self._maps_path(name), self._picture_path(name), *panels]
        return {
            path.relative_to(self.output_dir).as_posix(): [path.stat().st_size, file_digest(path)]
            for path in paths
            if path.is_file() and not path.is_symlink()
        }

    def _maps_path(self, name: str) -> Path:
        return inside(self.output_dir, "maps", self.method, f"{name}.npz")

    def _picture_path(self, name: str) -> Path:
        return inside(self.output_dir, "report", "pictures", f"{name}.jpg")


def finish_results(
    writers: Sequence[ResultsWriter], names: Optional[Sequence[str]] = None
) -> Dict[str, Any]:
    """
    Write results.json and errors.json from the records of some methods' runs, also those of a
    stopped run.

    Args:
        writers: one for each method, all for one output folder
        names: the images that count, in this order; None: every image in the folder, by name

    Returns:
        dict: the content of results.json.
    """
    folder = writers[0].output_dir
    if names is None:
        names = sorted({name for writer in writers for name in writer.records.names()})
    images: Dict[str, Dict[str, Any]] = {}
    errors: Dict[Tuple[str, str], Dict[str, Any]] = {}
    detections, missing = [], 0
    for name, writer in ((name, writer) for name in names for writer in writers):
        record = writer.records.read(name)
        if not record:
            missing += 1
        elif "error" in record:
            error = errors.setdefault(
                (name, record["error"]["error"]), {**record["error"], "methods": []}
            )
            error["methods"].append(writer.method)
        else:
            image = images.setdefault(name, record["image"])
            image["seconds"].update(record["image"]["seconds"])
            image["warnings"] += [
                text for text in record["image"]["warnings"] if text not in image["warnings"]
            ]
            detections += record["detections"]
    if missing:
        logger.warning("%s: %d images without a record of this run are left out.", folder, missing)
    runs = [writer.run for writer in writers]
    results = {
        "schema_version": SCHEMA_VERSION,
        "runs": runs,
        "images": [*images.values()],
        "detections": detections,
    }
    write_json(folder / "errors.json", [*errors.values()])
    write_json(folder / "results.json", results)
    return results


def _number(value: float) -> Optional[float]:
    """A number of JSON: None if it is not finite."""
    return value if math.isfinite(value) else None
