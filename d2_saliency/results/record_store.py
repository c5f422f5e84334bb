"""
One JSON file for each image that was measured, so that a run that was stopped goes on where it
stopped.
"""

import json
import re
from pathlib import Path
from typing import Any, Dict, Optional, Union

from ..utils.digest import digest, file_digest
from ..utils.files import write_json


class RecordStore:
    """
    The files FOLDER/<image id>.json.

    Args:
        folder: made when the first record is written.
        run_digest: identifies all that decides the numbers but the image and its annotations.
    """

    def __init__(self, folder: Union[str, Path], run_digest: str):
        self.folder = Path(folder)
        self.run_digest = run_digest

    def write(self, dataset_dict: Dict[str, Any], record: Dict[str, Any]) -> None:
        """
        Write the record of an image, whole or not at all.

        Raises:
            OutputError: the folder cannot be made or written to.
        """
        write_json(
            self._path(dataset_dict), {"digest": self._digest(dataset_dict), "record": record}
        )

    def read(self, dataset_dict: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """
        The record of an image if an earlier run wrote it that was the same in all that decides the
        numbers.
        """
        try:
            content = json.loads(self._path(dataset_dict).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # none yet, or not ours
            return None
        ours = isinstance(content, dict) and content.get("digest") == self._digest(dataset_dict)
        return content.get("record") if ours else None

    def _path(self, dataset_dict: Dict[str, Any]) -> Path:
        image_id = str(dataset_dict["image_id"])
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", image_id)[:80]
        # Different identifiers may look alike once they are safe.
        return self.folder / (
            f"{safe}.json" if safe == image_id else f"{safe}_{digest(image_id)}.json"
        )

    def _digest(self, dataset_dict: Dict[str, Any]) -> str:
        annotations = repr(dataset_dict.get("annotations"))
        return digest(self.run_digest, annotations, file_digest(dataset_dict.get("file_name", "")))
