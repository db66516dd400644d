"""Loading the frames of a dataset's clip, and finding the clips in a folder."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..clip_reading_hdf import read_clip
from ..file_kinds_hdf import file_kind, is_clutter, natural_key
from ..video_reading_hdf import all_frames
from .file_names import printable

_MOST_NAMED = 20


def load_clip(row: dict[str, Any], sample: Callable[..., np.ndarray] | None = None) -> np.ndarray:
    """
    Decodes the clip of a dataset row.

    Args:
        row (`dict`): a row whose `clip` is `{"path", "frames"}` (a file, or the ordered frame files; exactly one is
            set), `{"bytes", "path"}` (the content of a file; the path is read if the bytes are `None`), or anything
            else that [`open_clip`] takes.
        sample (`Callable`, *optional*): picks frames; called as `sample(metadata=VideoMetadata, timestamps=...)`, see
            [`HDFVideoProcessor.sample_frames`]. For frame files, `metadata.total_num_frames` is their number and
            `timestamps` is `None`. Without it, all frames are decoded.

    Returns:
        `np.ndarray` of shape `(F, H, W, 3)`: RGB frames, uint8, the same that [`HDFVideoProcessor`] samples. All
        frames are resized to the size of the clip's first frame.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the video or a frame is truncated or cannot be read; the message names the path. A video that
            can be decoded in part does not raise: a warning names it, see [`read_clip`].

    Example:

    ```python
    >>> from modeling_hdf.data import DFEW, load_clip
    >>> builder = DFEW(config_name="fold1", data_dir="DFEW")
    >>> builder.download_and_prepare()
    >>> load_clip(builder.as_dataset(split="test")[0]).shape
    (70, 256, 256, 3)
    ```
    """
    frames, _ = read_clip(row["clip"], sample or all_frames)
    return np.asarray(frames)


@dataclass(frozen=True)
class FoundFiles:
    """The names of the files of one folder by kind, in natural order, without clutter. See [`file_kind`]."""

    videos: list[str]
    pictures: list[str]
    others: list[str]

    @classmethod
    def among(cls, folder: str | os.PathLike, names: Iterable[str]) -> "FoundFiles":
        found: dict[str | None, list[str]] = {"video": [], "picture": [], None: []}
        for name in sorted(names, key=natural_key):
            if not is_clutter(name):
                found[file_kind(os.path.join(folder, name))].append(name)
        return cls(found["video"], found["picture"], found[None])


def walk_files(
    folder: str | os.PathLike, onerror: Callable[[OSError], None], leave_out: Sequence[str | os.PathLike] = ()
) -> Iterator[tuple[str, FoundFiles]]:
    """
    The folders of a tree with their files, without clutter. Each link to a folder is followed once.

    Args:
        folder (`str` or `Path`): the tree.
        onerror (`Callable`): called with the error of a folder that cannot be listed.
        leave_out (`Sequence[str]`, *optional*): folders and files to skip.
    """
    skipped = {os.path.normpath(other) for other in leave_out}
    visited = {os.path.realpath(other) for other in (folder, *leave_out)}
    for here, subfolders, names in os.walk(folder, onerror=onerror, followlinks=True):
        fresh = {name: os.path.realpath(os.path.join(here, name)) for name in subfolders if not is_clutter(name)}
        subfolders[:] = [name for name, real in fresh.items() if real not in visited]  # links may form a cycle
        visited.update(fresh.values())
        names = [name for name in names if os.path.normpath(os.path.join(here, name)) not in skipped]
        yield here, FoundFiles.among(here, names)


def left_aside(paths: Sequence[str]) -> list[str]:
    """A list with one note on the files that belong to no clip; empty if there are no such files."""
    if not paths:
        return []
    named = ", ".join(map(printable, paths[:_MOST_NAMED])) + (
        f" and {len(paths) - _MOST_NAMED} more" * (len(paths) > _MOST_NAMED)
    )
    return [f"{len(paths)} files are not clips and are ignored: {named}"]


__all__ = ["FoundFiles", "left_aside", "load_clip", "walk_files"]
