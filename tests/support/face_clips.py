"""Clips of rendered faces at known places, for the tests of face detection and cropping."""

from functools import cache
from pathlib import Path

import numpy as np
from video_files import write_video

from modeling_hdf.data import ClipFactors, render_clip

FACE = 128  # pixels, edge of a rendered face
FPS = 25


@cache
def rendered_face(identity: int = 0, roll: float = 0.0) -> np.ndarray:
    """One frame of a rendered face, `(FACE, FACE, 3)` uint8."""
    factors = ClipFactors(label="happiness", identity=identity, roll=roll, duration=0.2, fps=10)
    return render_clip(factors, FACE)[-1]


def place_faces(
    paths: dict[int, np.ndarray], num_frames: int, size: tuple[int, int] = (270, 480), roll: float = 0.0
) -> np.ndarray:
    """Draw faces on a grey wall.

    Args:
        paths: by identity, the left and top edge of its picture in each frame, `(num_frames, 2)`; negative where the
            face is not shown.
        num_frames: length of the clip.
        size: height and width of the frames.
        roll: tilt of all faces in degrees.

    Returns:
        `(num_frames, *size, 3)` uint8.
    """
    frames = np.full((num_frames, *size, 3), 120, np.uint8)
    for identity, path in paths.items():
        for frame, (left, top) in zip(frames, np.rint(path).astype(int), strict=True):
            if left >= 0 and top >= 0:
                frame[top : top + FACE, left : left + FACE] = rendered_face(identity, roll)
    return frames


def close_up(num_frames: int) -> np.ndarray:
    """A face that fills most of the frame, so that it is found also on its side, `(num_frames, 170, 160, 3)` uint8."""
    return place_faces({2: straight((14, 19), (18, 23), num_frames)}, num_frames, size=(170, 160))


def straight(start: tuple[float, float], end: tuple[float, float], num_frames: int) -> np.ndarray:
    """A path of constant speed, `(num_frames, 2)`."""
    return np.linspace(start, end, num_frames)


def hidden(path: np.ndarray, first: int, last: int) -> np.ndarray:
    """`path` with the face gone from frame `first` to frame `last`."""
    path = path.copy()
    path[first : last + 1] = -1
    return path


def write_clip(file: Path, frames: np.ndarray, **kwargs) -> Path:
    return write_video(file, list(frames), rate=kwargs.pop("rate", FPS), **kwargs)


def assert_alike(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal to one level: an interpolation may round otherwise on another processor."""
    np.testing.assert_allclose(actual.astype(int), expected.astype(int), atol=1)
