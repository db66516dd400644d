"""The page: an upload, a recording or an example gets its answer; a webcam gets a live one."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np

from ..inference import VideoAnalyzer
from .answers import CAVEATS, answer
from .limits import DemoLimits
from .live import LiveWindow, live_answer
from .uploads import Uploads

logger = logging.getLogger(__name__)

_INTRO = """# Expressions over time
Give a video with one or more faces: each face is followed, and the page shows how its expression may look to others,
from moment to moment."""
STYLE = """
.gradio-container { max-width: 1100px !important; margin: auto; }
footer { display: none !important; }
#caveats { border-left: 4px solid #b45309; padding-left: 0.8em; }
"""


def build_page(
    analyzer: VideoAnalyzer, model_name: str, limits: DemoLimits, examples: dict[str, Path], uploads: Uploads
) -> gr.Blocks:
    """
    The page for one model.

    Args:
        analyzer ([`VideoAnalyzer`]): answers; one video at a time.
        model_name (`str`): shown to the visitor.
        limits ([`DemoLimits`]): what a visitor may send; shown too.
        examples (`dict[str, Path]`): files by the name on their button.
        uploads ([`Uploads`]): deletes what visitors upload.
    """
    with gr.Blocks(title="hdf-dfer", analytics_enabled=False) as page:
        gr.Markdown(_INTRO)
        gr.Markdown(CAVEATS, elem_id="caveats")
        with gr.Tab("Video"):
            _video_tab(analyzer, limits, examples, uploads)
        with gr.Tab("Live"):
            _live_tab(analyzer)
        gr.Markdown(
            f"Model: {model_name}. Up to {limits}. The file is deleted as soon as its answer is ready, and nothing is "
            "kept. Who somebody is, is not recognised."
        )
    page.queue(max_size=limits.waiting, default_concurrency_limit=1)
    return page


def _video_tab(analyzer: VideoAnalyzer, limits: DemoLimits, examples: dict[str, Path], uploads: Uploads) -> None:
    with gr.Row():
        with gr.Column(min_width=300):
            video = gr.Video(
                label="Your video: upload it, or record it with the webcam",
                sources=["upload", "webcam"],
                include_audio=True,  # otherwise gradio would convert the file
                webcam_options=gr.WebcamOptions(mirror=False),
                elem_id="upload",
            )
            start = gr.Button("Show the expressions", variant="primary", elem_id="start")
            with gr.Row():
                buttons = {name: gr.Button(name, size="sm", min_width=90) for name in examples}
        with gr.Column(min_width=300):
            people = gr.HTML(elem_id="people")
            label = gr.Label(label="Person 1, share of the time", num_top_classes=7, elem_id="label")
    annotated = gr.HTML(elem_id="annotated")
    plot = gr.HTML(elem_id="plot")
    with gr.Accordion("All numbers", open=False):
        rows = gr.Dataframe(label="One row per person and half second", interactive=False, elem_id="rows")
    outputs = [people, label, annotated, plot, rows]

    def of_upload(path: str | None) -> list:
        if path is None:
            raise gr.Error("Choose a video first: upload one, record one, or press an example.", duration=None)
        try:
            return [None, *_shown(analyzer, path, limits)]
        finally:
            uploads.delete(path)

    shared = {"concurrency_id": "model", "concurrency_limit": 1}  # videos one at a time
    start.click(of_upload, video, [video, *outputs], api_name="analyze", **shared)
    for name, button in buttons.items():
        of_example: Callable[[], list] = partial(_shown, analyzer, str(examples[name]), limits)
        button.click(of_example, None, outputs, api_name=False, **shared)


def _shown(analyzer: VideoAnalyzer, path: str, limits: DemoLimits) -> list:
    """The values of the outputs; an error becomes a message."""
    try:
        result = answer(analyzer, path, limits)
    except ValueError as error:
        logger.info("refused: %s", error)
        raise gr.Error(str(error), duration=None, print_exception=False) from error
    return [result.summary, result.shares, result.video, result.plot, result.rows.round(3)]


def _live_tab(analyzer: VideoAnalyzer) -> None:
    gr.Markdown("The expression in the last two seconds, twice a second. Pictures are not kept.")
    with gr.Row():
        camera = gr.Image(label="Webcam", sources=["webcam"], streaming=True, type="numpy", elem_id="camera")
        with gr.Column(min_width=300):
            label = gr.Label(label="Now", num_top_classes=7, elem_id="live-label")
            line = gr.Markdown(elem_id="live-line")
    window = gr.State(None)

    def of_frame(frame: np.ndarray | None, window: LiveWindow | None) -> tuple:
        probabilities, text, window = live_answer(analyzer.queue.model, analyzer.queue.processor, frame, window)
        if probabilities is None:
            return gr.skip(), gr.skip(), window
        return probabilities, text, window

    camera.stream(
        of_frame, [camera, window], [label, line, window], stream_every=0.1, time_limit=300, concurrency_limit=2,
        api_name=False,
    )  # fmt: skip


__all__ = ["STYLE", "build_page"]
