"""
Writes what a run leaves in its output folder; a run that was stopped goes on where it stopped.

OUT/maps/<image>.npz      the maps of one image (:func:`d2_saliency.engine.bundle.save_maps`)
OUT/<image>/image.jpg     the picture, reduced to what the report shows
OUT/records/<image>.json  one image's part of the two files below; written last: an image with it is done
OUT/results.json          {"schema_version", "run", "images", "detections"}: one record per detection
OUT/errors.json           the images that failed, and why: [] if none did
"""

import json
import logging
import math
import platform
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import detectron2
import numpy as np
import torch
from detectron2.structures import Instances
from PIL import Image

import d2_saliency
from d2_saliency.engine.bundle import atomic_path, check_writable, save_maps, write_json
from d2_saliency.engine.digest import digest, file_digest
from d2_saliency.structures import OUTPUTS

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
PICTURE_SIDE = 1024  # pixels of the longer side of OUT/<image>/image.jpg


def detection_flags(instances: Instances, num_samples: Optional[int] = None) -> List[List[str]]:
    """
    What a person should know before trusting the maps: for each detection a list of notes, mostly empty.

    Args:
        instances: with pred_saliency and, from methods with noise passes, num_matched
        num_samples: number of noise passes
    """
    peaks, explained = instances.pred_saliency.peaks.tolist(), instances.pred_saliency.explained.tolist()
    flags = []
    for i in range(len(instances)):
        notes = [f"zero map: {name}" for name, peak in zip(OUTPUTS, peaks[i]) if peak == 0]
        notes += [f"map not finite: {name}" for name, peak in zip(OUTPUTS, peaks[i]) if not math.isfinite(peak)]
        if instances.has("num_matched") and num_samples:
            matched = int(instances.num_matched[i])
            if matched == 0:
                notes.append("never found again under noise: map of the clean image")
            elif matched < num_samples / 2:
                notes.append(f"found again in {matched} of {num_samples} noise passes")
        flags.append(notes if explained[i] else [])
    return flags


def run_info(
    command: str, config: str, method: str, seed: int, weights: str = "", num_samples: Optional[int] = None
) -> Dict[str, Any]:
    """
    The "run" of results.json: how the maps were made.

    Args:
        command: the command line
        config: the whole config as text, see :func:`d2_saliency.engine.digest.config_text`
        method: name of the saliency head
        seed: seed of the method
        weights: ``cfg.MODEL.WEIGHTS``; a file is identified by its content, anything else by its name
        num_samples: number of noise passes, None for a method without

    Returns:
        dict: with "digest", which changes whenever the results could.
    """
    weights_digest = file_digest(weights) or weights
    return {
        "command": command,
        "method": method,
        "seed": seed,
        "num_samples": num_samples,
        "weights": weights,
        "config_digest": digest(config),
        "digest": digest(config, method, seed, num_samples, weights_digest, d2_saliency.__version__),
        "versions": {
            "d2_saliency": d2_saliency.__version__,
            "detectron2": detectron2.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


class ResultsWriter:
    """
    Writes the output folder described at the top of this file, one image at a time.

    Several processes may write to one folder, each its own images; one of them then calls :meth:`finish`.
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
        check_writable(self.output_dir)

    def input_digest(self, path: Union[str, Path]) -> str:
        """Identifies what this run makes of an image: changes with the config and with the file's content."""
        # A file that cannot be read has a digest, too: no image with it is ever done, reading it says why.
        return digest(self.run["digest"], file_digest(path))

    def is_done(self, name: str, digest: str) -> bool:
        """Whether the outputs of image ``name`` are complete, and made by this config from this input."""
        record = self._read_record(name)
        return "detections" in record and record.get("digest") == digest and self._maps_path(name).is_file()

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
    ) -> None:
        """
        Write everything about one image.

        Args:
            name: folder name of the image, from :func:`d2_saliency.engine.image_io.output_names`
            digest: from :meth:`input_digest`
            path: the image file
            image: BGR, uint8, (H, W, 3)
            instances: detections in the coordinates of ``image``, with pred_saliency
            class_names: None: classes are called by their number
            seconds: time it took to detect and explain all of them
            warnings: notes on the image as a whole
        """
        with atomic_path(self.output_dir / name / "image.jpg") as temporary:
            picture = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            picture.save(temporary, quality=88)
        save_maps(self._maps_path(name), instances)
        record = {
            "name": name,
            "file": str(path),
            "height": image.shape[0],
            "width": image.shape[1],
            "seconds": seconds,
            "warnings": list(warnings),
        }
        detections = self._detection_records(name, instances, class_names)
        content = {"run": self.run["digest"], "digest": digest, "image": record, "detections": detections}
        write_json(self._record_path(name), content)

    def add_error(self, name: str, path: Union[str, Path], message: str) -> None:
        """Note that an image failed, and why. It is tried again when the run is resumed."""
        error = {"name": name, "file": str(path), "error": message}
        write_json(self._record_path(name), {"run": self.run["digest"], "error": error})

    def finish(self, names: Optional[Sequence[str]] = None) -> Dict[str, Any]:
        """
        Write results.json and errors.json from the records of this config, also those of a stopped run.

        Args:
            names: the images that count, in this order; None: every image in the folder, by name

        Returns:
            dict: the content of results.json.
        """
        if names is None:
            names = sorted(path.stem for path in self.output_dir.glob("records/[!.]*.json"))
        records = [self._read_record(name) for name in names]
        current = [record for record in records if record.get("run") == self.run["digest"]]
        if len(current) < len(records):
            count = len(records) - len(current)
            logger.warning("%s: %d images without a record of this run are left out.", self.output_dir, count)
        done = [record for record in current if "detections" in record]
        results = {
            "schema_version": SCHEMA_VERSION,
            "run": self.run,
            "images": [record["image"] for record in done],
            "detections": [detection for record in done for detection in record["detections"]],
        }
        errors = [record["error"] for record in current if "error" in record]
        write_json(self.output_dir / "errors.json", errors)
        write_json(self.output_dir / "results.json", results)
        return results

    def _detection_records(self, name: str, instances: Instances, class_names: Optional[Sequence[str]]) -> List[dict]:
        classes = instances.pred_classes.tolist()
        peaks, explained = instances.pred_saliency.peaks.tolist(), instances.pred_saliency.explained.tolist()
        matched = instances.num_matched.tolist() if instances.has("num_matched") else [None] * len(instances)
        flags = detection_flags(instances, self.run["num_samples"])
        return [
            {
                "image": name,
                "index": i,
                "class_id": classes[i],
                "class_name": class_name(classes[i], class_names),
                "score": instances.scores[i].item(),
                "box": instances.pred_boxes.tensor[i].tolist(),
                "method": self.run["method"],
                "explained": explained[i],
                "num_matched": matched[i],
                "num_samples": self.run["num_samples"],
                "peaks": [p if math.isfinite(p) else None for p in peaks[i]],
                "flags": flags[i],
            }
            for i in range(len(instances))
        ]

    def _maps_path(self, name: str) -> Path:
        return self.output_dir / "maps" / f"{name}.npz"

    def _record_path(self, name: str) -> Path:
        return self.output_dir / "records" / f"{name}.json"

    def _read_record(self, name: str) -> dict:
        try:
            return json.loads(self._record_path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none yet, or not ours
            return {}


def class_name(class_id: int, class_names: Optional[Sequence[str]]) -> str:
    """Name of a class, or "class 7" where there is no name (no metadata, or metadata of fewer classes)."""
    return class_names[class_id] if class_names and class_id < len(class_names) else f"class {class_id}"
