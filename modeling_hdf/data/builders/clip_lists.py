"""Lists of your own clips: CSV and JSON-lines files with paths and labels."""

import json
import ntpath
import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from ...file_kinds_hdf import VIDEO_SUFFIXES, frame_files, has_suffix, is_clutter
from ..file_names import CROP_RECORDS, ListedPaths, is_text
from ..files import parse_json
from .folder_files import SPLIT_NAMES, FolderClip
from .labels import expression_name, plain_name, whole_number
from .tables import LABEL_COLUMNS, PATH_COLUMNS, column_name, read_table
from .text_files import read_lines

_CSV = (".csv", ".tsv")
_JSON_LINES = (".jsonl",)
_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # a drive, or a share of another machine
_FURTHER_COLUMNS = ("split", "group", "clip_id", "scene", "fold")


def find_lists(data_dir: str, name: str | None) -> list[str]:
    """
    The lists of clips: the file `name`, or the only list in the folder, or the lists named after splits, such as
    `train.csv`, `val.csv` and `test.csv`. The result is empty if the folder has no list; what `hdf data faces` writes
    beside its crops is none.

    Raises:
        FileNotFoundError: if the file `name` does not exist.
        ValueError: if the file is of another kind, or if the folder has several lists not named after splits.
    """
    if name is not None:
        path = os.path.join(data_dir, name)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file; `metadata` must be a CSV or JSON-lines file.")
        if not has_suffix(path, (*_CSV, *_JSON_LINES, ".txt")):
            raise ValueError(f"{path}: `metadata` must be a CSV (.csv, .tsv, .txt) or JSON-lines (.jsonl) file.")
        return [path]
    names = sorted(os.listdir(data_dir))
    found = [
        name
        for name in names
        if not is_clutter(name)
        and name not in CROP_RECORDS
        and has_suffix(name, (*_CSV, *_JSON_LINES))
        and os.path.isfile(os.path.join(data_dir, name))
    ]
    splits = {_split_of_name(name) for name in found}
    if len(found) > 1 and (None in splits or len(splits) < len(found)):
        raise ValueError(f"{data_dir}: holds several lists of clips ({', '.join(found)}); name one with `metadata`.")
    return [os.path.join(data_dir, name) for name in found]


def _split_of_name(path: str) -> str | None:
    return SPLIT_NAMES.get(Path(path).stem.lower())


def clips_of_lists(files: Sequence[str], data_dir: str, labels: Collection[str]) -> tuple[list[FolderClip], list[str]]:
    """
    The clips of CSV or JSON-lines files, and notes on how they were read; see [`VideoFolderConfig`] for the columns.

    Args:
        files (`Sequence[str]`): the files. A file that is named after a split and has no column `split` lists that
            split.
        data_dir (`str`): folder to which paths are relative.
        labels (`Collection[str]`): names of further classes, if known, beside our expressions.

    Raises:
        ValueError: if a row has no path, no label, an unknown split, a fold that is no number, or no split although
            other rows have one; the message names file and line.
    """
    paths = ListedPaths(data_dir)
    clips, notes = [], []
    for file in files:
        rows, described = _read_rows(file, paths, labels)
        notes.append(f"clips: {file} ({described})")
        default = "" if any(row.get("split") for row in rows) else _split_of_name(file) or "train"
        clips += [_clip(row, paths, default) for row in rows]
    return clips, notes


def _clip(row: dict[str, str], paths: ListedPaths, default_split: str) -> FolderClip:
    split = row.get("split") or default_split
    if split.lower() not in SPLIT_NAMES:
        raise ValueError(f"{row['place']}: `split` is {split!r}; it must be train, validation or test.")
    fold = row.get("fold") or None
    number = None if fold is None else whole_number(fold)
    if fold is not None and (number is None or abs(number) >= 2**31):  # the column is int32
        raise ValueError(f"{row['place']}: `fold` must be a number below {2**31}, got {fold!r}.")
    path = paths.find(row["path"])
    if os.name != "nt" and _OF_WINDOWS.match(row["path"]) and not os.path.exists(path):
        raise ValueError(
            f"{row['place']}: {row['path']} is a path on a Windows machine; write paths relative to {paths.root}."
        )
    return FolderClip(
        clip_id=row.get("clip_id") or _clip_id(row["path"].replace("\\", "/"), paths.root),
        path=path,
        label=row["label"],
        place=row["place"],
        split=SPLIT_NAMES[split.lower()],
        group=unicodedata.normalize("NFC", row.get("group", "")) or None,
        scene=row.get("scene") or None,
        fold=fold,
    )


