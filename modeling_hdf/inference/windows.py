"""Sliding windows over the crops of one face: which frames to crop, and the clips that a model takes."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isfinite

import numpy as np


@dataclass(frozen=True)
class Window:
    """A clip of one face.

    Attributes:
        start, end: presentation time in seconds.
        crops: `(num_frames, size, size, 3)` uint8 RGB.
    """

    start: Fraction
    end: Fraction
    crops: np.ndarray


def exact_seconds(window: float, hop: float) -> tuple[Fraction, Fraction]:
    """Window and hop as exact fractions of a second. Raises a `ValueError` if one is out of its range."""
    if not (isfinite(window) and isfinite(hop)):
        raise ValueError(f"`window` and `hop` must be finite, got {window} and {hop} seconds.")
    exact_window, exact_hop = (Fraction(value).limit_denominator(1_000_000) for value in (window, hop))
    if not 0 < exact_hop <= exact_window:
        raise ValueError(
            f"`hop` must be at least a microsecond and at most the window of {window} seconds, got {hop}."
        )
    return exact_window, exact_hop


def sample_times(start: Fraction, end: Fraction, num_frames: int) -> list[Fraction]:
    """The centres of `num_frames` equal parts, in seconds; [`HDFVideoProcessor`] samples a clip at the same times."""
    return [start + (end - start) * Fraction(2 * part + 1, 2 * num_frames) for part in range(num_frames)]


class SlidingWindows:
    """
    The windows of one track, one frame at a time. Only the crops of the last window are kept.

    Windows of `length` seconds start at the first frame of the track and then every `hop` seconds. Each is sampled at
    the centres of `num_frames` equal parts: there the frame shown is taken. If the last window ends before the track
    does, one more window ends with the track; it takes the nearest earlier crops that other windows asked for. A track
    shorter than a window is one window.

    Args:
        start (`Fraction`): start of the track's first frame in seconds.
        length, hop (`Fraction`): seconds; `hop` is above 0 and at most `length`.
        num_frames (`int`): frames of a window.
    """

    def __init__(self, start: Fraction, length: Fraction, hop: Fraction, num_frames: int):
        self.start, self.length, self.hop, self.num_frames = start, length, hop, num_frames
        self.num_complete = 0
        self._crops: deque[tuple[Fraction, np.ndarray]] = deque()  # start of each crop's frame, in order

    def wants(self, start: Fraction, end: Fraction) -> bool:
        """Whether to crop the frame shown from `start` to `end`: always while the track is shorter than a window."""
        if start < self.start + self.length:
            return True
        step = self.length / self.num_frames
        first = max(self.num_complete, ceil((start - self.start - self.length) / self.hop))
        last = (end - self.start) // self.hop
        for number in range(first, last + 1):
            begin = self.start + number * self.hop
            part = max(0, ceil((start - begin) / step - Fraction(1, 2)))
            if part < self.num_frames and begin + (part + Fraction(1, 2)) * step < end:
                return True
        return False

    def add(self, start: Fraction, end: Fraction, crop: np.ndarray | None) -> Iterator[Window]:
        """Adds a frame with its crop, `None` for a frame that is not wanted, and gives the windows that it completes.

        A frame that is shown for an hour completes thousands of windows: take one at a time.
        """
        if crop is not None:
            self._crops.append((start, crop))
        while end >= self._begin() + self.length:
            yield self._window(self._begin(), self._begin() + self.length)
            self.num_complete += 1
        while len(self._crops) > 1 and self._crops[1][0] <= end - self.length and self._crops[1][0] <= self._begin():
            self._crops.popleft()

    def finish(self, end: Fraction) -> Window | None:
        """The window that ends with the track, `None` if no frame follows the last window."""
        if self.num_complete and end <= self._begin() - self.hop + self.length:
            return None
        return self._window(max(self.start, end - self.length), end)

    def _begin(self) -> Fraction:
        """Start of the next window."""
        return self.start + self.num_complete * self.hop

    def _window(self, start: Fraction, end: Fraction) -> Window:
        starts = [crop_start for crop_start, _ in self._crops]
        shown = [max(0, bisect_right(starts, time) - 1) for time in sample_times(start, end, self.num_frames)]
        return Window(start, end, np.stack([self._crops[index][1] for index in shown]))


__all__ = ["SlidingWindows", "Window", "exact_seconds", "sample_times"]
