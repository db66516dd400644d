"""Finds the clips of your own data in folders by class."""

import os
import unicodedata
from dataclasses import dataclass, replace

from ...file_kinds_hdf import has_suffix, is_clutter, natural_key
from ..clip_io import FoundFiles
from ..file_names import printable

SPLIT_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip


_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


@dataclass(frozen=True)
class FolderClip:
    """A clip with its label as written. [`ListedClip`] explains the other attributes."""

    clip_id: str
    path: str
    label: str
    place: str
    split: str = "train"
    group: str | None = None
    scene: str | None = None
    fold: str | None = None


def clips_of_tree(data_dir: str) -> tuple[list[FolderClip], list[str]]:
    """
    The clips of folders by class, and the files that are no clips.

    All clips lie in `<class>/<clip>`, or all lie in `<class>/<group>/<clip>`, such as a folder for each person. The
    class folders may lie in `<split>/`. The pictures of a class folder that holds only pictures are stills: clips of
    one frame.

    Raises:
        ValueError: if there is no class folder, if folders for splits and for classes are mixed, if only some clips
            lie in folders of groups, or if a class folder holds no clip, or pictures beside clips.
        OSError: if a folder cannot be read.
    """
    own_name = os.path.basename(data_dir)
    folders, others = _entries(data_dir)
    if folders == [own_name]:  # unpacked into a folder of its own name
        return clips_of_tree(os.path.join(data_dir, own_name))
    if not folders:
        raise ValueError(f"{data_dir}: holds neither a folder for each class nor a CSV or JSON-lines file.")
    splits = [folder for folder in folders if folder.lower() in SPLIT_NAMES]
    if splits and splits != folders:
        rest = ", ".join(printable(name) for name in sorted(set(folders) - set(splits))[:5])
        raise ValueError(f"{data_dir}: has folders for splits ({', '.join(splits)}) and others ({rest}).")
    clips, left = [], [os.path.join(data_dir, name) for name in others]
    for split in splits or [""]:
        labels, others = _entries(os.path.join(data_dir, split))
        left += [os.path.join(data_dir, split, name) for name in others if split]
        for label in labels:
            found, others = _clips_of_class(data_dir, os.path.join(split, label), label)
            clips += [replace(clip, split=SPLIT_NAMES[split.lower() or "train"]) for clip in found]
            left += others
    return _in_groups_or_not(clips), left


def packed_note(folder: str) -> str:
    """What to add to the message that a folder lacks clips, if archives lie in it; with a space before it."""
    archives = [name for name in _entries(folder)[1] if has_suffix(name, _ARCHIVES)]
    return f" Unpack the archives there, such as {printable(archives[0])}." if archives else ""


def _entries(path: str) -> tuple[list[str], list[str]]:
    """Names of the subfolders and the files of a folder, without clutter, in natural order."""
    with os.scandir(path) as entries:
        kinds = {entry.name: entry.is_dir() for entry in entries if not is_clutter(entry.name)}
    names = sorted(kinds, key=natural_key)
    return [name for name in names if kinds[name]], [name for name in names if not kinds[name]]


def _clips_of_class(data_dir: str, relative: str, label: str) -> tuple[list[FolderClip], list[str]]:
    folder = os.path.join(data_dir, relative)
    folders, names = _entries(folder)
    files = FoundFiles.among(folder, names)
    if files.pictures and (folders or files.videos):
        path = printable(os.path.join(folder, files.pictures[0]))
        raise ValueError(
            f"{path}: is a picture beside clips. The frames of a clip must lie in a folder of their own, stills in "
            "class folders that hold nothing else."
        )
    place, left = printable(folder), [os.path.join(folder, name) for name in files.others]
    clips = []
    for name in sorted(folders + files.videos + files.pictures, key=natural_key):
        path, within = os.path.join(folder, name), []
        if name in folders:
            within, others = _clips_of_group(path)
            left += others
        for clip in within or [""]:  # an empty folder is a clip that has no frames
            clip_id = printable(os.path.join(relative, name, clip) if clip else os.path.join(relative, name))
            group = unicodedata.normalize("NFC", printable(name)) if clip else None
            clips.append(FolderClip(clip_id, os.path.join(path, clip) if clip else path, label, place, group=group))
    if not clips:
        raise ValueError(f"{place}: holds no clip, neither a video nor a folder of frames nor a picture.")
    return clips, left


def _clips_of_group(folder: str) -> tuple[list[str], list[str]]:
    """Names of the clips and of the other files in a folder; both lists are empty if the folder itself is a clip."""
    folders, names = _entries(folder)
    files = FoundFiles.among(folder, names)
    if files.pictures or folders == [os.path.basename(folder)]:  # frames, or frames unpacked into a folder of its name
        return [], []
    others = [os.path.join(folder, name) for name in files.others]
    return sorted(folders + files.videos, key=natural_key), others


def _in_groups_or_not(clips: list[FolderClip]) -> list[FolderClip]:
    """The clips, without their groups if there is only one group, as in `<class>/videos/<clip>`."""
    inside = [clip for clip in clips if clip.group is not None]
    if not inside:
        return clips
    outside = [
        clip for clip in clips if clip.group is None and (os.path.isfile(clip.path) or any(_entries(clip.path)))
    ]
    if outside:
        raise ValueError(
            f"{inside[0].clip_id} lies in a folder within its class folder and {outside[0].clip_id} does not. Put all "
            "clips right into the class folders, or each into the folder of its person or other group."
        )
    return clips if len({clip.group for clip in inside}) > 1 else [replace(clip, group=None) for clip in clips]


__all__ = ["SPLIT_NAMES", "FolderClip", "clips_of_tree", "packed_note"]
