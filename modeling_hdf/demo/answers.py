"""The answer to one video: what the page shows, and what its API returns."""

import base64
import html
import io
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import av
import pandas as pd

from ..inference import VideoAnalyzer
from ..limits_hdf import LimitError
from .limits import DemoLimits, Upload, read_upload

CAVEATS = (
    "The labels say how a face may look to others, not what a person feels. "
    "The model errs often, more so on poses, ages, skin tones and cultures that its training data show rarely: do not "
    "use it to decide about people."
)
_MAX_SIDE = 1280  # pixels of the annotated video
_FIT = "max-width:100%;margin:auto"
_LEAST_WIDTH = "560px"  # of the plot, which scrolls on a narrower page: its words would be too small to read


@dataclass(frozen=True)
class Answer:
    """
    Attributes:
        shares: share of the time in which each class was the label of the most prominent person.
        summary: one HTML line per person.
        video: HTML with the annotated video inside.
        plot: HTML with the picture of the probabilities over time inside.
        rows: the table of [`Timeline.to_pandas`] without its column `video`.
    """

    shares: dict[str, float]
    summary: str
    video: str
    plot: str
    rows: pd.DataFrame


def answer(analyzer: VideoAnalyzer, path: str, limits: DemoLimits) -> Answer:
    """
    Analyses a file. Video and picture of the answer lie in its HTML, so no file is left.

    Raises:
        ValueError: for a file that the page does not take, with a message for the visitor.
    """
    try:
        return _answer(analyzer, read_upload(path, limits))
    except LimitError as error:
        raise ValueError(f"The video is too large for this page, or damaged; it takes up to {limits}.") from error
    except (av.FFmpegError, OSError) as error:  # its message names a file of this machine
        raise ValueError("The video cannot be read to its end.") from error


def _answer(analyzer: VideoAnalyzer, video: Upload) -> Answer:
    timeline = analyzer.analyze(video)
    rows = timeline.to_pandas().drop(columns="video")
    if not timeline.people:
        raise ValueError("No face was found. The face should be upright, lit, and at least 40 pixels wide.")
    timeline = replace(timeline, video="Expressions over time")  # title of the plot
    people = timeline.summary
    with tempfile.TemporaryDirectory() as folder:
        timeline.annotate(Path(folder) / "annotated.mp4", video, _MAX_SIDE)
        annotated = _data_url((Path(folder) / "annotated.mp4").read_bytes(), "video/mp4")
    picture = io.BytesIO()
    timeline.plot(picture)
    plot = _data_url(picture.getvalue(), "image/png")
    first = people.iloc[0]
    return Answer(
        {name: float(first[f"share_{name}"]) for name in timeline.labels},
        _summary(people, timeline.labels),
        f'<video controls autoplay muted loop playsinline style="{_FIT};max-height:480px" src="{annotated}" '
        'aria-label="Your video with a box, a label and its confidence for each face"></video>',
        f'<div tabindex="0" style="overflow-x:auto;contain:inline-size"><img src="{plot}" '
        f'style="{_FIT};width:720px;min-width:{_LEAST_WIDTH}" '
        'alt="Probability of each expression over time, for each person"></div>',
        rows,
    )


def _summary(people: pd.DataFrame, labels: tuple[str, ...]) -> str:
    lines = []
    for _, person in people.iterrows():
        label, seconds = str(person["label"]), person["seconds"]
        share, mean = person[f"share_{label}"], person[f"mean_{label}"]
        lines.append(
            f"<li><b>Person {person['person']}: {html.escape(label)}</b>, confidence {mean:.0%}; "
            f"most probable in {share:.0%} of {seconds:.1f} seconds</li>"
        )
    return f"<ul>{''.join(lines)}</ul>"


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


__all__ = ["CAVEATS", "Answer", "answer"]
