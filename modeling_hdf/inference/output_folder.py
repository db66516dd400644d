"""The output folder of `hdf predict`: a table for each video, pictures and subtitles on request, and a summary.

The table of a video is written last: if it is there, so are the other files. A killed run leaves no half file.
"""

import csv
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..data.files import read_json, remove_parts, write_json, write_text
from ..data.locks import folder_lock
from .drawing import annotate
from .inputs import ANNOTATED, PLOT, SETTINGS, SUMMARY, Input
from .plots import timeline_page, write_plot
from .subtitles import subtitles
from .tables import FORMATS, read_table, rows_table, summary_table, write_table
from .timeline import Timeline


@dataclass(frozen=True)
class OutputSettings:
    """
    What the files of an output folder depend on.

    Args:
        model: name of the model.
        window, hop: seconds.
        same_person: whether tracks are joined.
        labels: names of the classes.
        format: `"csv"`, `"parquet"` or `"jsonl"`.
        weights_sha256: checksum of each weight file of the model, by its name.
    """

    model: str
    window: float
    hop: float
    same_person: bool
    labels: tuple[str, ...]
    format: str = "csv"
    weights_sha256: dict[str, str] | None = None

    def __post_init__(self):
        if self.format not in FORMATS:
            raise ValueError(f"`format` is {self.format!r}; choose {', '.join(FORMATS)}.")


class OutputFolder:
    """
    Files of the analysed videos.

    Args:
        folder (`Path`): the folder; created if need be.
        settings ([`OutputSettings`]): of this run; those of an earlier run in this folder must be the same.
        subtitles (`str`, *optional*): write subtitles: `"vtt"` or `"srt"`.
        annotate (`bool`, *optional*, defaults to `False`): write each video with its people drawn in.
        plot (`bool`, *optional*, defaults to `False`): write a picture and a page of each video.

    Raises:
        ValueError: if an earlier run filled the folder with other settings.
    """

    def __init__(
        self,
        folder: Path,
        settings: OutputSettings,
        subtitles: str | None = None,
        annotate: bool = False,
        plot: bool = False,
    ):
        self.folder, self.settings = folder, settings
        self.subtitles, self.annotate, self.plot = subtitles, annotate, plot

    def lock(self) -> AbstractContextManager[None]:
        """Keeps other runs out of the folder."""
        return folder_lock(self.folder, "hdf predict")

    def prepare(self) -> None:
        """Checks the settings of an earlier run, and removes what it left when it was killed."""
        path, settings = self.folder / SETTINGS, asdict(self.settings)
        settings["labels"] = list(self.settings.labels)
        if not path.exists():
            self._check_summary()
        else:
            before = read_json(path, "Remove it to start afresh, or give another folder.")
            before.setdefault("weights_sha256", self.settings.weights_sha256)  # earlier versions did not write it
            different = [name for name, value in settings.items() if before.get(name) != value]
            if different:
                name = different[0]
                raise ValueError(
                    f"{self.folder}: holds the results of another run, with {name} {before.get(name)!r} and not "
                    f"{settings[name]!r}; give another folder."
                )
        self.remove_remains()
        write_json(path, settings)

    def _check_summary(self) -> None:
        """Raises a `ValueError` if a file is in the way of the summary that no run wrote."""
        path = self.folder / SUMMARY
        if path.exists():
            columns = list(summary_table(rows_table("", self.settings.labels, [])).columns)
            with path.open(encoding="utf-8", errors="replace", newline="") as file:
                if next(csv.reader(file), []) != columns:
                    raise ValueError(f"{path}: is no summary of this command; move it, or give another folder.")

    def remove_remains(self) -> None:
        """Removes what killed processes were writing."""
        remove_parts(self.folder)

    def table(self, video: Input) -> Path:
        """Path of the table of a video."""
        return self._path(video, self.settings.format)

    def _path(self, video: Input, suffix: str) -> Path:
        return self.folder / f"{video.output}.{suffix}"

    def _others(self, video: Input) -> list[Path]:
        """Paths of the other files of a video."""
        kinds = [self.subtitles] * bool(self.subtitles) + [ANNOTATED] * self.annotate
        return [self._path(video, kind) for kind in [*kinds, *[PLOT, "html"] * self.plot]]

    def is_done(self, video: Input) -> bool:
        """Whether all files of the video are there, none older than the video itself. Raises a `ValueError` if its
        table is of another video."""
        if not self.table(video).is_file():
            return False
        names = read_table(self.table(video), self.settings.labels)["video"]
        if len(names) and not _is_same(names[0], video.name):
            raise ValueError(
                f"{self.table(video)}: is of the video {names[0]}, and not of {video.name}; give another folder."
            )
        written = video.modified()
        files = [self.table(video), *self._others(video)]
        return all(path.is_file() and path.stat().st_mtime >= written for path in files)

    def write(self, video: Input, timeline: Timeline) -> None:
        """Writes the files of a video. Raises `OutputError` if that fails, for example for a full disk."""
        if self.subtitles:
            write_text(self._path(video, self.subtitles), subtitles(timeline, self.subtitles))
        if self.annotate:
            annotate(timeline, video.video, self._path(video, ANNOTATED))
        if self.plot:
            write_plot(timeline, self._path(video, PLOT))
            write_text(self._path(video, "html"), timeline_page(timeline))
        write_table(timeline.to_pandas(), self.table(video))

    def write_summary(self, videos: Sequence[Input]) -> Any:
        """Writes `summary.csv` of videos that are done, one line per video and person."""
        import pandas as pd

        tables = [read_table(self.table(video), self.settings.labels) for video in videos]
        if tables:
            summaries = [summary_table(table) for table in tables]
            filled = [summary for summary in summaries if len(summary)] or summaries[:1]
            write_table(pd.concat(filled), self.folder / SUMMARY)
        else:
            (self.folder / SUMMARY).unlink(missing_ok=True)


def _is_same(first: str, second: str) -> bool:
    """Whether two names are of one video: equal, or two paths to one file."""
    return first == second or (os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second))


__all__ = ["OutputFolder", "OutputSettings"]
