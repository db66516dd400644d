"""Faces of single frames joined to tracks of persons: association, gaps, smoothing, the square to crop.

This module works on arrays, without pixels or a detector. A detection is a row of 15 numbers in YuNet's order: left,
top, width and height of the box; x and y of right eye, left eye, nose tip, right and left corner of the mouth (the
person's own right and left); the score from 0 to 1. All lengths are in pixels of the full frame, y downwards.
"""

from dataclasses import dataclass, replace

import numpy as np

MIN_OVERLAP = 0.2  # least IoU at which two boxes of successive looks are one face
# A face seen in fewer looks and for less time is a false detection.
MIN_DETECTIONS, MIN_SECONDS = 3, 0.25
_ROUNDING = 1e-9  # seconds; differences of times are not exact
# In box widths. The eyes of a frontal face are about 0.45 apart; in a profile they are nearer and give no angle.
MIN_EYE_DISTANCE = 0.2


@dataclass(frozen=True)
class FaceTrack:
    """One face over successive frames, without gaps.

    Attributes:
        id: 0 for the main face; other faces follow by decreasing prominence.
        frames: `(N,)` indices of the frames, from the first to the last that show the face.
        boxes: `(N, 4)` left, top, width, height in pixels, smoothed over time.
        landmarks: `(N, 5, 2)` x and y in pixels of right eye, left eye, nose, right and left mouth corner, smoothed.
        scores: `(N,)` the detector's score in frames where it found the face, else NaN.
        filled: `(N,)` true where the look before or after the frame missed the face, so that it may be hidden.
        quarter_turns: number of counter-clockwise quarter turns that make the frames upright; not 0 for a video filmed
            sideways or upside down. Boxes and landmarks are in pixels of the turned frames.
    """

    id: int
    frames: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray
    filled: np.ndarray
    quarter_turns: int = 0

    @property
    def prominence(self) -> float:
        """Sum of the box areas over the track: high for large and long-lasting faces."""
        return float((self.boxes[:, 2] * self.boxes[:, 3]).sum())


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (left, top, width, height): `(N, 4)` and `(M, 4)` give `(N, M)`."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum((first[:, :2] + first[:, 2:4])[:, None], (second[:, :2] + second[:, 2:4])[None])
    shared = np.clip(high - low, 0.0, None).prod(-1)
    return shared / (first[:, 2:4].prod(-1)[:, None] + second[:, 2:4].prod(-1)[None] - shared)


def match_boxes(first: np.ndarray, second: np.ndarray, min_overlap: float) -> list[tuple[int, int]]:
    """Pairs of indices, best overlap first, each index at most once, with an IoU of at least `min_overlap`."""
    overlap = box_iou(first, second)
    pairs = []
    while overlap.size and overlap.max() >= min_overlap:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs.append((int(row), int(column)))
        overlap[row, :] = overlap[:, column] = -1.0
    return pairs


@dataclass(eq=False)
class Chain:
    """The detections of one face in successive looks.

    Attributes:
        detections: its detection `(15,)` by index of the frame that was looked at, in order.
        missed_since: time in seconds of the first look after the last detection; `None` if the last look found it.
    """

    detections: dict[int, np.ndarray]
    missed_since: float | None = None

    @property
    def last(self) -> int:
        """Index of the last frame in which the face was found."""
        return next(reversed(self.detections))


class Linker:
    """
    Joins the detections of successive looks, one look at a time.

    A face is lost when looks miss it for longer than `max_gap`. Time between two looks that both find the face does
    not count: frames may come slowly, or a picture may freeze.

    Args:
        max_gap (`float`): longest time in seconds from the first look that misses a face to the look that finds it
            again. After a longer time it is another face.
    """

    def __init__(self, max_gap: float):
        self.max_gap = max_gap
        self.open: list[Chain] = []

    def add(self, index: int, now: float, faces: np.ndarray) -> list[Chain]:
        """
        Adds the detections `(n, 15)` of the next look, at frame `index` and `now` seconds.

        Returns:
            The chains of the faces that are lost by now.
        """
        closed = [
            chain
            for chain in self.open
            if chain.missed_since is not None and now - chain.missed_since > self.max_gap + _ROUNDING
        ]
        self.open = [chain for chain in self.open if chain not in closed]
        last = np.array([chain.detections[chain.last] for chain in self.open]).reshape(-1, 15)
        matches = dict(match_boxes(last, faces, MIN_OVERLAP))
        for row, chain in enumerate(self.open):
            if row in matches:
                chain.detections[index], chain.missed_since = faces[matches[row]], None
            elif chain.missed_since is None:
                chain.missed_since = now
        self.open += [Chain({index: face}) for column, face in enumerate(faces) if column not in matches.values()]
        return closed

    def close(self) -> list[Chain]:
        """Ends all open chains and returns them."""
        closed, self.open = self.open, []
        return closed


def link(found: dict[int, np.ndarray], times: np.ndarray, max_gap: float) -> list[dict[int, np.ndarray]]:
    """Join the detections of successive looks, see [`Linker`].

    Args:
        found: detections `(n, 15)` by index of the frame that was looked at, in order.
        times: `(F,)` start of each frame in seconds.
        max_gap: see [`Linker`].

    Returns:
        One dictionary for each face: its detection `(15,)` by index of the frame.
    """
    linker = Linker(max_gap)
    closed = [chain for index, faces in found.items() for chain in linker.add(index, times[index], faces)]
    return [chain.detections for chain in closed + linker.close()]


