"""
The page of the web app: choose an image, click what the detector found, and see the five maps.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import List

import gradio as gr

from ..keys import CLASS_TARGETS
from ..modeling import method_names
from .events import NO_METHOD, Events, bundled_images

INTRO = """# Why did the detector see that, there?
Choose an image and **click a detection**: five maps show which pixels its class and each side of
its box rest on. The bundled detectors know the bundled scenes only; on photos they find little, and
what they say is wrong."""
WHY_NOT = """**Why not here?** Drag a box in the picture, from corner to corner, and choose a class:
the maps show what speaks for that class in that box, whether the detector found it or not."""
HINT = "Click a detection, or drag a box."
CSS = """#maps figure { margin: 0 0 14px; overflow-x: auto; }
#maps img { width: 100%; min-width: 900px; max-width: none; }
#picture img { cursor: crosshair; touch-action: none; user-select: none; }
.gradio-container { max-width: 1500px !important; }"""
DRAW_BOX = Path(__file__).with_name("draw_box.js")
FONTS = dict(
    font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)  # none from the network
ONE_AT_A_TIME = dict(concurrency_id="models", concurrency_limit=1, api_visibility="private")
PRIVATE = dict(api_visibility="private")


def build(events: Events) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="d2_saliency", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(INTRO)
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                ui = _images()
            with gr.Column(scale=3, min_width=300):
                ui = SimpleNamespace(**vars(ui), **vars(_choices(list(events.detectors))))
        ui.maps = gr.HTML(elem_id="maps")
        ui.session = gr.State(None, time_to_live=3600)
        _wire(page, events, ui)
    return page


def _images() -> SimpleNamespace:
    scenes = [str(path) for path in bundled_images()]
    return SimpleNamespace(
        gallery=gr.Gallery(
            scenes,
            show_label=False,
            columns=5,
            height=150,
            allow_preview=False,
            elem_id="bundled",
            buttons=[],
        ),
        upload=gr.UploadButton("Upload a photo", file_types=["image"], size="sm", elem_id="upload"),
        picture=gr.Image(
            show_label=False, interactive=False, type="pil", elem_id="picture", buttons=[]
        ),
        drawn=gr.HTML(HINT, js_on_load=DRAW_BOX.read_text(encoding="utf-8")),
    )


def _choices(detectors: List[str]) -> SimpleNamespace:
    ui = SimpleNamespace()
    ui.detector = gr.Dropdown(
        detectors, value="faster_rcnn_planted", label="Detector", elem_id="detector"
    )
    with gr.Row():
        ui.method = gr.Dropdown(method_names(), value="ODAM", label="Method", elem_id="method")
        ui.other = gr.Dropdown(
            [NO_METHOD, *method_names()], value=NO_METHOD, label="Compare with", elem_id="other"
        )
    about = (
        "score; the logit before it; or the contrast to other classes: why this one and no other"
    )
    ui.target = gr.Dropdown(
        list(CLASS_TARGETS),
        value="score",
        label="The class map explains",
        info=about,
        elem_id="class-target",
    )
    ui.found = gr.Radio([], label="Detections, best first", elem_id="detections")
    gr.Markdown(WHY_NOT)
    with gr.Row():
        ui.label = gr.Dropdown([], label="Class", elem_id="label")
        ui.ask = gr.Button("Why not here?", elem_id="why-not")
    with gr.Row():
        ui.cancel = gr.Button("Cancel", variant="stop", elem_id="cancel")
        ui.download = gr.Button("Download", elem_id="download")
        ui.bundle = gr.DownloadButton(visible="hidden", elem_id="bundle")
    return ui


def _wire(page: gr.Blocks, events: Events, ui: SimpleNamespace) -> None:
    """Say what happens at each click."""
    session, ways = ui.session, [ui.method, ui.other, ui.target]
    find = dict(
        fn=events.find, inputs=[session, ui.detector], outputs=[ui.picture, ui.found, ui.label]
    )
    find.update(ONE_AT_A_TIME)
    show = dict(
        fn=events.show,
        inputs=[session, ui.detector, *ways, ui.found],
        outputs=[ui.picture, ui.maps],
    )
    show.update(ONE_AT_A_TIME, show_progress_on=ui.maps)
    asked = dict(
        fn=events.why_not,
        inputs=[session, ui.detector, *ways, ui.label],
        outputs=ui.maps,
        **ONE_AT_A_TIME,
    )
    jobs = [
        page.load(events.open_bundled, None, session, **PRIVATE).then(**find),
        ui.gallery.select(events.choose, None, session, **PRIVATE).then(**find),
        ui.upload.upload(events.upload, ui.upload, session, **PRIVATE).success(**find),
        ui.detector.change(**find),
        *(widget.change(**show) for widget in (ui.found, *ways)),
        ui.ask.click(**asked),
    ]
    clicked = dict(show_progress="hidden", **PRIVATE)
    ui.picture.select(events.click, [session, ui.detector], ui.found, **clicked)
    ui.drawn.input(events.draw, [session, ui.detector, ui.found], ui.picture, **clicked)
    ui.cancel.click(events.cancel, cancels=jobs, queue=False, **PRIVATE)
    page.unload(events.leave)
    # The browser downloads what the hidden button holds; there is nothing in it before.
    made = ui.download.click(events.bundle, session, ui.bundle, **ONE_AT_A_TIME)
    made.success(
        None, js="() => { setTimeout(() => document.querySelector('#bundle').click(), 300) }"
    )
