"""Subtitles that tell the expression of each person: WebVTT and SubRip."""

import html
from collections.abc import Sequence

from .timeline import Timeline

SUBTITLE_FORMATS = ("vtt", "srt")


def subtitles(timeline: Timeline, kind: str) -> str:
    """
    The text of a subtitle file. While several people are shown, each has a line. Steps with the same text are one
    subtitle. Times count from where players start the video, which a recorded broadcast puts anywhere on its clock.

    Args:
        timeline: the timeline.
        kind: `"vtt"` or `"srt"`.
    """
    point = "." if kind == "vtt" else ","
    blocks = [
        f"{number}\n{_clock(start - timeline.clock_start, point)} --> {_clock(end - timeline.clock_start, point)}\n"
        f"{html.escape(text, quote=False) if kind == 'vtt' else text}\n"
        for number, (start, end, text) in enumerate(_steps(timeline), 1)
    ]
    return "\n".join((["WEBVTT\n"] if kind == "vtt" else []) + blocks)


def _steps(timeline: Timeline) -> Sequence[tuple[float, float, str]]:
    """Start, end and text of each subtitle, in order of time."""
    edges = sorted({time for row in timeline.rows for time in (row.start, row.end)})
    by_start = sorted(timeline.rows, key=lambda row: row.start)
    steps: list[tuple[float, float, str]] = []
    shown, upcoming = [], iter(by_start)
    row = next(upcoming, None)
    for start, end in zip(edges, edges[1:], strict=False):
        while row is not None and row.start <= start:
            shown.append(row)
            row = next(upcoming, None)
        shown = [each for each in shown if each.end > start]
        several = len(timeline.people) > 1
        lines = [
            f"{each.person}: {each.label}" if several else each.label
            for each in sorted(shown, key=lambda each: each.person)
        ]
        text = "\n".join(lines)
        if steps and steps[-1][1] == start and steps[-1][2] == text:
            steps[-1] = (steps[-1][0], end, text)
        elif text:
            steps.append((start, end, text))
    return steps


def _clock(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    hours, rest = divmod(thousandths, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


__all__ = ["SUBTITLE_FORMATS", "subtitles"]
