"""Where face detection gets its frames: video files, image files, frame folders and arrays behind one interface.

Every source can be gone through several times and holds one frame at a time; a frame is converted, or an image file
read, only when its pixels are asked for.
"""

import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from ..video_reading_hdf import VideoFile, frames_to_tensor

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class Frame(Protocol):
    """One frame. `start` and `duration` are in seconds, `None` where unknown; `size` is height and width in pixels."""

    start: Fraction | None
    duration: Fraction | None

    @property
    def size(self) -> tuple[int, int]: ...

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        """uint8 RGB of shape `(height, width, 3)`, scaled down to a longer side of at most `max_side` pixels."""


class FrameSource(Protocol):
    """A clip that can be gone through again and again. `name` is what messages call it."""

    name: str

    def stream(self) -> Iterator[Frame]: ...

    def problems(self, duration: float | None) -> list[str]:
        """What was wrong with the file in the last pass, though it could be read."""


class _Picture:
    """A frame from an array of shape `(height, width, 3)` uint8, or from an image file. Carries no time."""

    start = duration = None

    def __init__(self, content: np.ndarray | str):
        self._content = content
        if isinstance(content, np.ndarray):
            self.size: tuple[int, int] = content.shape[:2]
        else:
            with _readable(content), Image.open(content) as image:
                width, height = image.size
                is_on_its_side = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 are quarter turns
                self.size = (width, height) if is_on_its_side else (height, width)

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        scale = min(1.0, (max_side or max(self.size)) / max(self.size))
        height, width = (max(1, round(side * scale)) for side in self.size)
        if isinstance(self._content, np.ndarray):
            if scale == 1.0:
                return self._content
            return np.asarray(Image.fromarray(self._content).resize((width, height), Image.Resampling.BOX))
        with _readable(self._content), Image.open(self._content) as image:
            if scale < 1.0:
                longer = max(width, height)
                image.draft("RGB", (longer, longer))  # JPEG decodes to 1/2, 1/4 or 1/8 of its size in less time
            upright = ImageOps.exif_transpose(image).convert("RGB")
        return np.asarray(upright.resize((width, height), Image.Resampling.BOX))


class _readable:
    """Turns what Pillow raises for a broken image file into a `ValueError` that names the file."""

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> None:
        if os.path.isfile(self.path) and os.path.getsize(self.path) == 0:
            raise ValueError(f"{self.path}: the image is empty (0 bytes).")

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: Any) -> None:
        # Pillow raises `SyntaxError` for broken PNG files, and errors without a file name for truncated ones.
        if isinstance(error, (OSError, ValueError, SyntaxError, Image.DecompressionBombError)):
            if isinstance(error, (FileNotFoundError, PermissionError)):
                return
            reason = str(error).replace(f" {self.path!r}", "")
            raise ValueError(f"{self.path}: cannot be read as an image ({reason}).") from error


class _Pictures:
    """Image files or arrays of one size, in order."""

    def __init__(self, name: str, pictures: Sequence[np.ndarray | str]):
        self.name = name
        self._pictures = pictures

    def stream(self) -> Iterator[Frame]:
        first_size = None
        for number, content in enumerate(self._pictures):
            picture = _Picture(content)
            first_size = first_size or picture.size
            if picture.size != first_size:
                label = content if isinstance(content, str) else f"{self.name}[{number}]"
                raise ValueError(
                    f"{label}: is {picture.size[1]}x{picture.size[0]} pixels, but the clip's first frame is "
                    f"{first_size[1]}x{first_size[0]}; the frames of a clip must have one size."
                )
            yield picture

    def problems(self, duration: float | None) -> list[str]:
        return []


def natural_key(name: str) -> list[tuple[bool, int | str]]:
    """Sort key under which `frame_2` comes before `frame_10`."""
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"([0-9]+)", name)]


def frame_files(folder: str | os.PathLike) -> list[str]:
    """Paths of the image files directly in `folder`, in natural order of their names.

    Raises:
        ValueError: if there is none.
    """
    names = [entry.name for entry in os.scandir(folder) if entry.is_file() and is_image(entry.name)]
    if not names:
        raise ValueError(f"{os.fspath(folder)}: holds no image files ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return [os.path.join(folder, name) for name in sorted(names, key=natural_key)]


def is_image(name: str) -> bool:
    """Whether a file name says that it is an image; hidden files (`._0001.jpg` of some archives) are none."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def open_source(video: Any, name: str = "video") -> FrameSource:
    """Make a source of anything that holds a clip.

    Args:
        video: path, http(s) URL, bytes or binary file object of a video file; path of an image file; path of a folder
            of frames (taken in natural order), or a list of paths of image files; an array of shape `(F, H, W, 3)` or
            `(F, 3, H, W)`, or a list of arrays or PIL images.
        name: what messages call a clip that has no path.

    Raises:
        FileNotFoundError, TypeError, ValueError: as [`read_video`] and [`frames_to_tensor`].
    """
    if isinstance(video, (str, os.PathLike)):
        path = os.fspath(video)
        if os.path.isdir(path):
            return _Pictures(path, frame_files(path))
        return _Pictures(path, [path]) if is_image(os.path.basename(path)) else VideoFile(path, name)
    if isinstance(video, (bytes, bytearray, memoryview)) or hasattr(video, "read"):
        return VideoFile(video, name)
    if isinstance(video, (list, tuple)) and video and all(isinstance(item, (str, os.PathLike)) for item in video):
        paths = [os.fspath(path) for path in video]
        return _Pictures(os.path.dirname(paths[0]) or name, paths)
    frames = frames_to_tensor(video, None, name).movedim(1, -1)
    if frames.is_floating_point():
        raise TypeError(f"{name}: faces are found in integer pixels within 0..255, got floats.")
    return _Pictures(name, np.ascontiguousarray(frames.numpy()))


__all__ = ["IMAGE_SUFFIXES", "Frame", "FrameSource", "frame_files", "is_image", "natural_key", "open_source"]
