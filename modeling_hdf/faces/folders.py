"""Cutting the faces out of whole folders: the list of clips, and the crops of one clip."""

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..clip_reading_hdf import open_clip
from ..data.clip_io import FoundFiles, walk_files
from ..data.files import OutputError
from ..file_kinds_hdf import frame_files, natural_key
from .cropping import NoFaceError, iterate_crops, track_faces
from .detection import FaceDetector
from .places import WRITTEN_IMAGES, Clip, place_clips
from .settings import CropSettings
from .tracking import FaceTrack
from .writing import write_frames, write_image, write_mp4


@dataclass(frozen=True)
class Inventory:
    """The result of [`find_clips`].

    Attributes:
        clips: the clips, in natural order.
        unreadable: error message for each folder that cannot be listed.
        other_files: number of files that are not clips.
        mixed: folders with images and other clips; each of their images is a clip, not a frame.
    """

    clips: list[Clip]
    unreadable: dict[str, str]
    other_files: int
    mixed: list[str]


def find_clips(
    source: Path,
    target: Path,
    output_format: str = "same",
    single_images: bool = False,
    leave_out: Collection[Path] = (),
) -> Inventory:
    """List the clips of a folder tree, in natural order.

    Video files and animated pictures are clips. A folder below `source` with two or more images, and no other clip in
    it or below it, is one clip: a frame folder. Every other image is a clip of one frame; with `single_images`, every
    image is. Links to folders are followed; clutter (see [`is_clutter`]) and `target` are skipped.

    Args:
        source: the folder to search.
        target: the output folder.
        output_format: see [`CropSettings`].
        single_images: whether images are independent pictures and not frames.
        leave_out: further folders, and files below `source`, to skip.
    """
    unreadable: dict[str, str] = {}

    def note(error: OSError) -> None:
        folder = Path(error.filename)
        unreadable[folder.relative_to(source).as_posix()] = f"{folder}: cannot be listed ({error.strerror})."

    listed = [(Path(folder), files) for folder, files in walk_files(source, note, [target, *leave_out])]
    found, mixed = _sort_out(listed, source, single_images)
    clips = place_clips(found, source, target, output_format)
    return Inventory(clips, unreadable, sum(len(files.others) for _, files in listed), mixed)


def _sort_out(
    listed: list[tuple[Path, FoundFiles]], source: Path, single_images: bool
) -> tuple[list[tuple[Path, str]], list[str]]:
    """Path and kind of the clips in folders with these files, and the folders that hold images and other clips."""
    with_others = {source}  # images directly in `source` are single clips
    for folder, files in listed:
        if files.videos:
            with_others.add(folder)
        if files.videos or files.pictures:
            with_others.update(folder.parents)
    found: list[tuple[Path, str]] = []
    mixed = []
    for folder, files in listed:
        found += [(folder / name, "video") for name in files.videos]
        are_several = len(files.pictures) >= 2 and not single_images
        if are_several and folder not in with_others:
            found.append((folder, "frames"))
            continue
        found += [(folder / name, "image") for name in files.pictures]
        if are_several and folder != source:
            mixed.append(folder.relative_to(source).as_posix())
    found.sort(key=lambda item: natural_key(item[0].as_posix()))
    return found, sorted(mixed, key=natural_key)


@lru_cache(maxsize=1)
def _detector(max_side: int):
    return FaceDetector(max_side=max_side or None)


def crop_clip(clip: Clip, root: Path, settings: CropSettings, made: Path) -> dict:
    """Find the faces of one clip and write its crops.

    Args:
        clip: the clip.
        root: the output folder.
        settings: the settings of the crops.
        made: folder for the new crops, at the same relative paths as their places below `root`.

    Returns:
        The journal record of the clip. A clip that has no face or cannot be read raises no error.

    Raises:
        OutputError: if the crops cannot be written.
    """
    record: dict[str, Any] = {"clip": clip.name, "status": "ok", "kind": clip.kind, "outputs": []}
    record |= {"settings": asdict(settings), "frame_files": {}}
    if clip.obstacle:
        return record | {"status": "failed", "message": clip.obstacle}
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
        "quarter_turns": faces.quarter_turns,
        "frames_without_face": stretches(faces.frames_without_face(main)),
        "frames_filled": int(main.filled.sum()),
        "start": round(float(ends[main.frames[0]] - ends[0]), 6),
        "seconds": round(float(ends[main.frames[-1] + 1] - ends[main.frames[0]]), 6),
    }
    try:
        for track in faces.tracks if settings.all_faces else [main]:
            place = clip.output(track.id if settings.all_faces else None)
            output = place.relative_to(root).as_posix()
            names = _write(clip, made / output, track, ends, settings)
            record["outputs"].append(output)
            if names:
                record["frame_files"][output] = names
    except OutputError as error:
        raise OutputError(error.errno, error.strerror, str(place)) from error
    except (OSError, ValueError) as error:
        return record | {"status": "failed", "message": _reason(clip, error)}
    return record


def _reason(clip: Clip, error: OSError | ValueError) -> str:
    """A message that names the path."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or clip.path}: {error.strerror}."
    return str(error)


def _write(clip: Clip, path: Path, track: FaceTrack, timestamps: list, settings: CropSettings) -> list[str]:
    """Write the crops of one face; returns the names of the files if `path` becomes a folder."""
    crops = _crops(clip, track, settings)
    if clip.kind == "image":
        write_image(path, next(iter(crops)))
        return []
    if clip.suffix:
        write_mp4(path, crops, timestamps[track.frames[0] : track.frames[-1] + 2])
        return []
    names = _frame_names(clip, track.frames)
    write_frames(path, crops, names.__getitem__)
    return names


def _frame_names(clip: Clip, frames: np.ndarray) -> list[str]:
    """File names for these frames: the names in the source if they exist and stay different."""
    if clip.kind == "frames":
        files = [Path(file) for file in frame_files(clip.path)]
        names = [file.name + ("" if file.suffix.lower() in WRITTEN_IMAGES else ".png") for file in files]
        if len(set(names)) == len(names):  # `1.bmp` becomes `1.bmp.png`, which the source may hold too
            return [names[index] for index in frames]
    return [f"{index + 1:06d}.jpg" for index in frames]


def _crops(clip: Clip, track: FaceTrack, settings: CropSettings) -> Iterator[np.ndarray]:
    """The crops. Turns an `OSError` of reading into a `ValueError`, to tell it from an error of writing."""
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


__all__ = ["Clip", "CropSettings", "Inventory", "crop_clip", "find_clips", "stretches"]