def _clip_id(path: str, data_dir: str) -> str:
    """The path as written; an absolute path in `data_dir` becomes relative, so that it does not show this machine."""
    relative = os.path.relpath(path, data_dir) if os.path.isabs(path) else os.pardir
    return path if relative.split(os.sep)[0] == os.pardir else relative


def _read_rows(file: str, paths: ListedPaths, labels: Collection[str]) -> tuple[list[dict[str, str]], str]:
    """The rows under our column names, each with its `place` (file and line), and a note on how they were read."""
    if has_suffix(file, _JSON_LINES):
        cells = [
            (_json_cells(line, f"{file}, line {number}"), number)
            for number, line in enumerate(read_lines(file), start=1)
            if line.strip()
        ]
        columns, described = list(dict.fromkeys(key for row, _ in cells for key in row)), "JSON lines"
    else:
        table = read_table(file, _names_columns, lambda row: _is_clip(row, paths, labels))
        columns = table.columns
        cells = [(dict(zip(columns, row, strict=True)), number) for number, row in table.rows]
        described = f"separated by a {table.delimiter}" + ("" if table.is_named else ", no line names the columns")
    if not cells:
        raise ValueError(f"{file}: lists no clip.")
    used = _columns_used(file, columns, described)
    rows = [
        {ours: row.get(theirs, "") for ours, theirs in used.items()} | {"place": f"{file}, line {number}"}
        for row, number in cells
    ]
    for row in rows:
        for column in ("path", "label"):
            if not row[column].strip():
                raise ValueError(f"{row['place']}: `{column}` is missing; each clip needs `path` and `label`.")
    described += "".join(f", {ours} from `{theirs}`" for ours, theirs in used.items() if ours != theirs)
    unused = [name for name in columns if name and name not in used.values()]
    return rows, described + (f"; columns not used: {', '.join(unused)}" if unused else "")


def _columns_used(file: str, columns: Sequence[str], described: str) -> dict[str, str]:
    """For each of our columns, its name in the file."""
    used = {name: name for name in _FURTHER_COLUMNS if name in columns}
    for ours, names in (("path", PATH_COLUMNS), ("label", LABEL_COLUMNS)):
        found = [ours] if ours in columns else [name for name in columns if name in names]
        if len(found) != 1:
            which = f"several that may be `{ours}` ({', '.join(found)})" if found else f"none that is `{ours}`"
            is_fer2013 = {"emotion", "pixels"} <= set(columns)
            advice = "It is a table of FER2013, the dataset `fer2013`." if is_fer2013 else f"Name one column `{ours}`."
            raise ValueError(
                f"{file}: `{ours}` is missing: of the columns {', '.join(columns)} ({described}) there is {which}. "
                f"{advice}"
            )
        used[ours] = found[0]
    return used


def _names_columns(cells: list[str]) -> bool:
    """Whether a first line names columns: one cell is a name of the label column, and no cell is a clip's path."""
    names = [column_name(cell) for cell in cells]
    return any(name in LABEL_COLUMNS for name in names) and not any(map(_looks_like_path, cells))


def _is_clip(cells: dict[str, str], paths: ListedPaths, labels: Collection[str]) -> bool:
    path, label = cells["path"], cells["label"]
    if "total_frames" in cells:  # an unnamed number may mean anything else
        folder, number = paths.find(path), whole_number(cells["total_frames"])
        if number is None or not os.path.isdir(folder) or len(frame_files(folder)) != number:
            return False
    elif _ends_in_number_of(path, paths):
        return False
    is_name = expression_name(label) is not None or plain_name(label) in map(plain_name, labels)
    is_label = is_name or whole_number(label) is not None
    return is_label and (_looks_like_path(path) or os.path.exists(paths.find(path)))


def _ends_in_number_of(path: str, paths: ListedPaths) -> bool:
    """Whether a path that does not exist is a folder and a number: two cells of a list separated by spaces."""
    folder, _, number = path.rpartition(" ")
    if whole_number(number) is None or os.path.exists(paths.find(path)):
        return False
    return os.path.isdir(paths.find(folder))


def _looks_like_path(text: str) -> bool:
    return bool(ntpath.dirname(text)) or has_suffix(text, VIDEO_SUFFIXES)


def _json_cells(line: str, place: str) -> dict[str, str]:
    """The values of a JSON object as text, by column name, without null values."""
    texts: dict[str, str] = {}
    for key, value in parse_json(line.encode(), place, 'Write {"path": ..., "label": ...} in each line.').items():
        if value is None:
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        if "\0" in text or not is_text(text):
            raise ValueError(f"{place}: {key!r} holds a character that is no text: {text!r}.")
        if column_name(key) in texts:
            raise ValueError(f"{place}: names {column_name(key)!r} more than once.")
        texts[column_name(key)] = text
    return texts


__all__ = ["clips_of_lists", "find_lists"]
