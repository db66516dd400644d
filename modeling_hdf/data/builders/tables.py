"""Tables in text files: CSV with any delimiter, with or without a first line that names the columns."""

import csv
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .text_files import read_lines

PATH_COLUMNS = (
    "path", "file", "file_name", "filename", "file_path", "filepath", "video", "video_name", "video_path", "clip",
    "clip_name", "clip_path",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "emotion", "expression", "class", "class_name", "category")

# The columns of files that do not name them: clip and label, or a frame folder as VideoMAE lists it.
_UNNAMED = {
    ("path", "total_frames", "label"): "a clip, its number of frames and a label",
    ("path", "label"): "a clip and a label",
}
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", " ": "space"}
_BLANKS = " \t"


@dataclass(frozen=True)
class Table:
    """
    The cells of a text file.

    Attributes:
        columns: names of the columns, see [`column_name`].
        rows: line number and cells of each row, as many as there are columns.
        delimiter: the delimiter in words: comma, semicolon, tab or space.
        is_named: whether a line of the file names the columns.
    """

    columns: list[str]
    rows: list[tuple[int, list[str]]]
    delimiter: str
    is_named: bool


def column_name(text: str) -> str:
    """Name of a column without differences of case and spaces: `" File Name"` is `"file_name"`."""
    return re.sub(r"[ \t_-]+", "_", text.strip().lower())


def read_table(path: str | os.PathLike, names_columns: Callable, is_clip: Callable) -> Table:
    """
    Reads a table. Its first line shows which delimiter it uses and whether it names the columns.

    The reader ignores spaces around cells, empty lines, empty cells after the last column, and the column of row
    numbers that pandas writes (without a name, or `Unnamed: 0`). A first line `sep=;`, as Excel writes it, sets the
    delimiter.

    Args:
        path (`str` or `Path`): the file.
        names_columns (`Callable`): whether the cells of a first line name columns; `names_columns(["path", "label"])`.
        is_clip (`Callable`): whether the cells of a first line, by column, describe a clip;
            `is_clip({"path": "a.mp4", "label": "fear"})`, or also with `"total_frames"`.

    Raises:
        ValueError: if no delimiter makes the first line column names or a clip, if a row has more or fewer cells than
            there are columns, if a column name repeats, or if the file is damaged; the message names file and line.
    """
    lines = read_lines(path)
    delimiters = list(_DELIMITERS)
    if lines and (said := re.fullmatch(r"sep=([,;\t ])", lines[0], re.IGNORECASE)):
        delimiters, lines[0] = [said[1]], ""
    start = next((index for index, line in enumerate(lines) if line.strip()), None)
    if start is None:
        raise ValueError(f"{path}: lists no clip.")
    first = {each: _first_row(path, lines, start, each) for each in delimiters}
    for delimiter, cells in first.items():
        if names_columns(cells):
            rows, delimiter = _rows_below(path, lines, start, delimiter)
            return _named(path, [column_name(cell) for cell in cells], rows, delimiter)
    for delimiter, columns in itertools.product(delimiters, _UNNAMED):
        cells = _at_most(len(columns), first[delimiter], delimiter)
        if len(cells) == len(columns) and all(cells) and is_clip(dict(zip(columns, cells, strict=True))):
            return _unnamed(path, columns, list(_rows(path, lines, delimiter)), delimiter)
    seen = max(delimiters, key=lambda each: len(first[each]))
    cells = ", ".join(repr(cell[:80]) for cell in first[seen][:12])
    raise ValueError(
        f"{path}, line {start + 1}: neither names the columns nor is a clip with a known label. Cells seen, separated "
        f"by a {_DELIMITERS[seen]}: {cells}. Write a first line that names the columns, such as `path,label`, and "
        "name classes of your own with `labels` (`--labels`). Lines of `path total_frames label` are read if the path "
        "is a folder with so many frames. If the file is no list of clips, move it elsewhere."
    )


