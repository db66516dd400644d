"""The frames of one clip, whether it lies on disk as a video file, as a folder of frames, or in memory as bytes."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers.video_utils import VideoMetadata

from ..video_reading_hdf import all_frames, read_video

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def natural_key(name: str) -> tuple:
    """Sorts numbers in names by their value: `2.jpg` before `10.jpg`, `00001_00009.jpg` before `00001_00010.jpg`."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def list_frames(folder: str | os.PathLike) -> list[str]:
    """
    Frame files of a clip's folder, in natural order.

    Hidden files and files that are no pictures are passed over. A folder that holds nothing but a folder of its own
    name, as unpacking twice leaves it, stands for that one.

    Args:
        folder (`str` or `Path`): the clip's folder.

    Returns:
        `list[str]`: paths; empty if there is no frame.

    Raises:
        OSError: if the folder cannot be read.
        ValueError: if two files carry the same frame number, such as `1.jpg` and `01.jpg`: their order, or which of
            them counts, is not known.
    """
    folder = os.fspath(folder)
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    own_name = os.path.basename(os.path.normpath(folder))
    if names == [own_name] and os.path.isdir(os.path.join(folder, own_name)):
        return list_frames(os.path.join(folder, own_name))
    frames = sorted((name for name in names if name.lower().endswith(FRAME_SUFFIXES)), key=natural_key)
    stems = [natural_key(Path(name).stem) for name in frames]
    for first, second, name, next_name in zip(stems, stems[1:], frames, frames[1:], strict=False):
        if first == second:
            raise ValueError(f"{folder}: {name!r} and {next_name!r} carry the same frame number; remove one of them.")
    return [os.path.join(folder, name) for name in frames]


def read_frame(path: str | os.PathLike) -> Image.Image:
    """
    One frame file as an RGB picture; grey, palette and transparent pictures are converted.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is truncated or no picture; the message names the path.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such frame; the folder has changed since it was listed.") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError for some broken PNG files
        raise ValueError(f"{path}: the frame cannot be read ({error}).") from error


def read_frames(paths: Sequence[str], sample: Callable[..., np.ndarray] | None = None) -> np.ndarray:
    """
    The frames of a folder that `sample` picks, each distinct one decoded once. See [`load_clip`].

    Args:
        paths (`Sequence[str]`): the frame files, in order.
        sample (`Callable`, *optional*): called as `sample(metadata=..., timestamps=None)`, where
            `metadata.total_num_frames` is the number of files.

    Returns:
        `np.ndarray` of shape `(F, H, W, 3)`, uint8. Frames of different sizes are resized (bilinear) to the size of
        the clip's first frame, whether or not it is sampled.
    """
    if not len(paths):
        raise ValueError("A clip's list of frames is empty; a clip needs at least one frame.")
    metadata = VideoMetadata(len(paths), fps=None, duration=None, video_backend="pillow")
    indices = np.asarray((sample or all_frames)(metadata=metadata, timestamps=None))
    pictures = {index: read_frame(paths[index]) for index in np.unique(indices).tolist()}
    sizes = {picture.size for picture in pictures.values()}
    if len(sizes) > 1:
        size = (pictures[0] if 0 in pictures else read_frame(paths[0])).size
        pictures = {index: picture.resize(size, Image.Resampling.BILINEAR) for index, picture in pictures.items()}
    arrays = {index: np.asarray(picture) for index, picture in pictures.items()}
    return np.stack([arrays[index] for index in indices.tolist()])


def load_clip(row: dict[str, Any], sample: Callable[..., np.ndarray] | None = None) -> np.ndarray:
    """
    Decodes the clip of a row of any of our datasets.

    Args:
        row (`dict`): a row whose `clip` is `{"path", "frames"}` (a video file, or its ordered frame files; exactly
            one is set) or `{"bytes", "path"}` (an encoded video; the path is read if the bytes are `None`).
        sample (`Callable`, *optional*): picks frames; called as `sample(metadata=VideoMetadata, timestamps=...)`, see
            [`HDFVideoProcessor.sample_frames`]. For frame files, `metadata.total_num_frames` is their number and
            `timestamps` is `None`. Without it, all frames are decoded.

    Returns:
        `np.ndarray` of shape `(F, H, W, 3)`: RGB frames, uint8. Frames that change size within a clip are resized to
        that of its first frame (a video: of its first sampled frame).

    Raises:
        FileNotFoundError: if a file has gone.
        ValueError: if the video or a frame is truncated or cannot be read; the message names the path. A video of
            which a part can be decoded does not raise: a warning names it, see [`read_video`].

    Example:

    ```python
    >>> from modeling_hdf.data import DFEW, load_clip
    >>> builder = DFEW(config_name="fold1", data_dir="DFEW")
    >>> builder.download_and_prepare()
    >>> load_clip(builder.as_dataset(split="test")[0]).shape
    (70, 256, 256, 3)
    ```
    """
    clip = row["clip"]
    if clip.get("frames") is not None:
        if clip.get("path") is not None:
            raise ValueError(f"`clip` sets both a video, {clip['path']}, and frames; it must be one of them.")
        return read_frames(clip["frames"], sample)
    video = clip["bytes"] if clip.get("bytes") is not None else clip["path"]
    if video is None:
        raise ValueError("`clip` is empty: it needs `path`, `frames` or `bytes`.")
    return read_video(video, sample or all_frames, name=str(clip["path"]))[0]


__all__ = ["list_frames", "load_clip", "natural_key", "read_frame", "read_frames"]
