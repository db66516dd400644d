"""Split files: which clip has which label, as CSV, text or JSON lines."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What a first line that names the columns calls the label. No dataset has a class of such a name.
_LABEL_COLUMNS = {"label", "labels", "emotion", "expression", "class", "category", "id"}


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

    The first line is taken for a header only if it says so (`video_name,label`): the first clip of a file without a
    header is not lost. Empty lines are passed over.

    Raises:
        FileNotFoundError, PermissionError: if the file cannot be read.
        ValueError: if a line holds anything but a clip and a label, or the file no clip at all.
    """
    lines = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        cells = next(csv.reader([line])) if "," in line else line.rsplit(maxsplit=1)
        cells = [cell.strip() for cell in cells]
        if len(cells) != 2 or not all(cells):
            raise ValueError(f"{path}, line {number}: expected a clip and a label, got {line!r}.")
        if not lines and number == 1 and cells[1].lower() in _LABEL_COLUMNS:
            continue
        lines.append(SplitLine(cells[0], cells[1], f"{path}, line {number}"))
    if not lines:
        raise ValueError(f"{path}: lists no clip.")
    return lines


def read_metadata(path: str | os.PathLike) -> list[dict[str, str]]:
    """
    Rows of a CSV file with a header line, or of a JSON-lines file, as text; `place` in each row is file and line.

    Raises:
        ValueError: if a row lacks `path` or `label`, or a line is malformed.
    """
    text = _read_text(path)
    rows = []
    if Path(path).suffix.lower() == ".csv":
        reader = csv.DictReader(text.splitlines())
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}, line {reader.line_num}: has not as many cells as the header names columns.")
            rows.append({**row, "place": f"{path}, line {reader.line_num}"})
    else:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                rows.append({**_parse_json(line, path, number), "place": f"{path}, line {number}"})
    for row in rows:
        for column in ("path", "label"):
            if row.get(column) in (None, ""):
                raise ValueError(f"{row['place']}: `{column}` is missing; each clip needs `path` and `label`.")
    if not rows:
        raise ValueError(f"{path}: lists no clip.")
    return rows


def _parse_json(line: str, path: str | os.PathLike, number: int) -> dict[str, str]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number}: is not JSON ({error}).") from error
    if not isinstance(row, dict):
        raise ValueError(f'{path}, line {number}: must be an object such as {{"path": ..., "label": ...}}.')
    return {key: str(value) for key, value in row.items() if value is not None}


def _read_text(path: str | os.PathLike) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # Excel and Notepad write a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error}).") from error


def one_of(paths: Sequence[str | os.PathLike]) -> str | None:
    """
    The file to read of several that may hold the same: the first that exists.

    Raises:
        ValueError: if two of them exist and differ, as copies of different sources do.
    """
    existing = [os.fspath(path) for path in paths if os.path.isfile(path)]
    for other in existing[1:]:
        if Path(other).read_bytes() != Path(existing[0]).read_bytes():
            raise ValueError(f"{existing[0]} and {other} differ; keep the one that is meant.")
    return existing[0] if existing else None


__all__ = ["SplitLine", "one_of", "read_metadata", "read_split_file"]
