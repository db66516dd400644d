"""One function opens every kind of clip, for training, prediction and face cropping."""

import os
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from io import TextIOBase
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from transformers.image_utils import ChannelDimension, is_pil_image
from transformers.video_utils import VideoMetadata

from .downloading_hdf import Download, download, is_url
from .file_kinds_hdf import HEAD, PICTURE_SUFFIXES, frame_files, has_suffix, is_picture, read_head
from .frame_reading_hdf import AnimatedPicture, FrameArray, PictureFiles, is_animation, open_picture
from .video_reading_hdf import VideoFile


class Frame(Protocol):
    """One frame. `start` and `duration` are in seconds, `None` where unknown; `size` is height and width in pixels."""

    start: Fraction | None
    duration: Fraction | None

    @property
    def size(self) -> tuple[int, int]: ...

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        """uint8 RGB of shape `(height, width, 3)`, scaled down to a longer side of at most `max_side` pixels."""


class ClipSource(Protocol):
    """A clip that can be read several times. Messages call it by its `name`."""

    name: str

    def read(self, sample: Callable[..., np.ndarray]) -> tuple[np.ndarray | torch.Tensor, VideoMetadata]:
        """The frames that `sample` picks, `(num_frames, height, width, 3)`, see [`read_clip`]."""

    def stream(self) -> Iterator[Frame]:
        """All frames in order, holding one at a time."""

    def problems(self, duration: float | None) -> list[str]:
        """Faults of the file that the last pass met and could read past."""


def open_clip(
    clip: Any,
    name: str = "video",
    *,
    input_data_format: str | ChannelDimension | None = None,
    metadata: VideoMetadata | None = None,
) -> ClipSource:
    """Find out what `clip` is, and make a [`ClipSource`] of it.

    Args:
        clip: one of

            - the path, http(s) URL, content or binary file object (read from its start) of a video, an animated
              picture, or a still picture, which is a clip of one frame. The first bytes decide which it is;
            - the path of a folder of frames, taken in natural order, or a list of the paths of picture files;
            - a dataset row's `{"bytes", "path"}` or `{"path", "frames"}`;
            - a [`VideoFile`], which is returned as it is;
            - an array or tensor of shape `(F, H, W, 3)` or `(F, 3, H, W)`, a list of PIL images or 3-D arrays, or one
              PIL image.
        name: name in messages for a clip without path or URL.
        input_data_format: `"channels_first"` or `"channels_last"` for frames in memory; inferred if `None`.
        metadata: `fps` and `duration` of frames in memory.

    Raises:
        FileNotFoundError: if there is no such file.
        TypeError: for an object of another kind, or a file object in text mode.
        ValueError: if the clip is empty, cannot be read, or cannot be downloaded within limits; see [`download`].
    """
    if isinstance(clip, VideoFile):
        return clip
    if isinstance(clip, Mapping):
        return _open_row(clip, name)
    if isinstance(clip, (str, os.PathLike)):
        return _open_path(os.fspath(clip))
    if isinstance(clip, (bytes, bytearray, memoryview)):
        return _open_content(clip, f"{name} ({len(clip)} bytes)")
    if hasattr(clip, "read"):
        return _open_file_object(clip, f"{name} (file object {getattr(clip, 'name', type(clip).__name__)})")
    if isinstance(clip, (list, tuple)) and clip and all(isinstance(item, (str, os.PathLike)) for item in clip):
        return _open_frames([os.fspath(path) for path in clip])
    return FrameArray([clip] if is_pil_image(clip) else clip, name, input_data_format, metadata)


