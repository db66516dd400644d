"""Videos that were filmed sideways and do not say so: by how many quarters to turn them so that faces stand upright.

YuNet finds no face that lies on its side. Most faces that stand on their head it finds, and takes them for upright:
these are not noticed here.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from ..clip_reading_hdf import ClipSource, Frame
from .detection import FaceDetector

TRIED_FRAMES = 8  # spread over the clip


class TurnedFrame:
    """A frame, turned counter-clockwise by quarters."""

    def __init__(self, frame: Frame, quarter_turns: int):
        self._frame, self._quarter_turns = frame, quarter_turns
        self.start: Fraction | None = frame.start
        self.duration: Fraction | None = frame.duration

    @property
    def size(self) -> tuple[int, int]:
        height, width = self._frame.size
        return (width, height) if self._quarter_turns % 2 else (height, width)

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(self._frame.rgb(max_side), self._quarter_turns))


class TurnedSource:
    """A clip whose frames are turned counter-clockwise by quarters."""

    def __init__(self, source: ClipSource, quarter_turns: int):
        self._source, self._quarter_turns = source, quarter_turns
        self.name = source.name

    def stream(self) -> Iterator[Frame]:
        return (TurnedFrame(frame, self._quarter_turns) for frame in self._source.stream())

    def problems(self, duration: float | None) -> list[str]:
        return self._source.problems(duration)


def turned(source: ClipSource, quarter_turns: int) -> ClipSource | TurnedSource:
    """The clip with its frames turned counter-clockwise by so many quarters."""
    return TurnedSource(source, quarter_turns) if quarter_turns else source


def find_quarter_turns(source: ClipSource, num_frames: int, detector: FaceDetector) -> int:
    """By how many quarters, counter-clockwise, the clip must be turned so that its faces stand upright.

    Looks at a few frames, in the three turned ways; the way in which the detector is surest of its faces wins.

    Args:
        source: the clip, in which no face was found as it is.
        num_frames: its length.
        detector: the detector.

    Returns:
        1, 2 or 3; 0 if no face is found in any of them.
    """
    tried = set(np.linspace(0, num_frames - 1, TRIED_FRAMES).round().astype(int).tolist())
    certainty = np.zeros(4)
    for index, frame in enumerate(source.stream()):
        if index in tried:
            for quarter_turns in (1, 2, 3):
                certainty[quarter_turns] += detector(TurnedFrame(frame, quarter_turns))[:, 14].sum()
        if index == num_frames - 1:
            break
    return int(certainty.argmax())


__all__ = ["TurnedFrame", "TurnedSource", "find_quarter_turns", "turned"]
