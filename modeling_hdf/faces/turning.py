"""Videos that were filmed sideways without saying so: the number of quarter turns that make their faces upright.

YuNet does not find faces that lie on their side. It finds most faces that are upside down, and takes them for upright:
this module does not detect such videos.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from ..clip_reading_hdf import ClipSource, Frame
from .detection import FaceDetector

TRIED_FRAMES = 8  # spread over the clip


class TurnedFrame:
    """A frame after counter-clockwise quarter turns."""

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
    """A clip with all frames after counter-clockwise quarter turns."""

    def __init__(self, source: ClipSource, quarter_turns: int):
        self._source, self._quarter_turns = source, quarter_turns
        self.name = source.name

    def stream(self) -> Iterator[Frame]:
        return (TurnedFrame(frame, self._quarter_turns) for frame in self._source.stream())

    def problems(self, duration: float | None) -> list[str]:
        return self._source.problems(duration)


def turned(source: ClipSource, quarter_turns: int) -> ClipSource | TurnedSource:
    """The clip after so many counter-clockwise quarter turns of its frames."""
    return TurnedSource(source, quarter_turns) if quarter_turns else source


def find_quarter_turns(source: ClipSource, num_frames: int, detector: FaceDetector) -> int:
    """Number of counter-clockwise quarter turns that make the faces of the clip upright.

    Looks at a few frames after one, two and three quarter turns, and takes the turn with the highest sum of scores.

    Args:
        source: the clip, in which no face was found without turning.
        num_frames: length of the clip in frames.
        detector: the detector.

    Returns:
        1, 2 or 3; 0 if no turn shows a face.
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
