"""Finding faces in raw videos and cutting them out, upright and steady, as the model expects them.

The code passes over the video twice and holds a few frames in memory. The first pass looks for faces on a downscaled
frame every eighth of a second. Where two looks disagree or a face moved far, it also looks at frames between them. A
clip that lies on its side or upside down is searched again: see [`modeling_hdf.faces.turning`]. The second pass turns,
crops and scales the frames of one face. Needs the extra `face`: `pip install "hdf-dfer[face]"`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from transformers.video_utils import VideoMetadata

from ..clip_reading_hdf import ClipSource, Frame, open_clip
from ..video_reading_hdf import all_frames, presentation_times
from .detection import FaceDetector, cut_square
from .tracking import MIN_OVERLAP, FaceTrack, build_tracks, crop_squares, eye_angles, match_boxes
from .turning import TurnedSource, find_quarter_turns, find_turn_of_face, turned

NOMINAL_FPS = 25  # frame rate of frame folders and arrays, which carry no times
# Two looks whose boxes overlap by this IoU agree: boxes between them are interpolated.
AGREEMENT = 0.6
MAX_CROP_BYTES = 4 * 10**9  # limit for the array of `crop_face`: 17 minutes at 224 pixels and 25 frames per second


class NoFaceError(ValueError):
    """No face was found in a clip that could be read."""


@dataclass(frozen=True)
class TrackedFaces:
    """The result of [`track_faces`].

    Attributes:
        name: name of the clip in messages.
        size: height and width of its frames in pixels, after turning.
        timestamps: `num_frames + 1` times in seconds: the start of each frame and the end of the last frame. They
            follow `NOMINAL_FPS` if the clip carries no times.
        has_timestamps: whether the clip carries times.
        looked_at: number of frames the detector ran on.
        tracks: all faces, the main one first.
        problems: one message for each damage to the file.
        quarter_turns: number of counter-clockwise quarter turns that make the faces upright: 0 unless the clip was
            filmed sideways or upside down and its metadata do not say so.
    """

    name: str
    size: tuple[int, int]
    timestamps: list[Fraction]
    has_timestamps: bool
    looked_at: int
    tracks: list[FaceTrack]
    problems: list[str]
    quarter_turns: int = 0

    @property
    def num_frames(self) -> int:
        return len(self.timestamps) - 1

    def frames_without_face(self, track: FaceTrack | None = None) -> np.ndarray:
        """Indices of the frames in which no track (or not `track`) was seen, with the `filled` frames of tracks."""
        seen = np.zeros(self.num_frames, dtype=bool)
        for each in self.tracks if track is None else [track]:
            seen[each.frames[~each.filled]] = True
        return np.flatnonzero(~seen)

    def main(self) -> FaceTrack:
        """The largest and longest track. Raises [`NoFaceError`] if no face was found."""
        if not self.tracks:
            raise NoFaceError(
                f"{self.name}: no face was found in its {self.num_frames} frame(s) of {self.size[1]}x{self.size[0]} "
                "pixels, nor in some of them turned by quarters. For small faces raise `max_side` of the detector "
                "(--max-side), for blurred or hidden ones lower its `score_threshold`."
            )
        return self.tracks[0]


@dataclass(frozen=True)
class FaceClip:
    """A cropped face.

    Attributes:
        frames: `(N, size, size, 3)` uint8 RGB.
        timestamps: `N` times in seconds at which the frames start in the source.
        track: the face that was cropped.
        faces: all faces that were found in the clip.
    """

    frames: np.ndarray
    timestamps: list[Fraction]
    track: FaceTrack
    faces: TrackedFaces

    def summary(self) -> str:
        """One sentence: in how many frames the face was seen, and which face it is if there are several."""
        lost = len(self.faces.frames_without_face(self.track))
        text = f"face in {self.faces.num_frames - lost} of {self.faces.num_frames} frames"
        if lost:
            text += f" ({lost} without it)"
        if len(self.faces.tracks) > 1:
            text += f"; {len(self.faces.tracks)} faces, the main one (largest, longest) is taken"
        if self.faces.quarter_turns:
            text += f"; the clip was turned by {90 * self.faces.quarter_turns} degrees counter-clockwise"
        return text


def _look(
    source: ClipSource | TurnedSource, detector: FaceDetector, interval: float
) -> tuple[dict[int, np.ndarray], list[tuple[Fraction | None, Fraction | None]], tuple[int, int]]:
    """Detections by index of the frame looked at; `(start, duration)` of every frame; height and width."""
    found: dict[int, np.ndarray] = {}
    shown, span, size = [], [], None  # `span` holds the frames since the last look, with its frame

    def clock(index: int) -> float:
        start = shown[index][0]
        return index / NOMINAL_FPS if start is None else float(start)

    for index, frame in enumerate(source.stream()):
        size = size or frame.size
        shown.append((frame.start, frame.duration))
        span.append((index, frame))
        first = span[0][0]
        elapsed, step = clock(index) - clock(first), clock(index) - clock(max(index - 1, 0))
        # Look at the frame nearest to `interval`. If times stand still or run backwards, look at once.
        if step <= 0.0 or elapsed > interval - step / 2.0:
            look_between(span, found, detector)
            span = span[-1:]
    look_between(span, found, detector)
    return dict(sorted(found.items())), shown, size


def _look_at(frame: Frame, detector: FaceDetector, previous: np.ndarray) -> np.ndarray:
    """Faces of a frame `(n, 15)` with refined landmarks; `previous` are the faces of a frame shortly before."""
    faces = detector(frame)
    if len(faces):
        picture, angles = frame.rgb(), np.zeros(len(faces))
        for row, column in match_boxes(previous, faces, MIN_OVERLAP):
            angles[column] = eye_angles(previous[row : row + 1])[0]
        faces = np.stack([detector.refine(picture, face, angle) for face, angle in zip(faces, angles, strict=True)])
    return faces


def look_between(span: list[tuple[int, Frame]], found: dict[int, np.ndarray], detector: FaceDetector) -> None:
    """Look at both ends of a span of frames; if they disagree, look halfway and repeat for both halves."""
    (first, first_frame), (last, last_frame) = span[0], span[-1]
    for index, frame in ((first, first_frame), (last, last_frame)):
        if index not in found:
            found[index] = _look_at(frame, detector, found.get(first, np.empty((0, 15))))
    counts = {len(found[first]), len(found[last])}
    if len(span) <= 2 or counts == {len(match_boxes(found[first], found[last], AGREEMENT))}:
        return
    middle = len(span) // 2
    look_between(span[: middle + 1], found, detector)
    look_between(span[middle:], found, detector)


def _timestamps(shown: list[tuple[Fraction | None, Fraction | None]]) -> tuple[list[Fraction], bool]:
    """Start of each frame and end of the last frame in seconds, and whether these times come from the file."""
    times = presentation_times([start for start, _ in shown], shown[-1][1])
    if times is None:
        return [Fraction(index, NOMINAL_FPS) for index in range(len(shown) + 1)], False
    return times, True


def track_faces(
    video: Any,
    detector: FaceDetector | None = None,
    *,
    interval: float = 0.125,
    max_gap: float = 0.5,
    smoothing: float = 0.1,
    name: str = "video",
) -> TrackedFaces:
    """Find all faces of a clip and follow them.

    Args:
        video: a clip, see [`open_clip`]: a video or picture file, a folder of frames, an array.
        detector: the detector; by default a new detector.
        interval: seconds between looks; 0 looks at every frame. Boxes between looks that agree are interpolated;
            between other looks, more frames are looked at.
        max_gap: longest time in seconds for which looks may miss a face, in shadow or behind a hand. Shorter gaps are
            interpolated; after a longer gap a new track starts. Time between two looks that both find the face does
            not count.
        smoothing: standard deviation in seconds of the smoothing of boxes and landmarks; 0 does not smooth.
        name: name in messages for a clip that has no path.

    If the main face scores clearly higher after quarter turns, or a clip shows no face, but some of its frames show
    faces after quarter turns, the turned clip is searched; `quarter_turns` of the result gives the turns.

    Raises:
        ValueError: for a negative time, or a clip that cannot be read. A clip without a face raises no error.
    """
    for label, value in {"interval": interval, "max_gap": max_gap, "smoothing": smoothing}.items():
        if value < 0.0:
            raise ValueError(f"`{label}` is in seconds and must not be negative, got {value}.")
    source = open_clip(video, name)
    return _track(source, detector or FaceDetector(), interval, max_gap, smoothing)


def _track(
    source: ClipSource, detector: FaceDetector, interval: float = 0.125, max_gap: float = 0.5, smoothing: float = 0.1
) -> TrackedFaces:
    faces = _track_as_it_is(source, detector, interval, max_gap, smoothing)
    if faces.tracks:
        quarter_turns = find_turn_of_face(source, faces.main(), detector)
    else:
        quarter_turns = find_quarter_turns(source, faces.num_frames, detector)
    if quarter_turns:
        upright = _track_as_it_is(turned(source, quarter_turns), detector, interval, max_gap, smoothing)
        if upright.tracks:
            tracks = [replace(track, quarter_turns=quarter_turns) for track in upright.tracks]
            return replace(upright, tracks=tracks, quarter_turns=quarter_turns)
    return faces


def _track_as_it_is(
    source: ClipSource | TurnedSource, detector: FaceDetector, interval: float, max_gap: float, smoothing: float
) -> TrackedFaces:
    found, shown, size = _look(source, detector, interval)
    timestamps, has_timestamps = _timestamps(shown)
    tracks = build_tracks(found, np.array(timestamps[:-1], dtype=np.float64), max_gap, smoothing)
    problems = source.problems(float(timestamps[-1] - timestamps[0]) if has_timestamps else None)
    return TrackedFaces(source.name, size, timestamps, has_timestamps, len(found), tracks, problems)


def iterate_crops(
    source: ClipSource, track: FaceTrack, size: int, margin: float, wanted: Iterable[int] | None = None
) -> Iterator[np.ndarray]:
    """Crops `(size, size, 3)` uint8 of one face, in order, with one frame in memory.

    Args:
        source: the clip of `track`, turned as it was searched.
        track: the face.
        size: edge of the crops in pixels.
        margin: space on each side of the box, as a share of its longer side.
        wanted: positions in the track, in increasing order; all by default.

    Raises:
        ValueError: if the source now ends before the track does.
    """
    squares = crop_squares(track, margin)
    queue = list(range(len(track.frames)) if wanted is None else wanted)[::-1]
    for index, frame in enumerate(turned(source, track.quarter_turns).stream()):
        if queue and track.frames[queue[-1]] == index:
            yield cut_square(frame.rgb(), squares[queue.pop()], size)
        if not queue:
            return
    raise ValueError(f"{source.name}: the second pass gave fewer frames than the first; is the file being written?")


def crop_face(
    video: Any,
    size: int = 224,
    margin: float = 0.1,
    *,
    detector: FaceDetector | None = None,
    sample: Callable[..., np.ndarray] = all_frames,
    name: str = "video",
) -> FaceClip:
    """Find the main face of a clip and cut it out.

    Args:
        video: a clip, see [`track_faces`].
        size: edge of the crop in pixels.
        margin: space on each side of the box, as a share of its longer side.
        detector: the detector; by default a new detector.
        sample: called as `sample(metadata=..., timestamps=...)` for the frames that show the face, like
            [`~HDFVideoProcessor.sample_frames`]; returns the indices to crop, not decreasing. All by default.
        name: name in messages for a clip that has no path.

    Returns:
        The crops and all faces of the clip. A face that comes late or leaves early makes a shorter clip.

    Raises:
        NoFaceError: if there is no face.
        ValueError: if the clip cannot be read, `size` or `margin` is out of range, or the crops would take more than
            `MAX_CROP_BYTES`, 4 GB, of memory.

    Example:

    ```python
    >>> from modeling_hdf.faces.cropping import crop_face
    >>> clip = crop_face("holiday.mp4")
    >>> clip.frames.shape
    (72, 224, 224, 3)
    >>> clip.summary()
    'face in 72 of 72 frames'
    ```
    """
    if size < 1 or margin < 0.0:
        raise ValueError(f"`size` must be at least 1 and `margin` not negative, got {size} and {margin}.")
    source = open_clip(video, name)
    faces = _track(source, detector or FaceDetector())
    track = faces.main()
    first, last = track.frames[0], track.frames[-1]
    starts = faces.timestamps[first : last + 2]
    duration = starts[-1] - starts[0]  # 0 if all these frames have the same time
    fps = float(len(track.frames) / duration) if duration else None
    metadata = VideoMetadata(len(track.frames), fps=fps, duration=float(duration) or None)
    # Integer ticks keep the arithmetic of sampling exact.
    tick = np.lcm.reduce([start.denominator for start in starts], dtype=object)
    has_times = faces.has_timestamps and duration > 0
    timestamps = np.array([int((start - starts[0]) * tick) for start in starts]) if has_times else None
    indices = np.asarray(sample(metadata=metadata, timestamps=timestamps))
    needed = len(indices) * size * size * 3
    if needed > MAX_CROP_BYTES:
        raise ValueError(
            f"{source.name}: {len(indices)} crops of {size}x{size} pixels take {needed / 1e9:.1f} GB of memory, and "
            f"{MAX_CROP_BYTES / 1e9:g} GB is the limit. Take fewer frames (`sample`) or a smaller `size`, go through "
            "the crops one by one (`track_faces`, then `iterate_crops`), or write them to files (hdf data faces)."
        )
    frames = np.empty((len(indices), size, size, 3), np.uint8)
    unique, first_of, counts = np.unique(indices, return_index=True, return_counts=True)
    crops = iterate_crops(source, track, size, margin, unique.tolist())
    for crop, position, count in zip(crops, first_of, counts, strict=True):
        frames[position : position + count] = crop  # `indices` do not decrease
    return FaceClip(frames, [starts[index] for index in indices], track, faces)


__all__ = [
    "FaceClip",
    "FaceDetector",
    "NoFaceError",
    "TrackedFaces",
    "crop_face",
    "iterate_crops",
    "look_between",
    "track_faces",
]
