"""Pictures of explained images and videos, in files or in a window."""

import argparse
import logging
from pathlib import Path
from typing import Iterator, List, Optional, Union

import cv2
import numpy as np
from detectron2.data import Metadata
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from d2_saliency.engine.explainer import DefaultExplainer
from d2_saliency.engine.guard import image_errors
from d2_saliency.utils.files import atomic_path
from d2_saliency.utils.image_files import output_names
from d2_saliency.utils.image_io import read_image
from d2_saliency.visualization import SaliencyVisualizer, show


def explain(explainer: DefaultExplainer, image: np.ndarray, output: Optional[str]) -> np.ndarray:
    """
    Picture (BGR) of an image (BGR): its panels, or one map of all detections; the image if nothing
    is detected.
    """
    instances = explainer(image)["instances"]
    if output is None:
        figure = show(image, instances, explainer.class_names, max_instances=len(instances))
        return image if figure is None else np.asarray(figure.image)[:, :, ::-1]
    metadata = (
        Metadata(name="demo", thing_classes=explainer.class_names)
        if explainer.class_names
        else Metadata()
    )
    visualizer = SaliencyVisualizer(image[:, :, ::-1], metadata)
    return visualizer.draw_all_saliency(instances, output).get_image()[:, :, ::-1]


def run_images(explainer: DefaultExplainer, paths: List[Path], args: argparse.Namespace) -> int:
    """Show or save the picture of each image. Returns the exit status: 1 if an image failed."""
    failed = 0
    with logging_redirect_tqdm([logging.getLogger("d2_saliency")]):
        for path, name in zip(tqdm(paths, desc="explaining", unit="image"), output_names(paths)):
            with image_errors(path) as errors:
                picture = explain(explainer, read_image(path), args.map)
            failed += len(errors)
            if errors:
                continue
            if args.output is None:
                if not show_in_window(picture, wait=0):
                    break
            else:
                with atomic_path(Path(args.output) / f"{name}.png") as temporary:
                    cv2.imwrite(str(temporary), picture)
    return 1 if failed else 0


def run_video(
    explainer: DefaultExplainer, video: cv2.VideoCapture, args: argparse.Namespace
) -> int:
    num_frames = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
    pictures = (explain(explainer, frame, args.map or "class") for frame in frames(video))
    pictures = tqdm(pictures, desc="explaining", unit="frame", total=num_frames)
    try:
        if args.output is not None:
            return write_video(Path(args.output), pictures, video.get(cv2.CAP_PROP_FPS) or 25.0)
        any_shown = False
        for picture in pictures:
            any_shown = True
            if not show_in_window(picture, wait=1):
                break
        if not any_shown:
            raise ValueError("The camera or video has no picture: does another program use it?")
        return 0
    finally:
        video.release()


def open_video(source: Union[int, str]) -> cv2.VideoCapture:
    name = "The webcam" if source == 0 else f"The video {source!r}"
    if source != 0 and not Path(source).is_file():
        raise ValueError(f"{name} does not exist: check the path.")
    video = cv2.VideoCapture(source)
    if not video.isOpened():
        raise ValueError(
            f"{name} cannot be opened: "
            + ("is it connected?" if source == 0 else "save it as .mp4.")
        )
    return video


def frames(video: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        is_there, frame = video.read()
        if not is_there:
            return
        yield frame


def write_video(path: Path, pictures: Iterator[np.ndarray], fps: float) -> int:
    path = path if path.suffix else path / "video.mp4"
    codec = "MJPG" if path.suffix.lower() == ".avi" else "mp4v"
    with atomic_path(path) as temporary:
        writer = None
        for picture in pictures:
            if writer is None:
                size = picture.shape[1::-1]
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*codec), fps, size)
            writer.write(np.ascontiguousarray(picture))
        if writer is None or not writer.isOpened():
            raise ValueError(
                f"No frame could be written to {str(path)!r}: name an .mp4 or .avi file, or "
                "another video."
            )
        writer.release()
    return 0


def check_window() -> None:
    try:
        cv2.namedWindow("d2_saliency", cv2.WINDOW_NORMAL)
    except cv2.error as e:  # opencv-python-headless, or no display
        raise ValueError(
            "There is no window to show pictures in: save them with --output FOLDER."
        ) from e


def show_in_window(picture: np.ndarray, wait: int) -> bool:
    """Show a picture for ``wait`` ms, 0: until a key. Returns False if that was Esc."""
    cv2.imshow("d2_saliency", picture)
    return cv2.waitKey(wait) != 27
