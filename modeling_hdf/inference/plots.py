"""Pictures of a timeline: probabilities over time per person, as PNG and as one self-contained page."""

import base64
import html
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from ..data.files import whole_or_absent
from .palette import class_color, class_line, text_color
from .timeline import Person, Timeline

MOST_DRAWN = 12  # people with curves; the others are in the table
_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #111; }
table { border-collapse: collapse; } td, th { padding: .3rem .8rem; text-align: left; border-bottom: 1px solid #ccc; }
img { max-width: 100%; } figure { display: inline-block; margin: 0 .4rem .6rem 0; font-size: .8rem; }
.label { padding: .1rem .4rem; border-radius: .2rem; }
"""


def plot_timeline(timeline: Timeline, path: str | Path | BinaryIO) -> None:
    """
    Draws the probability of each class over time, one panel per person; dotted lines are cuts.

    Args:
        timeline: the timeline.
        path: where to write the PNG.
    """
    people = timeline.people[:MOST_DRAWN]
    figure = Figure(figsize=(11, 1.6 + 1.9 * max(1, len(people))), layout="constrained")
    panels = figure.subplots(max(1, len(people)), 1, squeeze=False, sharex=True)[:, 0]
    for person, axes in zip(people, panels, strict=False):
        _draw(timeline, person, axes)
    if not people:
        panels[0].text(0.5, 0.5, "no face", ha="center", va="center", transform=panels[0].transAxes)
    panels[0].set_xlim(timeline.start, max(timeline.end, timeline.start + 1e-3))
    panels[-1].set_xlabel("time in the video, seconds")
    left_out = len(timeline.people) - len(people)
    title = Path(timeline.video).name + (f" ({left_out} more people are not drawn)" if left_out else "")
    figure.suptitle(title, parse_math=False)
    lines = [
        Line2D([], [], color=class_color(number), linestyle=class_line(number), linewidth=2.5, label=name)
        for number, name in enumerate(timeline.labels)
    ]
    legend = figure.legend(handles=lines, loc="outside lower center", ncols=min(7, len(lines)), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.savefig(path, format="png", dpi=110)


def _draw(timeline: Timeline, person: Person, axes: Axes) -> None:
    rows = [row for row in timeline.rows if row.person == person.number]
    times, values = [], []
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and row.start - before.end > 1e-6:  # the person was away
            times.append(before.end)
            values.append(np.full(len(timeline.labels), np.nan))
        times += [row.start, row.end]
        values += [row.probabilities] * 2
    for number in range(len(timeline.labels)):
        curve = [each[number] for each in values]
        axes.plot(times, curve, color=class_color(number), linestyle=class_line(number), linewidth=1.8)
    for cut in timeline.cuts:
        axes.axvline(cut, color="0.5", linestyle=":", linewidth=1)
    axes.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1], ylabel=f"person {person.number}\nprobability")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def timeline_page(timeline: Timeline) -> str:
    """One HTML page that loads nothing: the people, the curves, and pictures of the video."""
    picture = BytesIO()
    plot_timeline(timeline, picture)
    name = html.escape(Path(timeline.video).name)
    people = "".join(_person_line(timeline, line) for line in timeline.summary.to_dict("records"))
    pictures = "".join(
        f'<figure><img alt="the video at {time:.1f} s" src="{_jpeg(frame)}"><br>{time:.1f} s</figure>'
        for time, frame in timeline.thumbnails
    )
    heads = "<tr><th>person</th><th>from</th><th>to</th><th>seen for</th><th>expressions, share of the time</th></tr>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style>'
        f"</head><body><h1>{name}</h1><p>Expressions as others perceive them, not what a person feels. "
        "Each number is one face followed without a break: who somebody is, is not recognised.</p>"
        f"<table>{heads}{people}</table>"
        f'<p><img alt="probability of each class over time" src="{_data("png", picture.getvalue())}"></p>'
        f"<p>{pictures}</p></body></html>\n"
    )


def _person_line(timeline: Timeline, line: dict) -> str:
    shares = sorted(enumerate(timeline.labels), key=lambda item: -line[f"share_{item[1]}"])
    labels = " ".join(
        f'<span class="label" style="background:{class_color(number)};color:{text_color(class_color(number))}">'
        f"{html.escape(name)} {line[f'share_{name}']:.0%}</span>"
        for number, name in shares
        if line[f"share_{name}"] >= 0.005
    )
    times = f"<td>{line['start']:.1f} s</td><td>{line['end']:.1f} s</td><td>{line['seconds']:.1f} s</td>"
    return f"<tr><td>{line['person']}</td>{times}<td>{labels}</td></tr>"


def _jpeg(frame: np.ndarray) -> str:
    content = BytesIO()
    Image.fromarray(frame).save(content, format="JPEG", quality=80)
    return _data("jpeg", content.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def write_plot(timeline: Timeline, path: Path) -> None:
    """Writes [`plot_timeline`] whole or not at all."""
    with whole_or_absent(path) as part:
        plot_timeline(timeline, part)


__all__ = ["plot_timeline", "timeline_page", "write_plot"]
