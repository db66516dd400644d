"""Inspects the listed clips: finds those that are missing, empty, unreadable or short."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tqdm.auto import tqdm

from ...clip_reading_hdf import open_clip
from ...file_kinds_hdf import PICTURE_SUFFIXES, file_kind, frame_files, read_head
from ...frame_reading_hdf import PictureFiles
from ...video_reading_hdf import VideoFile
from ..file_names import is_text, printable
from .listing import ListedClip

SHORT = 16  # frames; a shorter clip cannot fill a model's 16 frames without repeating some
UNUSABLE = ("missing", "empty", "unreadable")

# What Git LFS leaves in place of a file that was not downloaded.
_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024  # bytes, see the specification of Git LFS

_NO_TEXT = "the name is not UTF-8; rename the file or folder"

Depth = Literal["listing", "headers", "quick", "full"]


@dataclass(frozen=True)
class ClipFiles:
    """The files found at the path of a clip. One of `path`, `frames` and `content` is set for a usable clip.

    Attributes:
        path: the video file.
        frames: the ordered frame files; one for a still, which is a clip of one frame.
        content: the content of a picture file, for a still that lies in a table.
        num_frames: number of frames; `None` if not counted, and for a still.
        problem: `"missing"`, `"empty"` or `"unreadable"`; `None` if the clip is usable.
        detail: text that describes the problem and names the path.
    """

    path: str | None = None
    frames: list[str] | None = None
    content: bytes | None = None
    num_frames: int | None = None
    problem: str | None = None
    detail: str = ""

    @property
    def is_short(self) -> bool:
        """Whether the clip is usable and known to have fewer than 16 frames."""
        return self.problem is None and self.num_frames is not None and self.num_frames < SHORT


def inspect_clip(path: str, depth: Depth = "listing") -> ClipFiles:
    """
    Inspects the clip at `path`.

    Args:
        path (`str`): a video file, a folder of frames or a picture, which is a clip of one frame.
        depth (`str`, *optional*, defaults to `"listing"`): `"listing"` lists frame folders and opens no video;
            `"headers"` also reads the packet headers of videos and the size of each frame file, and decodes nothing;
            `"quick"` also decodes the first frame; `"full"` decodes every frame.
    """
    if not is_text(path):
        return ClipFiles(problem="unreadable", detail=f"{printable(path)}: {_NO_TEXT}")
    try:
        if os.path.isdir(path):
            return _inspect_frames(path, depth)
        size = os.stat(path).st_size
        if size == 0:
            return ClipFiles(problem="empty", detail=f"{path}: the file is empty (0 bytes)")
        if size < _LARGEST_POINTER and read_head(path).startswith(_POINTER):
            detail = (
                f"{path}: is a pointer of Git LFS, not the clip itself; run `git lfs pull` in a clone of the "
                "repository (a ZIP of it holds pointers alone)"
            )
            return ClipFiles(problem="unreadable", detail=detail)
        if file_kind(path) == "picture":
            _check_frames([path], depth)
            return ClipFiles(frames=[path])
        return _inspect_video(path, depth)
    except (FileNotFoundError, NotADirectoryError):
        return ClipFiles(problem="missing", detail=f"{path}: no such file or folder")
    except OSError as error:
        return ClipFiles(problem="unreadable", detail=f"{path}: cannot be read ({error.strerror or error})")
    except ValueError as error:
        return ClipFiles(problem="unreadable", detail=str(error))


def _inspect_frames(path: str, depth: Depth) -> ClipFiles:
    frames = frame_files(path)
    if not frames:
        return ClipFiles(problem="empty", detail=f"{path}: the folder holds no frame ({', '.join(PICTURE_SUFFIXES)})")
    _check_frames(frames, depth)
    return ClipFiles(frames=frames, num_frames=len(frames))


def _check_frames(frames: list[str], depth: Depth) -> None:
    """Raises a `ValueError` that names a frame file that cannot be used."""
    for frame in frames:
        if not is_text(frame):
            raise ValueError(f"{printable(frame)}: {_NO_TEXT}")
    if depth == "listing":
        return
    for frame in frames:
        if os.path.getsize(frame) == 0:
            raise ValueError(f"{frame}: the frame is empty (0 bytes)")
    for frame in {"headers": [], "quick": frames[:1], "full": frames}[depth]:
        next(PictureFiles([frame]).stream()).rgb()


def _inspect_video(path: str, depth: Depth) -> ClipFiles:
    if depth == "listing":
        return ClipFiles(path=path)
    video = open_clip(path)
    if isinstance(video, PictureFiles):  # a picture that is named as a video
        _check_frames([path], depth)
        return ClipFiles(frames=[path])
    if depth != "full" and isinstance(video, VideoFile):
        metadata, _ = video.timeline_of_packets()
        if depth == "quick":
            next(video.stream())
    elif depth == "headers":
        return ClipFiles(path=path)  # an animated picture, which has no packets
    else:
        metadata, _ = video.timeline_of_frames()
        problems = video.problems(metadata.duration)
        if problems:
            raise ValueError("; ".join(problems))
    return ClipFiles(path=path, num_frames=metadata.total_num_frames)


def inspect_clips(
    clips: Iterable[ListedClip], depth: Depth = "listing", known: dict[str, ClipFiles] | None = None
) -> dict[str, ClipFiles]:
    """
    Inspects many clips, several at a time, with a progress bar; see [`inspect_clip`].

    Args:
        clips (`Iterable[ListedClip]`): the clips.
        depth (`str`, *optional*, defaults to `"listing"`): how closely to look.
        known (`dict[str, ClipFiles]`, *optional*): earlier results. The function skips these clips and adds the new
            results, so that a clip of several folds is inspected once.

    Returns:
        `dict[str, ClipFiles]`: the result for each clip's path.
    """
    known = {} if known is None else known
    paths = [path for path in dict.fromkeys(clip.path for clip in clips) if path not in known]
    # Listing and decoding release the interpreter lock, so threads run side by side.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(lambda path: inspect_clip(path, depth), paths)
        bar = tqdm(results, total=len(paths), desc="looking at clips", disable=len(paths) < 1000 or None)
        known.update(zip(paths, bar, strict=True))
    return known


__all__ = ["SHORT", "UNUSABLE", "ClipFiles", "inspect_clip", "inspect_clips"]
