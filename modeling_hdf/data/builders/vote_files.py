"""DFEW's `annotation.xlsx`: how many annotators chose each expression for each clip."""

import os
from collections.abc import Sequence
from typing import Any

from ..extras import needs_module
from .labels import expression_name

_ORDER = "order"


def read_votes(path: str | os.PathLike, labels: Sequence[str]) -> dict[int, list[int]]:
    """
    Reads how many annotators chose each class.

    The sheet has a column for the clip's number (`order`), one column for each emotion (`1happy`, ..., `7fear`;
    matched by name), and a column `label`.

    Args:
        path (`str` or `Path`): the workbook.
        labels (`Sequence[str]`): the classes, in the order of the result.

    Returns:
        `dict[int, list[int]]`: votes in the order of `labels` for each clip number.

    Raises:
        ModuleNotFoundError: if openpyxl is not installed; the message names the extra `votes`.
        OSError: if the file cannot be read.
        ValueError: if the file is no workbook, if it has no sheet or columns of votes, if a row does not hold whole
            numbers, or if a clip has two different rows; the message names the file and the row.
    """
    rows = _sheet_of_votes(path)
    columns = _columns(path, rows[0], labels)
    votes: dict[int, list[int]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if all(cell is None for cell in row):
            continue
        cells = [row[column] if column < len(row) else None for column in columns]
        numbers = [_count(cell) for cell in cells]
        if None in numbers:
            raise ValueError(f"{path}, row {number}: expected a clip's number and its votes, got {tuple(cells)}.")
        order, *counts = numbers
        if votes.setdefault(order, counts) != counts:
            raise ValueError(f"{path}, row {number}: gives clip {order} other votes than an earlier row.")
    return votes


def _sheet_of_votes(path: str | os.PathLike) -> list[tuple]:
    """The rows of the first sheet whose first row has a column `order`."""
    sheets = _read_sheets(path)
    for rows in sheets.values():
        if rows and _ORDER in _header(rows[0]):
            return rows
    seen = "; ".join(
        f"{name!r} with {', '.join(_header(rows[0])) if rows else 'no row'}" for name, rows in sheets.items()
    )
    raise ValueError(
        f"{path}: has no sheet whose first row names the column {_ORDER!r}. Its sheets: {seen or 'none'}."
    )


def _read_sheets(path: str | os.PathLike) -> dict[str, list[tuple]]:
    needs_module("openpyxl", "votes", f"{path}: reading the votes in a workbook")
    import openpyxl

    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in workbook.worksheets}
        finally:
            workbook.close()
    except OSError:
        raise
    except Exception as error:  # openpyxl passes on any error of its parsers
        raise ValueError(
            f"{path}: is no Excel workbook (.xlsx) that can be read ({type(error).__name__}: {error}); download it "
            "again, or remove it to go on without votes."
        ) from error


def _header(row: tuple) -> list[str]:
    return ["" if cell is None else str(cell).strip().lower() for cell in row]


def _columns(path: str | os.PathLike, row: tuple, labels: Sequence[str]) -> list[int]:
    """Indices of the clip's number and of the votes for each class."""
    header = _header(row)
    names = [_ORDER if cell == _ORDER else expression_name(cell.strip("0123456789.()_- ")) for cell in header]
    for name in (_ORDER, *labels):
        if names.count(name) != 1:
            which = "names no column" if name not in names else "names more than one column"
            raise ValueError(f"{path}: {which} for {name}; it has {', '.join(header)}.")
    return [names.index(name) for name in (_ORDER, *labels)]


def _count(cell: Any) -> int | None:
    """The whole number in a cell, also if the cell is text; `None` for any other content."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return int(number) if number >= 0 and number.is_integer() else None


__all__ = ["read_votes"]
