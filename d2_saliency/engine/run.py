"""Explain many images: one failure is recorded and the rest is done; a run that was stopped goes on where it was."""

import logging
import time
from pathlib import Path
from typing import List

from tqdm import tqdm

from ..visualization import save_panels, write_report
from .explainer import DefaultExplainer
from .image_io import output_names, read_image
from .results import ResultsWriter

logger = logging.getLogger(__name__)


def explain_images(explainer: DefaultExplainer, paths: List[Path], writer: ResultsWriter) -> int:
    """
    Explain image files into an output folder: pictures, maps, results.json, errors.json and index.html.

    Images that an earlier run with the same config has finished are not computed again. Errors of one image (not an
    image, out of memory, ...) go to errors.json; an output folder that cannot be written to ends the run.

    Returns:
        int: the number of images that failed.
    """
    names = output_names(paths)
    failed = 0
    progress = tqdm(list(zip(names, paths)), desc="explaining", unit="image")
    for name, path in progress:
        progress.set_postfix_str(path.name)
        digest = writer.input_digest(path)
        if writer.is_done(name, digest):
            continue
        try:
            _explain_file(explainer, path, name, digest, writer)
        except OSError:
            raise  # of the output folder; unreadable images raise ImageError
        except (ValueError, RuntimeError, MemoryError) as e:
            failed += 1
            message = " ".join(str(e).split()) or type(e).__name__
            logger.error(f"{path}: {message}")
            logger.debug("", exc_info=True)
            writer.add_error(name, path, message)
    writer.finish(names)
    write_report(writer.output_dir)
    return failed


def _explain_file(explainer: DefaultExplainer, path: Path, name: str, digest: str, writer: ResultsWriter) -> None:
    start = time.perf_counter()
    image = read_image(path)
    instances = explainer(image)["instances"]
    seconds = time.perf_counter() - start
    save_panels(writer.output_dir / name, image, instances, explainer.class_names)
    writer.add_image(name, digest, path, image, instances, explainer.class_names, seconds)
