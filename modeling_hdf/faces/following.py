"""All faces of a video in one pass, for videos of any length: frames are kept only until their crops are known.

Tracks and smoothing are those of [`track_faces`], which passes over a clip twice and holds its tracks as a whole. Here
a frame waits until the looks after it tell where its faces are: about half a second, longer while a face
is missing. A track never continues across a cut.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from ..clip_reading_hdf import Frame
from .cropping import NOMINAL_FPS, look_between
from .cuts import CutDetector
from .detection import FaceDetector
from .tracking import (
    MIN_DETECTIONS,
    MIN_SECONDS,
    Chain,
    FaceTrack,
    Linker,
    crop_squares,
    has_angle,
    increasing,
    smooth,
)

_SIGMAS = 3.0  # reach of the smoothing, see [`smooth`]


@dataclass(frozen=True)
class FollowedFace:
    """A face in one frame.

    Attributes:
        track: number of its track, from 0 by first appearance.
        box: `(4,)` left, top, width, height in pixels, smoothed over time.
        square: `(4,)` for [`cut_square`]: x and y of the centre, side, angle.
        seen: false if the look before or after the frame missed the face, so that it may be hidden.
    """

    track: int
    box: np.ndarray
    square: np.ndarray
    seen: bool


@dataclass(frozen=True)
class Moment:
    """A frame with all its faces.

    Attributes:
        start, end: presentation time in seconds; the end is the start of the next frame.
        frame: the frame; `rgb` gives its picture.
        faces: its faces, in order of appearance.
        starts_shot: whether the frame starts a new shot.
        ended: numbers of the tracks that ended before this frame.
    """

    start: Fraction
    end: Fraction
    frame: Frame
    faces: list[FollowedFace]
    starts_shot: bool
    ended: list[int]


@dataclass(eq=False)
class _Waiting:
    """A frame whose faces are not known yet."""

    index: int
    start: Fraction
    frame: Frame
    starts_shot: bool


@dataclass(eq=False)
class _Track:
    """A chain with its number and the last angle of its eyes."""

    chain: Chain
    first: int
    is_open: bool = True
    is_face: bool = False  # seen often or long enough
    number: int | None = None
    angle: float = 0.0


@dataclass(eq=False)
class _Follower:
    """The state of [`follow_faces`]."""

    detector: FaceDetector
    cuts: CutDetector | None
    interval: float
    smoothing: float
    margin: float
    linker: Linker
    tracks: list[_Track] = field(default_factory=list)
    waiting: deque[_Waiting] = field(default_factory=deque)
    span: list[tuple[int, Frame]] = field(default_factory=list)  # frames since the last look, with its frame
    found: dict[int, np.ndarray] = field(default_factory=dict)  # detections of the looks at frames of `span`
    looks: deque[int] = field(default_factory=deque)  # frames of the looks that waiting frames need
    times: dict[int, float] = field(default_factory=dict)  # starts of the frames that smoothing needs
    looks_of_shot: int = 0
    numbers: int = 0

    def push(self, waiting: _Waiting) -> Iterator[Moment]:
        """Take the next frame, and give the moments that it completes."""
        if waiting.starts_shot and self.span:
            yield from self.end_shot(waiting.start)
        self.waiting.append(waiting)
        now = self.times[waiting.index] = float(waiting.start)
        self.span.append((waiting.index, waiting.frame))
        before = self.times[max(waiting.index - 1, self.span[0][0])]
        elapsed, step = now - self.times[self.span[0][0]], now - before
        # Look at the frame nearest to `interval`. If times stand still, look at once.
        if step <= 0.0 or elapsed > self.interval - step / 2.0:
            self._look()
            self.span = self.span[-1:]
            yield from self._settle(self._num_settled(now), waiting.start)

    def end_shot(self, end: Fraction) -> Iterator[Moment]:
        """End all tracks, and give the moments that still wait; the last lasts until `end`."""
        self._look()
        for chain in self.linker.close():
            self._close(chain)
        yield from self._settle(len(self.waiting), end)
        self.span, self.found, self.looks_of_shot = [], {}, 0

    def _look(self) -> None:
        """Look at both ends of the span, and between them where they disagree; link what was found."""
        new = set(self.found)
        look_between(self.span, self.found, self.detector)
        for index in sorted(set(self.found) - new):
            for chain in self.linker.add(index, self.times[index], self.found[index]):
                self._close(chain)
            self.looks.append(index)
            self.looks_of_shot += 1
        known = {id(track.chain) for track in self.tracks}
        self.tracks += [
            _Track(chain, next(iter(chain.detections))) for chain in self.linker.open if id(chain) not in known
        ]
        for track in self.tracks:
            track.is_face = track.is_face or self._is_long(track.chain, MIN_DETECTIONS)
        last = self.span[-1][0]
        self.found = {last: self.found[last]}

    def _is_long(self, chain: Chain, needed: int) -> bool:
        seconds = self.times[chain.last] - self.times[next(iter(chain.detections))]
        return len(chain.detections) >= needed or seconds >= MIN_SECONDS

    def _close(self, chain: Chain) -> None:
        """End a track. As in [`build_tracks`], a shot of few looks cannot show a face in three of them."""
        track = next((track for track in self.tracks if track.chain is chain), None)
        if track is None:  # it was found by the last looks alone
            track = _Track(chain, next(iter(chain.detections)))
            self.tracks.append(track)
        track.is_open = False
        needed = min(MIN_DETECTIONS, max(1, self.looks_of_shot // 2))
        track.is_face = track.is_face or self._is_long(chain, needed)
        if not track.is_face:
            self.tracks.remove(track)

    def _num_settled(self, now: float) -> int:
        """Number of waiting frames whose faces no later look changes."""
        limit = self._first_after(now - _SIGMAS * self.smoothing)
        for track in self.tracks:
            if track.is_open and not track.is_face:
                limit = min(limit, track.first)
            elif track.is_open and track.chain.missed_since is not None:
                limit = min(limit, self._first_after(self.times[track.chain.last] - _SIGMAS * self.smoothing))
        return max(0, limit - self.waiting[0].index)

    def _first_after(self, time: float) -> int:
        """Index of the first waiting frame that starts after a time; of the last, if none does."""
        return next((each.index for each in self.waiting if each.start > time), self.waiting[-1].index)

    def _settle(self, count: int, end: Fraction) -> Iterator[Moment]:
        """Give the moments of the first `count` waiting frames; the last waiting frame lasts until `end`."""
        if not count:
            return
        settled = [self.waiting.popleft() for _ in range(count)]
        ends = [each.start for each in settled[1:]] + [self.waiting[0].start if self.waiting else end]
        first, last = settled[0].index, settled[-1].index
        faces: dict[int, list[FollowedFace]] = {each.index: [] for each in settled}
        for track in sorted(self.tracks, key=lambda track: track.first):
            if track.is_face and track.first <= last and track.chain.last >= first:
                self._place(track, first, last, faces)
        for each, finish in zip(settled, ends, strict=True):
            ended = self._ended_before(each.index)
            yield Moment(each.start, finish, each.frame, faces[each.index], each.starts_shot, ended)
        self._forget(last + 1)

    def _place(self, track: _Track, first: int, last: int, faces: dict[int, list[FollowedFace]]) -> None:
        """Add the places of one face in the frames from `first` to `last` to `faces`."""
        if track.number is None:
            track.number, self.numbers = self.numbers, self.numbers + 1
        chain = track.chain
        seen = list(chain.detections)  # from before the reach of the smoothing
        frames = np.arange(seen[0], chain.last + 1)
        clock = increasing(np.array([self.times[index] for index in frames.tolist()]))
        rows = np.stack(list(chain.detections.values())).astype(np.float64)  # (n, 15)
        looks = clock[np.array(seen) - seen[0]]
        shape = np.stack([np.interp(clock, looks, rows[:, column]) for column in range(14)], axis=1)
        shape = smooth(shape, clock, self.smoothing)
        part = FaceTrack(0, frames, shape[:, :4], shape[:, 4:].reshape(-1, 5, 2), frames, frames < 0)
        squares = crop_squares(part, self.margin)
        if not has_angle(shape).any():  # a profile keeps the angle that it had
            squares[:, 3] = track.angle
        looked = np.array(self.looks)
        found = np.isin(looked, seen)
        for index in range(max(first, track.first), min(last, chain.last) + 1):
            before, after = np.searchsorted(looked, index, "right") - 1, np.searchsorted(looked, index, "left")
            box, square = shape[index - seen[0], :4], squares[index - seen[0]]
            faces[index].append(FollowedFace(track.number, box, square, bool(found[before] and found[after])))
            track.angle = square[3]

    def _ended_before(self, index: int) -> list[int]:
        """Numbers of the tracks that ended before a frame; they are removed."""
        ended = [track for track in self.tracks if not track.is_open and track.chain.last < index]
        self.tracks = [track for track in self.tracks if track not in ended]
        return [track.number for track in ended]

    def _forget(self, first: int) -> None:
        """Drop looks, times and detections that no frame from `first` on needs."""
        oldest = self.times[first - 1] - _SIGMAS * self.smoothing
        while len(self.looks) > 1 and self.looks[1] <= first:
            self.looks.popleft()
        needed = [first, self.looks[0], self.span[0][0]]
        for track in self.tracks:
            detections = list(track.chain.detections)
            for early, later in zip(detections, detections[1:], strict=False):
                if self.times[later] < oldest:
                    del track.chain.detections[early]
            needed.append(next(iter(track.chain.detections)))
        for early in [index for index in self.times if index < min(needed)]:
            del self.times[early]


def with_starts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Fraction]]:
    """Frames with their starts in seconds, not decreasing; frames without times follow `NOMINAL_FPS`."""
    previous = None
    for frame in frames:
        start = frame.start
        if start is None:
            start = Fraction(0) if previous is None else previous + Fraction(1, NOMINAL_FPS)
        elif previous is not None:
            start = max(start, previous)
        yield frame, start
        previous = start


def follow_faces(
    frames: Iterable[Frame],
    detector: FaceDetector,
    *,
    cuts: CutDetector | None = None,
    interval: float = 0.2,
    max_gap: float = 0.5,
    smoothing: float = 0.1,
    margin: float = 0.1,
) -> Iterator[Moment]:
    """Find and follow all faces in one pass.

    By default it looks less often than [`track_faces`], which makes crops to train on: looks take most of the time of
    raw videos, and boxes change little.

    Args:
        frames: the frames in presentation order; each is read at most until its moment is given.
        detector: the detector.
        cuts: finds the cuts, where all tracks end; by default none is looked for.
        interval: seconds between looks, see [`track_faces`].
        max_gap: longest time in seconds for which looks may miss a face, see [`track_faces`].
        smoothing: standard deviation in seconds of the smoothing.
        margin: space on each side of the box, as a share of its longer side.

    Yields:
        One [`Moment`] for each frame, in order, about `interval` and three times `smoothing` late; at most `max_gap`
        and two looks later while a face is missing, and a fifth of a second later where the picture changes. A track
        that ends with a frame is in `ended` of a later moment, or of none if the video ends.
    """
    follower = _Follower(detector, cuts, interval, smoothing, margin, Linker(max_gap))
    last = step = None
    timed = with_starts(frames)
    marked = ((*each, False) for each in timed) if cuts is None else cuts.mark(timed)
    for index, (frame, start, starts_shot) in enumerate(marked):
        yield from follower.push(_Waiting(index, start, frame, starts_shot))
        step = start - last[1] if last is not None and start > last[1] else step
        last = frame, start
    if last is not None:
        yield from follower.end_shot(last[1] + (last[0].duration or step or Fraction(1, NOMINAL_FPS)))


__all__ = ["FollowedFace", "Moment", "follow_faces", "with_starts"]
