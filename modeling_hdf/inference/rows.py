"""The rows of one face: the probabilities of overlapping windows averaged, with the place of the face."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .windows import Window


@dataclass(frozen=True)
class Row:
    """The expression of one person from `start` to `end`.

    Attributes:
        person: number of the person, from 1.
        start, end: presentation time in seconds, on the video's own clock.
        label: name of the most probable class.
        confidence: its probability.
        probabilities: `(num_classes,)` in the order of [`Timeline.labels`]; they add up to 1.
        box: `(4,)` left, top, width and height of the face in pixels, mean over the row.
        face_seen: share of the row in which the face was found; in the rest it was hidden or blurred.
    """

    person: int
    start: float
    end: float
    label: str
    confidence: float
    probabilities: np.ndarray
    box: np.ndarray
    face_seen: float


class TrackRows:
    """
    Makes the rows of one track from its frames and the results of its windows, which both come in order.

    A row lasts `hop` seconds; the last may be shorter. Its probabilities are the mean over all windows that cover it
    whole. A track shorter than a window is one row.

    Args:
        person (`int`): number of the person in the rows.
        start (`Fraction`): start of the track in seconds.
        length, hop (`Fraction`): of the windows, in seconds.
        labels (`tuple[str, ...]`): names of the classes.
    """

    def __init__(self, person: int, start: Fraction, length: Fraction, hop: Fraction, labels: tuple[str, ...]):
        self.person, self.start, self.length, self.hop, self.labels = person, start, length, hop, labels
        self.num_rows = 0
        self._places: dict[int, np.ndarray] = {}  # by row: sums over its time of box, seen, and 1
        self._results: deque[tuple[Window, np.ndarray]] = deque()

    def add_frame(self, start: Fraction, end: Fraction, box: np.ndarray, seen: bool) -> None:
        """Adds a frame's box `(4,)`, and whether the face was found."""
        place = np.array([*box, seen, 1.0])
        first = (start - self.start) // self.hop
        for row in range(first, max(first, -(-(end - self.start) // self.hop) - 1) + 1):
            begin = self.start + row * self.hop
            seconds = float(min(end, begin + self.hop) - max(start, begin))
            self._places[row] = self._places.get(row, 0.0) + max(seconds, 1e-9) * place

    def add_result(self, window: Window, probabilities: np.ndarray) -> Iterator[Row]:
        """Adds the probabilities `(num_classes,)` of the next window, and gives the row that it completes.

        The row that starts with a window is complete, since later windows start later; except that the track may be
        shorter than a window.
        """
        self._results.append((Window(window.start, window.end, np.empty(0)), probabilities))  # without the crops
        start = self._next()
        if window.start == start and window.end - start == self.length:
            yield self._row(start, start + self.hop, [self.num_rows])
            self.num_rows += 1
        while self._results and self._results[0][0].end <= self._next():
            self._results.popleft()

    def finish(self, end: Fraction) -> Iterator[Row]:
        """Gives the rows up to the end of the track. All results must have been added."""
        if not self.num_rows:
            yield self._row(self.start, end, list(self._places))
            return
        while self._next() < end:
            yield self._row(self._next(), min(self._next() + self.hop, end), [self.num_rows])
            self.num_rows += 1

    def _next(self) -> Fraction:
        """Start of the next row."""
        return self.start + self.num_rows * self.hop

    def _row(self, start: Fraction, end: Fraction, places: list[int]) -> Row:
        covering = [result for window, result in self._results if window.start <= start and window.end >= end]
        probabilities = np.mean(covering, axis=0)
        *box, seen, seconds = sum(self._places.pop(row) for row in places)
        best = int(probabilities.argmax())
        return Row(
            self.person,
            float(start),
            float(end),
            self.labels[best],
            float(probabilities[best]),
            probabilities,
            np.array(box) / seconds,
            float(seen / seconds),
        )


__all__ = ["Row", "TrackRows"]