def smooth(values: np.ndarray, times: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth over time: fit a straight line around each time, with Gaussian weights.

    Unlike an average, a line follows constant motion without lag and has no bias at either end.

    Args:
        values: `(N, D)`.
        times: `(N,)` seconds, not decreasing, evenly spaced or not.
        sigma: standard deviation of the weights in seconds; 0 changes nothing.
    """
    if sigma == 0.0:
        return values
    smoothed = np.empty_like(values)
    low = np.searchsorted(times, times - 3.0 * sigma, side="left")
    high = np.searchsorted(times, times + 3.0 * sigma, side="right")
    for index in range(len(values)):
        window = slice(low[index], high[index])
        lag = times[window] - times[index]  # (n,)
        weights = np.exp(-0.5 * (lag / sigma) ** 2)
        weights /= weights.sum()
        mean_lag = weights @ lag
        spread = weights @ (lag - mean_lag) ** 2
        mean = weights @ values[window]  # (D,)
        slope = (weights * (lag - mean_lag)) @ values[window] / spread if spread > 0.0 else 0.0
        smoothed[index] = mean - slope * mean_lag
    return smoothed


def build_tracks(
    found: dict[int, np.ndarray], times: np.ndarray, max_gap: float = 0.5, smoothing: float = 0.1
) -> list[FaceTrack]:
    """Tracks of all faces, the main one first.

    Args:
        found: detections `(n, 15)` by index of the frame that was looked at, in order. All other frames lie between
            looks that agree, and are interpolated.
        times: `(F,)` start of each frame in seconds.
        max_gap: longest gap of a face in seconds, see [`link`]; shorter gaps are interpolated.
        smoothing: standard deviation of the temporal smoothing in seconds.
    """
    # A clip of few frames cannot show a face in three looks; with slow frames, two looks span a long time.
    needed = min(MIN_DETECTIONS, max(1, len(found) // 2))
    looked = np.fromiter(found, dtype=np.int64)
    tracks = []
    for chain in link(found, times, max_gap):
        seen = np.fromiter(chain, dtype=np.int64)
        if len(chain) < needed and times[seen[-1]] - times[seen[0]] < MIN_SECONDS:
            continue
        rows = np.stack(list(chain.values())).astype(np.float64)  # (n, 15)
        frames = np.arange(seen[0], seen[-1] + 1)
        clock = increasing(times[frames])
        shape = np.stack([np.interp(clock, clock[seen - seen[0]], rows[:, column]) for column in range(14)], axis=1)
        shape = smooth(shape, clock, smoothing)
        scores = np.full(len(frames), np.nan)
        scores[seen - seen[0]] = rows[:, 14]
        was_seen = np.isin(looked, seen)
        look_before = np.searchsorted(looked, frames, side="right") - 1
        look_after = np.searchsorted(looked, frames, side="left")
        filled = ~(was_seen[look_before] & was_seen[look_after])
        tracks.append(FaceTrack(0, frames, shape[:, :4], shape[:, 4:].reshape(-1, 5, 2), scores, filled))
    tracks.sort(key=lambda track: -track.prominence)
    return [replace(track, id=rank) for rank, track in enumerate(tracks)]


def increasing(times: np.ndarray) -> np.ndarray:
    """`times`, made strictly increasing, so that interpolation has one answer."""
    return times + 1e-6 * np.arange(len(times))


def has_angle(faces: np.ndarray) -> np.ndarray:
    """Whether the eyes of each face are far enough apart to give an angle, `(N,)`; see [`eye_angles`]."""
    return np.hypot(*(faces[:, 6:8] - faces[:, 4:6]).T) >= MIN_EYE_DISTANCE * faces[:, 2]


def eye_angles(faces: np.ndarray) -> np.ndarray:
    """Angle of the line through the eyes in radians, positive if the eye on the right of the picture is the lower one.

    Args:
        faces: `(N, 14)` or `(N, 15)` in order of time. The eyes of profiles lie too near each other; their angle is
            interpolated from the frames around them, or 0 if all frames are profiles.
    """
    eyes = faces[:, 6:8] - faces[:, 4:6]  # (N, 2), towards the right of the picture
    apart = has_angle(faces)
    if not apart.any():
        return np.zeros(len(faces))
    known = np.unwrap(np.arctan2(eyes[apart, 1], eyes[apart, 0]))
    return np.interp(np.arange(len(faces)), np.flatnonzero(apart), known)


def crop_squares(track: FaceTrack, margin: float) -> np.ndarray:
    """Squares to cut out, turned so that the eyes are level.

    Args:
        track: `N` frames of a face.
        margin: space on each side of the box, as a share of its longer side.

    Returns:
        `(N, 4)`: x and y of the centre and the side in pixels, and the angle of the line through the eyes in radians,
        positive if the eye on the right of the picture is the lower one.
    """
    left, top, width, height = track.boxes.T
    side = np.maximum(width, height) * (1.0 + 2.0 * margin)
    angle = eye_angles(np.column_stack([track.boxes, track.landmarks.reshape(-1, 10)]))
    return np.stack([left + width / 2.0, top + height / 2.0, side, angle], axis=1)


__all__ = [
    "Chain",
    "FaceTrack",
    "Linker",
    "box_iou",
    "build_tracks",
    "crop_squares",
    "eye_angles",
    "has_angle",
    "increasing",
    "link",
    "match_boxes",
    "smooth",
]
