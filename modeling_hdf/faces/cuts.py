"""Cuts between the shots of a video: PySceneDetect's content detector on small pictures of the frames.

A frame starts a shot if it differs from the frame before, and if the picture does not come back at once: a flash of
light, a white or broken frame is no cut.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ..clip_reading_hdf import Frame
from ..data.extras import needs_module

if TYPE_CHECKING:
    from scenedetect.detectors.content_detector import ContentDetector

_MAX_SIDE = 160  # pixels of the longer side of the compared pictures
_LONGEST_FLASH = Fraction(1, 5)  # seconds; no shot is so short
_MOST_HELD = 50  # frames that wait for the end of a flash, should their times stand still
_RETURN = 0.5  # share of the threshold below which two pictures are of the same shot


@dataclass(eq=False)
class _Held:
    """A frame that waits until it is known whether it starts a shot.

    Attributes:
        picture: `(height, width, 3)` uint8 BGR, small.
        changes: whether it differs from the frame before.
    """

    frame: Frame
    start: Fraction
    picture: np.ndarray
    changes: bool


class CutDetector:
    """
    Finds the frames that start a new shot. Needs the extra `face`.

    Frames differ if hue, saturation and brightness differ by more than `threshold` on average. Slow fades are no cuts.

    Args:
        threshold (`float`, *optional*, defaults to 27.0): mean difference of the three, each from 0 to 255.
    """

    def __init__(self, threshold: float = 27.0):
        needs_module("scenedetect", "face", "Finding cuts")
        self.threshold = threshold

    def mark(self, frames: Iterable[tuple[Frame, Fraction]]) -> Iterator[tuple[Frame, Fraction, bool]]:
        """
        Tells of each frame whether it starts a shot.

        Args:
            frames: frames with their starts in seconds, in order.

        Yields:
            The frames with their starts, and whether they start a shot; those of a change up to 0.2 seconds late.
        """
        neighbours = self._detector(self.threshold)
        held: deque[_Held] = deque()
        before = None  # picture of the last frame that is not held
        for frame, start in frames:
            picture = frame.rgb(_MAX_SIDE)[:, :, ::-1]  # the detector expects BGR
            held.append(_Held(frame, start, picture, _is_other(neighbours, picture)))
            while held:
                length = self._flash_length(held, before) if held[0].changes else 0
                if length is None:
                    break
                for _ in range(max(1, length)):
                    first = held.popleft()
                    before = first.picture
                    yield first.frame, first.start, first.changes and not length
        yield from ((each.frame, each.start, each.changes) for each in held)

    def _flash_length(self, held: deque[_Held], before: np.ndarray) -> int | None:
        """Number of held frames up to the one that shows the picture `before` them again; 0 if none does, `None` if
        the next may."""
        for number, each in enumerate(held):
            if each.start - held[0].start > _LONGEST_FLASH:
                return 0
            pair = self._detector(self.threshold * _RETURN)
            _is_other(pair, before)
            if number and not _is_other(pair, each.picture):
                return number + 1
        return None if len(held) < _MOST_HELD else 0

    def _detector(self, threshold: float) -> "ContentDetector":
        from scenedetect.detectors.content_detector import ContentDetector

        return ContentDetector(threshold, min_scene_len=0)


def _is_other(detector: "ContentDetector", picture: np.ndarray) -> bool:
    """Whether a picture differs from the one that the detector took before; false for the first."""
    return bool(detector.process_frame(0, picture))  # the time is returned as it is, and not used


__all__ = ["CutDetector"]
