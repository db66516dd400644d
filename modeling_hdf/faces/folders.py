"""Cutting the faces out of whole folders: which clips there are, one clip, and the journal that makes it resumable.

The output folder mirrors the input folder and holds `faces.jsonl`, one line of JSON for each clip that was tried:

    {"clip": "holiday/beach.mov", "status": "ok", "outputs": ["holiday/beach.mp4"], "frames": 169, "faces": 1,
     "frames_without_face": [[0, 95], [168, 168]], "frames_filled": 0, "start": 3.62, "seconds": 2.71, ...}

`status` is `ok`, `no_face` or `failed`; `frames_without_face` holds the first and last frame of each stretch; `start`
and `seconds` say which part of the clip the crop shows.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..clip_reading_hdf import open_clip
from ..data.clip_io import walk_files
from ..data.files import OutputError, remove_outputs, write_text
from ..file_kinds_hdf import frame_files, natural_key
from .tracking import FaceTrack
from .writing import write_frames, write_image, write_mp4

_WRITTEN_IMAGES = frozenset({".jpg", ".jpeg", ".png"})  # others become PNG
JOURNAL = "faces.jsonl"


@dataclass(frozen=True)
class CropSettings:
    """What decides the pixels of the output.

    Args:
        size: edge of the crops in pixels, even, at least 16.
        margin: space on each side of the box, as a share of its longer side, 0 to 2.
        all_faces: whether to crop every face rather than the main one.
        format: `"same"` (a video becomes MP4, a frame folder a frame folder), `"mp4"` or `"frames"` for both.
        max_side: longer side in pixels of the picture that is searched; 0 searches at full size.

    Raises:
        ValueError: if a field is out of its range.
    """

    size: int = 224
    margin: float = 0.1
    all_faces: bool = False
    format: str = "same"
    max_side: int = 320

    def __post_init__(self):
        if self.size < 16 or self.size % 2:
            raise ValueError(f"`size` must be even and at least 16 pixels, got {self.size}.")
        if not 0.0 <= self.margin <= 2.0:
            raise ValueError(f"`margin` must be from 0 to 2, got {self.margin}.")
        if self.format not in ("same", "mp4", "frames"):
            raise ValueError(f"`format` is {self.format!r}; choose 'same', 'mp4' or 'frames'.")
        if self.max_side != 0 and self.max_side < 32:
            raise ValueError(f"`max_side` must be 0 (full size) or at least 32 pixels, got {self.max_side}.")


@dataclass(frozen=True)
class Clip:
    """One clip of the input folder.

    Attributes:
        name: its path in the input folder, with `/`.
        path: its path.
        kind: `"video"`, `"frames"` or `"image"`.
        target: path of the output without suffix.
        suffix: `".mp4"`, that of an image, or none: a folder of frames.
    """

    name: str
    path: Path
    kind: str
    target: Path
    suffix: str

    def output(self, face: int | None) -> Path:
        """Path of the crop; of face number `face` if all faces are cropped."""
        number = "" if face is None else f"_face{face}"
        return self.target.with_name(f"{self.target.name}{number}{self.suffix}")

    def signature(self) -> list[int]:
        """Number, total size in bytes and latest change in nanoseconds of its files."""
        files = frame_files(self.path) if self.kind == "frames" else [self.path]
        stats = [os.stat(file) for file in files]
        return [len(stats), sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)]


@dataclass(frozen=True)
class Inventory:
    """What [`find_clips`] found: clips; message by unreadable folder; number of files that are no clips."""

    clips: list[Clip]
    unreadable: dict[str, str]
    other_files: int


def find_clips(source: Path, target: Path, output_format: str = "same", single_images: bool = False) -> Inventory:
    """List the clips of a folder tree, in natural order.

    Video files and animated pictures are clips. A folder below `source` with two images or more is one clip, a frame
    folder. Images that lie in `source` itself or alone in their folder are clips of one frame, as are all with
    `single_images`. Links to folders are followed; clutter, see [`is_clutter`], and `target` are left alone.

    Args:
        source: the folder to search.
        target: the folder that mirrors it.
        output_format: see [`CropSettings`].
        single_images: whether images are independent pictures and not frames.
    """
    found: list[tuple[Path, str]] = []
    unreadable: dict[str, str] = {}
    other_files = 0

    def note(error: OSError) -> None:
        folder = Path(error.filename)
        unreadable[folder.relative_to(source).as_posix()] = f"{folder}: cannot be listed ({error.strerror})."

    for folder, files in walk_files(source, note, leave_out=[target]):
        here = Path(folder)
        other_files += len(files.others)
        found += [(here / name, "video") for name in files.videos]
        if single_images or here == source or len(files.pictures) < 2:
            found += [(here / name, "image") for name in files.pictures]
        else:
            found.append((here, "frames"))
    found.sort(key=lambda item: natural_key(item[0].as_posix()))
    return Inventory(_with_targets(found, source, target, output_format), unreadable, other_files)


def _with_targets(found: list[tuple[Path, str]], source: Path, target: Path, output_format: str) -> list[Clip]:
    """Mirror the paths. Clips that would share an output (`a.avi`, `a.mov`) keep their suffix in its name."""

    def mirrored(path: Path, kind: str, keep_suffix: bool) -> Clip:
        relative = path.relative_to(source)
        stem = relative.name if keep_suffix or kind == "frames" else relative.stem
        if kind == "image":
            suffix = path.suffix if path.suffix.lower() in _WRITTEN_IMAGES else ".png"
        elif output_format == "mp4" or (output_format == "same" and kind == "video"):
            suffix = ".mp4"
        else:
            suffix = ""
        return Clip(relative.as_posix(), path, kind, target / relative.parent / stem, suffix)

    short = [mirrored(path, kind, keep_suffix=False) for path, kind in found]
    counts = Counter(clip.output(None) for clip in short)
    return [
        clip if counts[clip.output(None)] == 1 else mirrored(clip.path, clip.kind, keep_suffix=True) for clip in short
    ]


@lru_cache(maxsize=1)
def _detector(max_side: int):
    from .cropping import FaceDetector  # loads OpenCV: in the processes that look for faces alone

    return FaceDetector(max_side=max_side or None)


def crop_clip(clip: Clip, root: Path, settings: CropSettings) -> dict:
    """Find the faces of one clip and write its crops.

    Args:
        clip: the clip.
        root: the output folder.
        settings: what to write.

    Returns:
        The clip's line in the journal. A clip that has no face or cannot be read is no error.

    Raises:
        OutputError: if the output cannot be written.
    """
    from .cropping import NoFaceError, track_faces

    record = {"clip": clip.name, "status": "ok", "kind": clip.kind, "outputs": [], "settings": asdict(settings)}
    try:
        record["source"] = clip.signature()
        faces = track_faces(clip.path, _detector(settings.max_side))
        record |= {"frames": faces.num_frames, "faces": len(faces.tracks), "warnings": faces.problems}
        main = faces.main()
    except NoFaceError as error:
        return record | {"status": "no_face", "message": str(error)}
    except (OSError, ValueError) as error:
        return record | {"status": "failed", "message": _reason(clip, error)}
    ends = faces.timestamps
    record |= {
        "frames_without_face": stretches(faces.frames_without_face(main)),
        "frames_filled": int(main.filled.sum()),
        "start": round(float(ends[main.frames[0]] - ends[0]), 6),
        "seconds": round(float(ends[main.frames[-1] + 1] - ends[main.frames[0]]), 6),
    }
    try:
        for track in faces.tracks if settings.all_faces else [main]:
            target = clip.output(track.id if settings.all_faces else None)
            _write(clip, target, track, ends, settings)
            record["outputs"].append(target.relative_to(root).as_posix())
    except ValueError as error:
        return record | {"status": "failed", "message": str(error)}
    return record


def _reason(clip: Clip, error: OSError | ValueError) -> str:
    """A message that names the path."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or clip.path}: {error.strerror}."
    return str(error)


