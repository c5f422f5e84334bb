"""Carries out what visitors ask for with the buttons and clicks of the web app."""

import base64
import html
import io
import math
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import gradio as gr
from detectron2.structures import Instances
from PIL import Image

from ..results.class_names import class_name
from ..utils.bundled import bundled
from ..utils.image_files import list_images
from ..utils.image_io import read_image
from ..visualization import draw_panel
from .picture import draw_picture, shown_size
from .session import (
    Cancelled,
    Detector,
    Session,
    detect,
    explain,
    explain_box,
    read_box,
    read_upload,
    write_bundle,
)
from .shelf import Shelf
from .uploads import Uploads

NO_METHOD = "no other"
# A model may run a hundred times a second; a browser that shows each is too busy for a click.
PROGRESS_SECONDS = 0.2
PROGRESS = gr.Progress()  # gradio gives each call one of its own in the place of such a default


class Events:
    """
    Answers the page's buttons. Visitors' images and maps are in their :class:`Session`, never here.

    Args:
        folder: for files of visitors: uploads that wait to be read, and what they download.
    """

    def __init__(self, folder: Path):
        self.folder, self.uploads, self.shelf = folder, Uploads(folder / "uploads"), Shelf()
        configs = sorted(bundled("configs/demo").glob("[!B]*.yaml"))
        weights = bundled("demo/weights")
        self.detectors = {
            c.stem: Detector(c) for c in configs if (weights / f"{c.stem}.pth").is_file()
        }
        # Of each visitor: set to stop what is being computed.
        self.jobs: Dict[str, threading.Event] = {}
        self.closed = False

    def watch(self, request: gr.Request, progress: gr.Progress) -> Callable[[str], None]:
        """
        A function to call at each pass of a model: shows progress, and ends the work of a visitor
        who cancelled.
        """
        stop = self.jobs[request.session_hash] = threading.Event()
        count, last = 0, -math.inf

        def on_pass(what: str) -> None:
            nonlocal count, last
            if stop.is_set() or self.closed:
                raise Cancelled
            count += 1
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                progress(
                    (count, None), unit=f"passes of the model ({what})"
                )  # how many there will be, nobody knows

        return on_pass

    def cancel(self, request: gr.Request) -> None:
        if request.session_hash in self.jobs:
            self.jobs[request.session_hash].set()

    def leave(self, request: gr.Request) -> None:
        self.cancel(request)
        self.jobs.pop(request.session_hash, None)

    def close(self, seconds: float = 5) -> None:
        """Stop all work, and wait for its end for a while."""
        self.closed, deadline = True, time.monotonic() + seconds
        for detector in self.detectors.values():
            if detector.lock.acquire(timeout=max(0, deadline - time.monotonic())):
                detector.lock.release()

    def choose(self, event: gr.SelectData) -> Session:
        """One of the bundled images."""
        return self.open_bundled(int(event.index))

    def open_bundled(self, index: int = 0) -> Session:
        path = bundled_images()[index]
        return self.shelf.put(Session(path.name, read_image(path)))

    def upload(self, path: str) -> Session:
        with messages(), self.uploads.taken(path):
            return self.shelf.put(Session(Path(path).name, read_upload(path)))

    def find(self, session: Session, name: str, request: gr.Request, progress=PROGRESS) -> tuple:
        """Detect. Returns the picture, the choices of detections, and the classes."""
        if session is None:
            return None, gr.Radio([], value=None), gr.Dropdown([], value=None)
        with messages(), self.shelf.use(session):
            detector = self.detectors[name]
            found = detect(
                detector, session, name, partial(self.watch(request, progress), "detecting")
            )
            names = detector.explainer.class_names
            picture = draw_picture(session, name, None)
        choices = [(f"{i + 1}: {_title(found, i, names)}", i) for i in range(len(found))]
        return (
            picture,
            gr.Radio(choices, value=None),
            gr.Dropdown(names or [], value=None),
        )

    def show(
        self, session, name, method, other, target, index, request: gr.Request, progress=PROGRESS
    ) -> Tuple[Image.Image, str]:
        """The maps of a chosen detection, by one or two methods."""
        if session is None or index is None:
            return gr.skip(), gr.skip()
        with messages(), self.shelf.use(session):
            if name not in session.detections:
                return gr.skip(), gr.skip()
            figures, on_pass = [], self.watch(request, progress)
            for chosen in _methods(method, other):
                key = name, chosen, target
                found = explain(self.detectors[name], session, key, partial(on_pass, chosen))
                figures.append(self._figure(session, name, chosen, found, int(index)))
            return draw_picture(session, name, int(index)), "".join(figures)

    def why_not(
        self, session, name, method, other, target, label, request: gr.Request, progress=PROGRESS
    ) -> str:
        """The maps of a box that the visitor drew, by one or two methods."""
        if session is None or session.box is None or label is None:
            raise gr.Error("Drag a box in the picture, from corner to corner, and choose a class.")
        figures, on_pass = [], self.watch(request, progress)
        with messages(), self.shelf.use(session):
            for chosen in _methods(method, other):
                key, watcher = (name, chosen, target), partial(on_pass, chosen)
                found = explain_box(self.detectors[name], session, key, session.box, label, watcher)
                note = "detected" if bool(found.detected[0]) else "not detected"
                figures.append(self._figure(session, name, f"{chosen}: {label}, {note}", found, 0))
        return "".join(figures)

    def draw(
        self, session: Optional[Session], name: str, index: Optional[int], event: gr.EventData
    ):
        """
        A box that was dragged in the picture (draw_box.js): four shares of its width and height.
        """
        if session is None:
            return gr.skip()
        with messages(), self.shelf.use(session):
            if name not in session.detections:
                return gr.skip()
            session.box = read_box(event.box, session.image.shape[:2])
            return draw_picture(session, name, index)

    def click(self, session: Optional[Session], name: str, event: gr.SelectData):
        """A click in the picture: the smallest detection there."""
        if session is None:
            return gr.skip()
        with messages(), self.shelf.use(session):
            if name not in session.detections:
                return gr.skip()
            scale = max(session.image.shape[:2]) / max(shown_size(session.image))
            boxes = session.detections[name].pred_boxes
        x, y = ((v + 0.5) * scale for v in event.index)
        inside = [
            i
            for i, (x0, y0, x1, y1) in enumerate(boxes.tensor.tolist())
            if x0 <= x <= x1 and y0 <= y <= y1
        ]
        index = min(inside, key=lambda i: float(boxes.area()[i]), default=None)
        return gr.skip() if index is None else index

    def bundle(self, session: Optional[Session]) -> str:
        if session is None or not (session.put_away or session.explained):
            raise gr.Error("There is nothing to download yet: click a detection first.")
        with messages(), self.shelf.use(session):
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            return str(write_bundle(self.detectors, session, folder))

    def _figure(self, session: Session, name: str, title: str, instances: Instances, i: int) -> str:
        panel = draw_panel(session.image, instances, i, self.detectors[name].explainer.class_names)
        data = io.BytesIO()
        Image.fromarray(panel).save(data, "JPEG", quality=92, subsampling=0)
        # In the page itself: what the server keeps in files, others could ask for.
        source = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
        caption = f"<figcaption>{html.escape(title)}</figcaption>"
        return f'<figure>{caption}<img src="{source}" alt="five maps"></figure>'


@contextmanager
def messages() -> Iterator[None]:
    """Turn what goes wrong into a message on the page."""
    try:
        yield
    except Cancelled as e:
        raise gr.Error("Cancelled.", duration=3) from e
    except (
        ValueError,
        RuntimeError,
        MemoryError,
    ) as e:  # of inputs and methods: they say what to do
        raise gr.Error(
            html.escape(" ".join(str(e).split()) or "Out of memory: choose a smaller image.")
        ) from e


def bundled_images() -> List[Path]:
    return list_images([str(bundled("demo/images")), str(bundled("demo/images_shortcut"))])


def _methods(method: str, other: str) -> List[str]:
    return list(dict.fromkeys([method] if other == NO_METHOD else [method, other]))


def _title(found: Instances, i: int, names: Optional[List[str]]) -> str:
    return f"{class_name(int(found.pred_classes[i]), names)} {float(found.scores[i]):.0%}"
