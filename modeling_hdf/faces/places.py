"""The clips of a folder and the paths of their crops. No crop has the path of another or lies inside another."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.file_names import CROP_RECORDS
from ..file_kinds_hdf import frame_files

JOURNAL, REJECTED = CROP_RECORDS
WRITTEN_IMAGES = frozenset({".jpg", ".jpeg", ".png"})  # others become PNG
_FACE_NUMBER = re.compile(r"(.+)_face[0-9]+(\.[^.]*)?")


@dataclass(frozen=True)
class Clip:
    """One clip of the input folder.

    Attributes:
        name: its path in the input folder, with `/`.
        path: its path.
        kind: `"video"`, `"frames"` or `"image"`.
        target: path of the output without suffix.
        suffix: `".mp4"`, an image suffix, or empty for a folder of frames.
        obstacle: why its output has no place; empty if it has a place.
    """

    name: str
    path: Path
    kind: str
    target: Path
    suffix: str
    obstacle: str = ""

    def output(self, face: int | None) -> Path:
        """Path of the crop; with the number `face` if all faces are cropped."""
        number = "" if face is None else f"_face{face}"
        return self.target.with_name(f"{self.target.name}{number}{self.suffix}")

    def signature(self) -> list[int]:
        """Number, total size in bytes and latest change in nanoseconds of its files."""
        files = frame_files(self.path) if self.kind == "frames" else [self.path]
        stats = [os.stat(file) for file in files]
        return [len(stats), sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)]


def _mirrored(path: Path, kind: str, source: Path, target: Path, output_format: str) -> Clip:
    """The clip with the short name of its output, without the suffix of a video or image."""
    relative = path.relative_to(source)
    if kind == "image":
        suffix = path.suffix if path.suffix.lower() in WRITTEN_IMAGES else ".png"
    elif output_format == "mp4" or (output_format == "same" and kind == "video"):
        suffix = ".mp4"
    else:
        suffix = ""
    stem = relative.name if kind == "frames" else relative.stem
    return Clip(relative.as_posix(), path, kind, target / relative.parent / stem, suffix)


def _long(clip: Clip) -> Clip:
    """The clip with the long name of its output, for use when another clip has the short name."""
    return replace(clip, target=clip.target.with_name(clip.path.name + ("_frames" if clip.kind == "frames" else "")))


class Places:
    """Paths and the clips that own them; finds the clip that stands in the way of a path.

    Args:
        all_faces: whether names of outputs end in the number of a face. A clip then owns all numbers of its name.
    """

    def __init__(self, all_faces: bool):
        self._all_faces = all_faces
        self._at: dict[Path, list[str]] = {}  # owners of an output
        self._around: dict[Path, list[str]] = {}  # owners of the outputs in a folder

    def _keys(self, path: Path) -> list[Path]:
        """The path and, if it has the number of a face, the key that stands for all numbers."""
        numbered = _FACE_NUMBER.fullmatch(path.name) if self._all_faces else None
        return [path, path.with_name(f"{numbered[1]}_face*{numbered[2] or ''}")] if numbered else [path]

    def add(self, owner: str, path: Path) -> None:
        for key in self._keys(path):
            self._at.setdefault(key, []).append(owner)
        for folder in path.parents:
            for key in self._keys(folder):
                self._around.setdefault(key, []).append(owner)

    def in_the_way(self, owner: str, path: Path) -> str | None:
        """Another clip that owns `path`, a path inside it or a folder around it; `None` if there is no such clip."""
        near = [self._at.get(key, ()) for part in (path, *path.parents) for key in self._keys(part)]
        near += [self._around.get(key, ()) for key in self._keys(path)]
        return next((other for owners in near for other in owners if other != owner), None)


def place_clips(
    found: Iterable[tuple[Path, str]],
    source: Path,
    target: Path,
    output_format: str,
    all_faces: bool = False,
    taken: Mapping[str, Iterable[str]] | None = None,
) -> list[Clip]:
    """Give each clip a place under `target`, at the same path as under `source`.

    If the outputs of two clips would have one path, or one would lie inside the other, they get longer names: `a.avi`
    and `a.mov` become `a.avi.mp4` and `a.mov.mp4`. If the longer name is taken too, `obstacle` says so.

    Args:
        found: path and kind of each clip.
        source: the input folder.
        target: the output folder.
        output_format: see [`CropSettings`].
        all_faces: whether names of outputs end in the number of a face.
        taken: by name of a clip, the outputs below `target` that an earlier run wrote for the clip.
    """
    face = 0 if all_faces else None
    clips = [_mirrored(path, kind, source, target, output_format) for path, kind in found]
    is_long = [False] * len(clips)

    def occupied(considered: Iterable[Clip]) -> Places:
        places = Places(all_faces)
        for name in (JOURNAL, REJECTED):
            places.add(f"the file {name}", target / name)
        for name, outputs in (taken or {}).items():
            for output in outputs:
                places.add(name, target / output)
        for clip in considered:
            places.add(clip.name, clip.output(face))
        return places

    while True:
        places = occupied(clips)
        crowded = [
            index
            for index, clip in enumerate(clips)
            if not is_long[index] and places.in_the_way(clip.name, clip.output(face))
        ]
        if not crowded:
            break
        for index in crowded:
            clips[index], is_long[index] = _long(clips[index]), True
    if not any(is_long):
        return clips
    places, placed = occupied(clip for clip, long in zip(clips, is_long, strict=True) if not long), []
    for clip, long in zip(clips, is_long, strict=True):
        other = places.in_the_way(clip.name, clip.output(face)) if long else None
        if other is None:
            places.add(clip.name, clip.output(face))
            placed.append(clip)
        else:
            obstacle = (
                f"{clip.path}: its crop {clip.output(face)} would be at, in or around that of {other}; rename it."
            )
            placed.append(replace(clip, obstacle=obstacle))
    return placed


__all__ = ["JOURNAL", "REJECTED", "WRITTEN_IMAGES", "Clip", "Places", "place_clips"]
