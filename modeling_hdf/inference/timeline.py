"""The expressions of all people of a video over time: the result of [`analyze`]."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .rows import Row
from .tables import FIRST, LAST, rows_table, summary_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(eq=False)
class Person:
    """
    A face over the time in which it could be followed. A person who leaves and comes back, or is shown again after a
    cut, is another one: who somebody is, is not recognised.

    Attributes:
        number: from 1; 1 is the person with the largest and longest-lasting face.
        spans: start and end of each time in which the face was followed, in seconds; one, or several with
            `same_person`.
        seconds: time in which the face was followed.
        starts: start of each frame that shows the face, in seconds.
        boxes: left, top, width and height of the face in each of these frames, in pixels; four numbers per frame.
        prominence: area of the face in pixels, summed over the seconds.
    """

    number: int
    spans: list[tuple[float, float]] = field(default_factory=list)
    starts: array = field(default_factory=lambda: array("d"), repr=False)
    boxes: array = field(default_factory=lambda: array("f"), repr=False)
    prominence: float = 0.0

    @property
    def seconds(self) -> float:
        return sum(end - start for start, end in self.spans)

    def box_at(self, time: float) -> np.ndarray | None:
        """The box `(4,)` in the frame that starts at `time`, `None` if it does not show the face."""
        starts = np.frombuffer(self.starts)
        index = int(np.searchsorted(starts, time - 1e-6))
        if index == len(starts) or abs(starts[index] - time) > 1e-6:
            return None
        return np.array(self.boxes[4 * index : 4 * index + 4])


@dataclass(eq=False)
class Timeline:
    """
    The expressions of all people of one video.

    Attributes:
        video: name of the video.
        labels: names of the classes.
        rows: one [`Row`] for each person and step of time, by person and time.
        people: all people, the most prominent one first.
        start, end: presentation time of the first frame, and of the end of the last frame, in seconds.
        size: height and width of the frames in pixels, as the faces were searched.
        cuts: presentation times of the frames that start a new shot, in seconds.
        problems: one message for each damage to the file.
        quarter_turns: counter-clockwise quarter turns that made the faces upright, for a video that was filmed
            sideways or upside down and does not say so; boxes are in the turned frames.
        thumbnails: at most 24 small frames, `(height, width, 3)` uint8, with their presentation times in seconds.
        clock_start: presentation time at which players start the video, in seconds. Subtitles and annotated videos
            count from there.
    """

    video: str
    labels: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    start: float = 0.0
    end: float = 0.0
    size: tuple[int, int] = (0, 0)
    cuts: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    quarter_turns: int = 0
    thumbnails: list[tuple[float, np.ndarray]] = field(default_factory=list)
    clock_start: float = 0.0

    def __repr__(self) -> str:
        people = "1 person" if len(self.people) == 1 else f"{len(self.people)} people"
        return f"Timeline({self.video!r}: {people} in {self.end - self.start:.1f} s, {len(self.rows)} rows)"

    def to_pandas(self) -> "pd.DataFrame":
        """
        The rows as a table with the columns `video`, `person`, `start`, `end`, `label`, `confidence`, one for the
        probability of each class, `face_left`, `face_top`, `face_width`, `face_height` (pixels) and `face_seen`.
        """
        return rows_table(self.video, self.labels, self.rows)

    @property
    def summary(self) -> "pd.DataFrame":
        """
        One line per person: `video`, `person`, `start`, `end`, `seconds`, `label` with the largest share of this time,
        `share_<class>` and `mean_<class>`, the share of the time with this label and its mean probability, and
        `face_seen`.
        """
        return summary_table(self.to_pandas())

    def plot(self, path: "str | Path | BinaryIO") -> None:
        """Writes a PNG with the probabilities over time of each person, see [`plot_timeline`]."""
        from .plots import plot_timeline

        plot_timeline(self, path)

    def annotate(self, path: "str | Path", video: Any = None, max_side: int | None = None) -> None:
        """
        Writes an MP4 of the video with box, number, label and confidence at each face, and its sound.

        Args:
            path: the file.
            video: the video, if [`analyze`] did not take it by its path or URL.
            max_side: the longer side of the frames in pixels, to which larger ones are scaled down.
        """
        from .drawing import annotate

        annotate(self, self.video if video is None else video, Path(path), max_side)

    def renamed(self, names: Mapping[str, str]) -> "Timeline":
        """
        The timeline with other names for its classes, such as translations. Classes without a new name keep theirs.

        Raises:
            ValueError: for a name that is no class, a new name that two classes would share, or that of a column.
        """
        labels = rename(self.labels, names)
        new = dict(zip(self.labels, labels, strict=True))
        return replace(self, labels=labels, rows=[replace(row, label=new[row.label]) for row in self.rows])

    def finished(self, same_person: bool) -> "Timeline":
        """The timeline with its people numbered by prominence and its rows sorted by person and time."""
        people = sorted(self.people, key=lambda person: person.spans[0])
        people, joined = _join(people) if same_person else (people, {person.number: person for person in people})
        people = sorted(people, key=lambda person: -person.prominence)
        ranks = {id(person): rank for rank, person in enumerate(people, 1)}
        rows = [replace(row, person=ranks[id(joined[row.person])]) for row in self.rows]
        for person in people:
            person.number = ranks[id(person)]
        return replace(self, people=people, rows=sorted(rows, key=lambda row: (row.person, row.start)))


def _join(people: list[Person]) -> tuple[list[Person], dict[int, Person]]:
    """
    Joins tracks that do not overlap in time: one person on camera, lost and found again.

    Args:
        people: sorted by start.

    Returns:
        The people, and the person of each former number. A track joins the free person whose face was last nearest to
        where it starts.
    """
    joined: list[Person] = []
    person_of = {}
    for track in people:
        free = [person for person in joined if person.spans[-1][1] <= track.spans[0][0] + 1e-9]
        if not free:
            person = Person(track.number)
            joined.append(person)
        else:
            place = _centre(track.boxes[:4])
            person = min(free, key=lambda person: float(np.hypot(*(_centre(person.boxes[-4:]) - place))))
        person_of[track.number] = person
        person.spans += track.spans
        person.starts += track.starts
        person.boxes += track.boxes
        person.prominence += track.prominence
    return joined, person_of


def _centre(box: array) -> np.ndarray:
    left, top, width, height = box
    return np.array([left + width / 2.0, top + height / 2.0])


def rename(labels: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    """`labels` with the new names of `names`; raises as [`Timeline.renamed`]."""
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no class of the model; its classes are {', '.join(labels)}.")
    renamed = tuple(str(names.get(name, name)) for name in labels)
    if len(set(renamed)) < len(renamed):
        raise ValueError(f"Two classes would have one name: {', '.join(renamed)}.")
    taken = sorted({*FIRST, *LAST} & set(renamed))
    if taken:
        raise ValueError(f"{taken[0]!r} is a column of the table, so no class can have this name.")
    return renamed


__all__ = ["Person", "Timeline", "rename"]
