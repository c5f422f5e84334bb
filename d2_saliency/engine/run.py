"""Explain many images: one failure is recorded and the rest is done; a run that was stopped goes on where it was."""

import logging
import time
from pathlib import Path
from typing import List

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..visualization import save_panels, write_report
from .bundle import OutputError
from .config_files import one_line
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
    failed = done = 0
    package = logging.getLogger(__name__.split(".")[0])
    with logging_redirect_tqdm([package]), tqdm(total=len(paths), desc="explaining", unit="image") as progress:
        for name, path in zip(names, paths):
            digest = writer.input_digest(path)
            if writer.is_done(name, digest):
                done += 1
            else:
                progress.set_postfix_str(path.name)
                failed += not _explain_or_note(explainer, path, name, digest, writer)
            progress.update()
    if done:
        logger.info(f"{done} of {len(paths)} images were done already.")
    writer.finish(names)
    write_report(writer.output_dir)
    return failed


def _explain_or_note(explainer: DefaultExplainer, path: Path, name: str, digest: str, writer: ResultsWriter) -> bool:
    """Explain an image, or note the error. Returns whether it was explained."""
    try:
        _explain_file(explainer, path, name, digest, writer)
        return True
    except OutputError:
        raise
    except Exception as e:  # models are not ours: they may raise anything
        message = _describe(e)
        expected = isinstance(e, (ValueError, RuntimeError, MemoryError))
        logger.error(f"{str(path)!r}: {message}", exc_info=not expected)
        writer.add_error(name, path, message)
        return False


def _explain_file(explainer: DefaultExplainer, path: Path, name: str, digest: str, writer: ResultsWriter) -> None:
    start = time.perf_counter()
    image = read_image(path)
    instances = explainer(image)["instances"]
    seconds = time.perf_counter() - start
    save_panels(writer.output_dir / name, image, instances, explainer.class_names)
    writer.add_image(name, digest, path, image, instances, explainer.class_names, seconds)


def _describe(error: Exception) -> str:
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error):
        return (
            "Out of memory: make the image smaller, or lower INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST, "
            "MODEL.SALIENCY_HEAD.SMOOTHGRAD.BATCH_SIZE or --max-instances."
        )
    if isinstance(error, (ValueError, RuntimeError)):
        return one_line(error)
    return f"{type(error).__name__}: {one_line(error)}"
