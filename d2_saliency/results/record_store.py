"""
Keeps what a method made of each image in a file, so that a run that was stopped goes on where it
stopped.
"""

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from ..utils.digest import digest, file_digest
from ..utils.files import inside, output_errors, write_json
from ..utils.regular_files import MAX_IMAGE, read_regular
from .shapes import fits_one

MAX_NAME_LENGTH = 80
MAX_RECORD = 10**8  # bytes


class RecordStore:
    """
    The files OUTPUT/records/<method>/<image>.json: the records of one method's run.

    A record is a dict of JSON. One with "detections" is of an image that is finished; one with
    "error" says why an image failed.
    """

    def __init__(
        self,
        output_dir: Union[str, Path],
        method: str,
        run_digest: str,
        shapes: Tuple[Any, ...] = ({},),
    ):
        """
        Args:
            output_dir: the folder is made when the first record is written.
            method: the method's name, as part of the path.
            run_digest: identifies all that decides the records but the images; records of other
                runs are as if they were not there.
            shapes: of records, see :mod:`.shapes`; what has none of them is as if it were not
                there.
        """
        self.output_dir, self.method = Path(output_dir), method
        self.run_digest = run_digest
        self.shapes = shapes

    def input_digest(self, file: Union[str, Path], *more: str) -> str:
        """
        Identify what this run makes of an image file, and of ``more`` that is known of the image.

        A file that cannot be read has a digest, too: no image with it is ever finished, and reading
        it says why.
        """
        return digest(self.run_digest, *more, file_digest(file, MAX_IMAGE))

    def write(self, name: str, record: Dict[str, Any], input_digest: str = "") -> None:
        """
        Write the record of an image, whole or not at all.

        Args:
            name: part of a file name, such as :func:`record_name`; another one for each image.
            record: without the keys "run" and "digest", which are added.
            input_digest: from :meth:`input_digest`; "" of an image that is to be tried again.

        Raises:
            OutputError: the folder cannot be made or written to.
        """
        write_json(self._path(name), {"run": self.run_digest, "digest": input_digest, **record})

    def read(self, name: str) -> Dict[str, Any]:
        """The record that this run wrote of an image, perhaps before it was stopped; {} if none."""
        try:
            record = json.loads(read_regular(self._path(name), MAX_RECORD))
        except (OSError, ValueError, RecursionError):  # none yet, or not ours
            return {}
        ours = isinstance(record, dict) and record.get("run") == self.run_digest
        return record if ours and fits_one(record, self.shapes) else {}

    def finished(self, name: str, input_digest: str) -> Optional[Dict[str, Any]]:
        """The record of an image if this run has finished it, from the same input."""
        record = self.read(name)
        return record if "detections" in record and record.get("digest") == input_digest else None

    def remove(self, name: str) -> None:
        """
        Take back what any run noted of an image, if one did.

        Raises:
            OutputError: the folder cannot be written to.
        """
        with output_errors(self.folder):
            self._path(name).unlink(missing_ok=True)

    def names(self) -> List[str]:
        """Every image that has a record, of whichever run, sorted."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.json"))

    @property
    def folder(self) -> Path:
        return inside(self.output_dir, "records", self.method)

    def _path(self, name: str) -> Path:
        return inside(self.output_dir, "records", self.method, f"{name}.json")


def record_name(image_id: Any) -> str:
    """The identifier of an image in a data set as part of a file name."""
    text = str(image_id)
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", text)[:MAX_NAME_LENGTH]
    # Different identifiers may look alike once they are safe.
    return safe if safe == text else f"{safe}_{digest(text)}"
