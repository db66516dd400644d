"""Videos that were filmed sideways or upside down without saying so: the quarter turns that make their faces upright.

YuNet finds no small faces that lie on their side. It finds large ones, and most faces that are upside down, takes them
for upright, and is less certain of them: on close pictures of rendered and of real faces (dark, blurred, small, noisy,
tilted by up to 30 degrees) its score is nearly always highest after the turn that makes the face upright.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from ..clip_reading_hdf import ClipSource, Frame
from .detection import FaceDetector, cut_square
from .tracking import FaceTrack, crop_squares

TRIED_FRAMES = 8  # spread over the clip
# A face that was found: frames to compare, within the first frames of the track, so that few are decoded; margin and
# edge in pixels of their close pictures; by how much the score must rise.
_COMPARED, _FIRST, CLOSE_MARGIN, _EDGE, _CLEARLY = 4, 25, 0.5, 256, 0.02


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


def turn_scores(picture: np.ndarray, square: np.ndarray, detector: FaceDetector) -> np.ndarray:
    """The detector's scores of a face that it found, after each turn.

    Args:
        picture: the frame, `(height, width, 3)` uint8.
        square: `(4,)` for [`cut_square`], with a margin of `CLOSE_MARGIN` around the face.
        detector: the detector; it looks at close pictures of the face.

    Returns:
        `(4,)`: the scores after 0, 1, 2 and 3 counter-clockwise quarter turns of the frame; 0 where no face is found.
    """
    x, y, side, angle = square

    def score(turn: float) -> float:
        return detector(cut_square(picture, np.array([x, y, side, turn]), _EDGE))[:, 14].max(initial=0.0)

    # The eyes of a face on its side are often misplaced, so the turns keep the tilt of the frame.
    scores = np.array([score(quarter_turns * np.pi / 2.0) for quarter_turns in range(4)])
    best = scores.argmax()
    # An upright face that is tilted by almost 45 degrees may score higher after a turn, but most with level eyes.
    if best:
        level = score(angle)
        if level > scores[best] + _CLEARLY:
            scores[0] = level
    return scores


def clear_turn(scores: Sequence[np.ndarray]) -> int:
    """The counter-clockwise quarter turns whose mean score is highest; 0 unless it is clearly above that of no turn.

    Args:
        scores: `(4,)` of [`turn_scores`] for each frame in which the face was compared; at least one.
    """
    means = np.mean(scores, axis=0)
    best = int(means.argmax())
    return best if means[best] > means[0] + _CLEARLY else 0


def find_turn_of_face(source: ClipSource, track: FaceTrack, detector: FaceDetector) -> int:
    """Number of counter-clockwise quarter turns that make a face upright that the detector takes for upright.

    Args:
        source: the clip.
        track: a face of the clip, found without turning.
        detector: the detector; see [`turn_scores`] for what it looks at, in a few frames.
    """
    positions = np.linspace(0, min(len(track.frames), _FIRST) - 1, _COMPARED).round().astype(int)
    squares = dict(zip(track.frames[positions].tolist(), crop_squares(track, CLOSE_MARGIN)[positions], strict=True))
    scores = []
    for index, frame in enumerate(source.stream()):
        if index in squares:
            scores.append(turn_scores(frame.rgb(), squares[index], detector))
        if index == max(squares):
            break
    return clear_turn(scores)


__all__ = [
    "CLOSE_MARGIN",
    "TurnedFrame",
    "TurnedSource",
    "clear_turn",
    "find_quarter_turns",
    "find_turn_of_face",
    "turn_scores",
    "turned",
]