def _open_row(row: Mapping[str, Any], name: str) -> ClipSource:
    unknown = set(row) - {"bytes", "path", "frames"}
    if unknown:
        raise TypeError(f"{name}: a row's clip holds `bytes`, `path` or `frames`, got {sorted(map(str, unknown))}.")
    content, path, frames = (row.get(key) for key in ("bytes", "path", "frames"))
    if frames is not None:
        if path is not None or content is not None:
            raise ValueError(f"{path or name}: the clip sets both a video and frames; set only one of them.")
        if not len(frames):
            raise ValueError(f"{name}: the clip's list of frames is empty; a clip needs at least one frame.")
        return _open_frames(list(frames))
    if content is None and path is None:
        raise ValueError(f"{name}: the clip is empty: it needs `path`, `frames` or `bytes`.")
    return open_clip(path, name) if content is None else open_clip(content, str(path or name))


def _open_path(path: str) -> ClipSource:
    if is_url(path):
        return _open_file_object(path.file if isinstance(path, Download) else download(path), path)
    if os.path.isdir(path):
        frames = frame_files(path)
        if not frames:
            raise ValueError(f"{path}: the folder holds no frame ({', '.join(PICTURE_SUFFIXES)}).")
        return PictureFiles(frames, path)
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise ValueError(
                f"{path}: is a device or a pipe; pass a regular file (or `-` to `hdf predict`, for a pipe)."
            )
        raise FileNotFoundError(f"{path}: no such file; pass the path of a clip or an http(s) URL.")
    # A stream of JPEG pictures starts with the same bytes as one JPEG picture. Only the name tells them apart.
    begins_as_picture = is_picture(read_head(path)) and not has_suffix(path, (".mjpeg", ".mjpg"))
    return _open_picture(path, path) if begins_as_picture or has_suffix(path, PICTURE_SUFFIXES) else VideoFile(path)


def _open_content(content: bytes | bytearray | memoryview, name: str) -> ClipSource:
    return _open_picture(bytes(content), name) if is_picture(content) else VideoFile(content, name)


def _open_file_object(file: BinaryIO, name: str) -> ClipSource:
    if isinstance(file, TextIOBase):
        raise TypeError(f"{name}: is open in text mode; open it in binary mode.")
    if not (hasattr(file, "seekable") and file.seekable()):
        return _open_content(file.read(), name)
    file.seek(0)
    begins_as_picture = is_picture(file.read(HEAD))
    file.seek(0)
    return _open_content(file.read(), name) if begins_as_picture else VideoFile(file, name)


def _open_picture(source: str | bytes, name: str) -> ClipSource:
    with open_picture(source, name) as picture:
        moves = is_animation(picture)
    return AnimatedPicture(source, name) if moves else PictureFiles([source], name)


def _open_frames(paths: list[str]) -> ClipSource:
    return PictureFiles(paths, os.path.dirname(paths[0]) or paths[0])


def read_clip(
    clip: Any, sample: Callable[..., np.ndarray], name: str = "video", **options: Any
) -> tuple[np.ndarray | torch.Tensor, VideoMetadata]:
    """Read the frames of a clip that `sample` picks.

    Args:
        clip: any kind of clip, see [`open_clip`], which also gets `name` and `options`.
        sample: called as `sample(metadata=..., timestamps=...)`, see [`HDFVideoProcessor.sample_frames`]; returns the
            indices of the frames in presentation order. `timestamps` is `None` for a clip without times.

    Returns:
        The frames as they are shown, uint8 RGB of shape `(num_frames, height, width, 3)` (for frames in memory, a
        tensor of their own type), and the metadata: `total_num_frames`, mean `fps`, `duration` in seconds, displayed
        `height` and `width`, `frames_indices`. Frames are turned and mirrored as the file asks, their pixels are
        square, and all have the size of the clip's first frame.

    Raises:
        FileNotFoundError, TypeError, ValueError: as [`open_clip`], if no frame can be decoded, or if the clip is
            above one of the [`LIMITS`]. Damage to a part of a video raises no error: the rest is used, and a warning
            names the file.
    """
    source = open_clip(clip, name, **options)

    def named_sample(**timeline: Any) -> np.ndarray:
        try:
            return sample(**timeline)
        except ValueError as error:
            raise ValueError(f"{source.name}: {error}") from error

    return source.read(named_sample)


__all__ = ["ClipSource", "Frame", "open_clip", "read_clip"]