def _rows(path: str | os.PathLike, lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the first line and cells of each row that is not empty."""
    text = (line.strip(_BLANKS if delimiter == " " else " ") + "\n" for line in lines)
    reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
    number = 1
    try:
        for cells in reader:
            if any(cell.strip(_BLANKS) for cell in cells):
                yield number, [cell.strip(_BLANKS) for cell in cells]
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {number}: cannot be read as CSV ({error}).") from error


def _first_row(path: str | os.PathLike, lines: Sequence[str], start: int, delimiter: str) -> list[str]:
    """Cells of the first row, or its text as one cell if its quotes do not fit the delimiter."""
    try:
        return next(_rows(path, lines, delimiter), (0, [lines[start]]))[1]
    except ValueError:
        if '"' not in lines[start]:
            raise
        return [lines[start]]


def _rows_below(
    path: str | os.PathLike, lines: Sequence[str], start: int, delimiter: str
) -> tuple[list[tuple[int, list[str]]], str]:
    """The rows below a line that names the columns, and their delimiter. It differs from the delimiter of that line
    if somebody added the line later."""
    below = ["" if index == start else line for index, line in enumerate(lines)]
    rows = list(_rows(path, below, delimiter))
    if all(len(cells) == 1 for _, cells in rows):
        for other in _DELIMITERS:
            found = list(_rows(path, below, other))
            if any(len(cells) > 1 for _, cells in found):
                return found, other
    return rows, delimiter


def _named(path: str | os.PathLike, columns: list[str], rows: list[tuple[int, list[str]]], delimiter: str) -> Table:
    first = [cells[0] for _, cells in rows]
    numbered = any(first == [str(index + start) for index in range(len(first))] for start in (0, 1))  # pandas, R
    if columns[0] in ("", "unnamed:_0"):
        columns, rows = columns[1:], [(number, cells[1:]) for number, cells in rows]
    elif delimiter == " " and numbered and all(len(cells) == len(columns) + 1 for _, cells in rows):
        rows = [(number, cells[1:]) for number, cells in rows]  # row numbers
    while columns and not columns[-1]:
        columns = columns[:-1]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: names the column {twice[0]!r} more than once.")
    width, even = len(columns), []
    for number, cells in rows:
        if delimiter == " " and columns[0] in PATH_COLUMNS and len(cells) > width:
            cells = [" ".join(cells[: len(cells) - width + 1]), *cells[len(cells) - width + 1 :]]
        while len(cells) > width and not cells[-1]:
            cells = cells[:-1]
        if len(cells) != width:
            raise ValueError(
                f"{path}, line {number}: has {len(cells)} cells, but the first line names {width} columns "
                f"({', '.join(columns)}), separated by a {_DELIMITERS[delimiter]}."
            )
        even.append((number, cells))
    return Table(columns, even, _DELIMITERS[delimiter], is_named=True)


def _unnamed(
    path: str | os.PathLike, columns: tuple[str, ...], rows: list[tuple[int, list[str]]], delimiter: str
) -> Table:
    even = [(number, _at_most(len(columns), cells, delimiter)) for number, cells in rows]
    for number, cells in even:
        if len(cells) != len(columns) or not all(cells):
            raise ValueError(
                f"{path}, line {number}: expected {_UNNAMED[columns]}, separated by a {_DELIMITERS[delimiter]}, got "
                f"{' | '.join(cells)!r}."
            )
    return Table(list(columns), even, _DELIMITERS[delimiter], is_named=False)


def _at_most(width: int, cells: list[str], delimiter: str) -> list[str]:
    """The cells of a line without column names. If spaces separate the cells, the path may hold spaces too."""
    while len(cells) > width and not cells[-1]:
        cells = cells[:-1]
    extra = len(cells) - width
    return [" ".join(cells[: extra + 1]), *cells[extra + 1 :]] if delimiter == " " and extra > 0 else cells


__all__ = ["LABEL_COLUMNS", "PATH_COLUMNS", "Table", "column_name", "read_table"]
