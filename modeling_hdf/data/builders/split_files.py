"""Split files: the label of each clip, as the authors of a dataset publish them or as others rewrite them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .tables import LABEL_COLUMNS, column_name, read_table

# Names of the label column in a first line. No dataset has a class with such a name.
_LABELS = (*LABEL_COLUMNS, "id")


@dataclass(frozen=True)
class SplitLine:
    """One line of a split file.

    Attributes:
        clip: name of the clip, as written.
        label: its label, as written.
        place: file and line, for messages.
    """

    clip: str
    label: str
    place: str


def read_split_file(path: str | os.PathLike) -> list[SplitLine]:
    """
    Clip and label of each line, `clip,label` or `clip label`, with or without a first line that names the columns.

    The first line is a header only if it names the label column (`video_name,label`), so that the first clip of a file
    without a header is not lost. See [`read_table`] for the other forms of a file.

    Raises:
        FileNotFoundError, PermissionError: if the file cannot be read.
        ValueError: if a line does not hold exactly a clip and a label, or if the file lists no clip.
    """
    table = read_table(
        path,
        names_columns=lambda cells: any(column_name(cell) in _LABELS for cell in cells[1:]),
        is_clip=lambda cells: len(cells) == 2 and all(cells),
    )
    if table.columns is not None and len(table.columns) != 2:
        raise ValueError(f"{path}: has the columns {', '.join(table.columns)}; expected a clip and a label.")
    lines = []
    for number, (clip, label) in table.rows:
        if not clip or not label:
            raise ValueError(f"{path}, line {number}: expected a clip and a label, got {[clip, label]}.")
        lines.append(SplitLine(clip, label, f"{path}, line {number}"))
    if not lines:
        raise ValueError(f"{path}: lists no clip.")
    return lines


def with_subfolders(root: str) -> list[str]:
    """A folder and the folders in it, in the order of their names."""
    with os.scandir(root) as entries:
        return [root, *sorted(entry.path for entry in entries if entry.is_dir())]


def one_of(folders: Iterable[str], *names: str) -> str | None:
    """
    The first file that exists among several possible copies: by order of names, then of folders.

    Args:
        folders (`Iterable[str]`): the folders to search.
        names (`str`): possible names of the file, relative to a folder, without regard to case.

    Raises:
        ValueError: if two copies exist and differ, such as copies from different sources.
    """
    folders = list(folders)
    existing = [path for name in names for folder in folders for path in _files_named(folder, name.split("/"))]
    for other in existing[1:]:
        if Path(other).read_bytes() != Path(existing[0]).read_bytes():
            raise ValueError(f"{existing[0]} and {other} differ; keep the one that is meant.")
    return existing[0] if existing else None


def _files_named(folder: str, parts: list[str]) -> list[str]:
    if not parts:
        return [folder] if os.path.isfile(folder) else []
    names = os.listdir(folder) if os.path.isdir(folder) else []
    alike = sorted(name for name in names if name.lower() == parts[0].lower())
    return [path for name in alike for path in _files_named(os.path.join(folder, name), parts[1:])]


__all__ = ["SplitLine", "one_of", "read_split_file", "with_subfolders"]
