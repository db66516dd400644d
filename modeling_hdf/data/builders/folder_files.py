"""Finding the clips of one's own data: in folders by class, or as a metadata file lists them."""

import os
from dataclasses import dataclass
from pathlib import Path

from ...file_kinds_hdf import is_clutter, natural_key
from ..clip_io import FoundFiles
from .split_files import read_metadata

_SPLIT_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
_METADATA_SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class FolderClip:
    """A clip with its label as written; the other attributes as in [`ListedClip`]."""

    clip_id: str
    path: str
    label: str
    place: str
    split: str = "train"
    group: str | None = None
    scene: str | None = None
    fold: str | None = None


def find_metadata(data_dir: str, name: str | None) -> str | None:
    """
    The metadata file: the one named, or the only CSV or JSON-lines file of the folder, or `None`.

    Raises:
        FileNotFoundError: if the named file does not exist. ValueError: if it is of another kind, or if there are
            several to choose from.
    """
    if name is not None:
        path = os.path.join(data_dir, name)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file; `metadata` must be a CSV or JSON-lines file.")
        if not path.lower().endswith(_METADATA_SUFFIXES):
            raise ValueError(f"{path}: `metadata` must be a CSV (.csv) or JSON-lines (.jsonl) file.")
        return path
    found = [path for path in sorted(Path(data_dir).iterdir()) if path.suffix.lower() in _METADATA_SUFFIXES]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{data_dir}: holds several lists of clips ({names}); name one with `metadata`.")
    return str(found[0]) if found else None


def clips_of_metadata(metadata: str, data_dir: str) -> list[FolderClip]:
    """
    The clips of a CSV or JSON-lines file; see [`VideoFolderConfig`] for its columns.

    Raises:
        ValueError: if a row lacks path, label or, where others have one, a split; names an unknown split or a fold
            that is no number; the message names file and line.
    """
    rows = read_metadata(metadata)
    has_splits = any(row.get("split") for row in rows)
    clips = []
    for row in rows:
        split = row.get("split") or ("" if has_splits else "train")
        if split.lower() not in _SPLIT_NAMES:
            raise ValueError(f"{row['place']}: `split` is {split!r}; it must be train, validation or test.")
        fold = row.get("fold") or None
        if fold is not None and not fold.isdigit():
            raise ValueError(f"{row['place']}: `fold` must be a number, got {fold!r}.")
        path = os.path.join(data_dir, row["path"])
        clips.append(
            FolderClip(
                clip_id=row.get("clip_id") or _clip_id(row["path"], data_dir),
                path=path,
                label=row["label"],
                place=row["place"],
                split=_SPLIT_NAMES[split.lower()],
                group=row.get("group") or None,
                scene=row.get("scene") or None,
                fold=fold,
            )
        )
    return clips


def _clip_id(path: str, data_dir: str) -> str:
    """The path as it is written; an absolute one in `data_dir` without the latter, which tells of this machine."""
    relative = os.path.relpath(path, data_dir) if os.path.isabs(path) else os.pardir
    return path if relative.split(os.sep)[0] == os.pardir else relative


def clips_of_tree(data_dir: str) -> tuple[list[FolderClip], list[str]]:
    """
    The clips of folders by class, `<class>/<clip>` or `<split>/<class>/<clip>`, and the files that are no clips.

    Raises:
        ValueError: if there is no class folder, if folders for splits and for classes are mixed, or if a class folder
            holds pictures (a clip's frames must lie in a folder of their own) or no clip.
        OSError: if a folder cannot be read.
    """
    own_name = os.path.basename(data_dir)
    folders, others = _entries(data_dir)
    if folders == [own_name]:  # unpacked into a folder of its own name
        return clips_of_tree(os.path.join(data_dir, own_name))
    if not folders:
        raise ValueError(f"{data_dir}: holds neither a folder for each class nor a CSV or JSON-lines file.")
    splits = [folder for folder in folders if folder.lower() in _SPLIT_NAMES]
    if splits and splits != folders:
        rest = ", ".join(sorted(set(folders) - set(splits))[:5])
        raise ValueError(f"{data_dir}: has folders for splits ({', '.join(splits)}) and others ({rest}).")
    clips, left = [], [os.path.join(data_dir, name) for name in others]
    for split in splits or [""]:
        labels, others = _entries(os.path.join(data_dir, split))
        left += [os.path.join(data_dir, split, name) for name in others if split]
        for label in labels:
            relative = os.path.join(split, label)
            found, others = _clips_of_class(data_dir, relative, label, _SPLIT_NAMES[split.lower() or "train"])
            clips, left = clips + found, left + others
    return clips, left


def _entries(path: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files of a folder, without clutter, in natural order."""
    with os.scandir(path) as entries:
        kinds = {entry.name: entry.is_dir() for entry in entries if not is_clutter(entry.name)}
    names = sorted(kinds, key=natural_key)
    return [name for name in names if kinds[name]], [name for name in names if not kinds[name]]


def _clips_of_class(data_dir: str, relative: str, label: str, split: str) -> tuple[list[FolderClip], list[str]]:
    folder = os.path.join(data_dir, relative)
    folders, names = _entries(folder)
    files = FoundFiles.among(folder, names)
    if files.pictures:
        path = os.path.join(folder, files.pictures[0])
        raise ValueError(f"{path}: is a picture; the frames of a clip must lie in a folder of their own.")
    found = sorted(folders + files.videos, key=natural_key)
    if not found:
        raise ValueError(f"{folder}: holds no clip, neither a video nor a folder of frames.")
    clips = [
        FolderClip(os.path.join(relative, name), os.path.join(folder, name), label, folder, split) for name in found
    ]
    return clips, [os.path.join(folder, name) for name in files.others]


__all__ = ["FolderClip", "clips_of_metadata", "clips_of_tree", "find_metadata"]