def _write(clip: Clip, target: Path, track: FaceTrack, timestamps: list, settings: CropSettings) -> None:
    crops = _crops(clip, track, settings)
    if clip.kind == "image":
        write_image(target, next(iter(crops)))
    elif clip.suffix:
        write_mp4(target, crops, timestamps[track.frames[0] : track.frames[-1] + 2])
    else:
        names = [f"{index + 1:06d}.jpg" for index in track.frames]
        if clip.kind == "frames":
            files = [Path(file) for file in frame_files(clip.path)]
            names = [
                files[index].name + ("" if files[index].suffix.lower() in _WRITTEN_IMAGES else ".png")
                for index in track.frames
            ]
        write_frames(target, crops, names.__getitem__)


def _crops(clip: Clip, track: FaceTrack, settings: CropSettings) -> Iterator[np.ndarray]:
    """The crops; an `OSError` of reading is made a `ValueError`, to tell it from one of writing."""
    from .cropping import iterate_crops

    try:
        yield from iterate_crops(open_clip(clip.path), track, settings.size, settings.margin)
    except OSError as error:
        raise ValueError(_reason(clip, error)) from error


def stretches(indices: np.ndarray) -> list[list[int]]:
    """First and last of each run of successive indices."""
    if not len(indices):
        return []
    breaks = np.flatnonzero(np.diff(indices) > 1)
    firsts, lasts = indices[[0, *breaks + 1]], indices[[*breaks, -1]]
    return [[int(first), int(last)] for first, last in zip(firsts, lasts, strict=True)]


class Journal:
    """The records of `faces.jsonl`, by clip. A record is written as soon as its clip is done.

    Args:
        folder: the output folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / JOURNAL
        self.records: dict[str, dict] = {}
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # a killed run may have cut off its last line; that clip is done again
                self.records[record["clip"]] = record

    def rewrite(self) -> None:
        """One line for each clip, in natural order. Raises `OutputError`."""
        ordered = sorted(self.records.values(), key=lambda record: natural_key(record["clip"]))
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in ordered))

    def add(self, record: dict) -> None:
        """Append the record of a clip. Raises `OutputError`.

        Outputs that an earlier record lists and this one does not are removed, unless the clip can no longer be read.
        """
        earlier = set(self.records.get(record["clip"], {}).get("outputs", [])) - set(record["outputs"])
        if record["status"] == "failed":
            record["outputs"] += sorted(earlier)
        else:
            remove_outputs(self.folder / output for output in earlier)
        self.records[record["clip"]] = record
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(error.errno, error.strerror, str(self.path)) from error

    def is_done(self, clip: Clip) -> bool:
        """Whether the clip, as it is now, was cropped or had no face. Failed clips are tried again."""
        record = self.records.get(clip.name, {"status": "failed"})
        if record["status"] == "failed" or not all((self.folder / output).exists() for output in record["outputs"]):
            return False
        try:
            return record["source"] == clip.signature()
        except (OSError, ValueError):
            return False  # trying it again will say why

    def other_settings(self, settings: CropSettings) -> dict | None:
        """Settings of an earlier run that differ from `settings`."""
        made = [record["settings"] for record in self.records.values() if record["status"] != "failed"]
        return next((other for other in made if other != asdict(settings)), None)


__all__ = ["Clip", "CropSettings", "Inventory", "Journal", "crop_clip", "find_clips", "stretches"]
