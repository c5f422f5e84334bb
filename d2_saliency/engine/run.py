"""
Explain many images: one failure is recorded and the rest is done; a run that was stopped goes on
where it was.
"""

import logging
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple, Union

import numpy as np
from detectron2.structures import Instances
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..modeling import SaliencyHead
from ..results.writer import ResultsWriter, finish_results
from ..utils.files import OutputError, inside
from ..utils.folder_lock import folder_lock
from ..utils.image_files import output_names
from ..utils.image_io import read_image
from ..utils.text import printable
from ..visualization import save_panels, write_report
from .explainer import Explainer
from .guard import image_errors
from .methods import Method

logger = logging.getLogger(__name__)

Measure = Callable[[np.ndarray, Instances], List[Dict[str, float]]]
"""
An image (BGR) and its N explained detections -> for each of them, what was measured on its maps.
"""


def explain_images(
    explainer: Explainer,
    paths: List[Path],
    methods: Sequence[Method],
    output_dir: Union[str, Path],
    measure: Optional[Measure] = None,
    num_panels: Optional[int] = None,
) -> int:
    """
    Explain image files into an output folder: pictures, maps, results.json, errors.json and
    index.html.

    Images that an earlier run with the same config has finished are not computed again. Errors of
    one image (not an image, out of memory, ...) go to errors.json; an output folder that cannot be
    written to ends the run.

    Args:
        explainer: its model's saliency head is replaced.
        paths: image files.
        methods: one or more, from :func:`build_methods`.
        output_dir: for the files above.
        measure: called after each method has explained an image, with the model as that method left
            it.
        num_panels: draw the panels of the first that many images only; None: of all.

    Returns:
        int: the number of images that failed, with one method or all of them.

    Raises:
        OutputError: another run is using the folder, or it cannot be written to.
    """
    names, writers = output_names(paths), [ResultsWriter(output_dir, m.run) for m in methods]
    with folder_lock(output_dir):
        failed = _explain_files(explainer, paths, names, methods, writers, measure, num_panels)
        results = finish_results(writers, names)
        write_report(output_dir)
    lost = set(names) - failed - {image["name"] for image in results["images"]}
    if lost:
        raise OutputError(
            f"{len(lost)} of {len(paths)} images have vanished from {str(output_dir)!r} during the "
            "run: something removed their records; give the same command again."
        )
    return len(failed)


def _explain_files(
    explainer: Explainer,
    paths: List[Path],
    names: List[str],
    methods: Sequence[Method],
    writers: List[ResultsWriter],
    measure: Optional[Measure],
    num_panels: Optional[int],
) -> Set[str]:
    """Explain the images that are not finished. Returns the names of those that failed."""
    failed, done = set(), 0
    package = logging.getLogger(__name__.split(".")[0])
    with (
        logging_redirect_tqdm([package]),
        tqdm(total=len(paths), desc="explaining", unit="image") as progress,
    ):
        for i, (name, path) in enumerate(zip(names, paths)):
            digests = [writer.records.input_digest(path) for writer in writers]
            to_do = [
                (method.head, writer, digest)
                for method, writer, digest in zip(methods, writers, digests)
                if not writer.is_done(name, digest)
            ]
            if to_do:
                progress.set_postfix_str(" ".join(printable(path.name).split()))
                panels = num_panels is None or i < num_panels
                if not _explain_file(explainer, path, name, to_do, measure, panels):
                    failed.add(name)
            else:
                done += 1
            progress.update()
    if done:
        logger.info(f"{done} of {len(paths)} images were done already.")
    return failed


def _explain_file(
    explainer: Explainer,
    path: Path,
    name: str,
    methods: List[Tuple[SaliencyHead, ResultsWriter, str]],
    measure: Optional[Measure],
    panels: bool,
) -> bool:
    """Explain an image with some methods, or note the errors. Returns whether all went well."""
    image, failed = None, False
    for head, writer, digest in methods:
        with image_errors(path) as errors:
            image = read_image(path) if image is None else image
            explainer.model.saliency_head = head
            _explain_image(explainer, path, name, image, writer, digest, measure, panels)
        for message in errors:
            writer.add_error(name, path, message)
            failed = True
    return not failed


def _explain_image(
    explainer: Explainer,
    path: Path,
    name: str,
    image: np.ndarray,
    writer: ResultsWriter,
    digest: str,
    measure: Optional[Measure],
    panels: bool,
) -> None:
    start = time.perf_counter()
    instances = explainer(image)["instances"]
    seconds = time.perf_counter() - start
    metrics = measure(image, instances) if measure else None
    writer.records.remove(name)  # from now on the image's files may be those of this run
    class_names = explainer.class_names
    drawn = instances if panels else instances[:0]  # panels of an earlier run go in either case
    save_panels(inside(writer.output_dir, name, writer.method), image, drawn, class_names)
    writer.add_image(name, digest, path, image, instances, class_names, seconds, metrics=metrics)
