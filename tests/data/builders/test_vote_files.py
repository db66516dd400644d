"""DFEW's workbook of votes: other sheets and forms of numbers, and what is wrong with a damaged one."""

import zipfile
from pathlib import Path

import openpyxl
import pytest
from trees import OURS, VOTE_COLUMNS

from modeling_hdf.data.builders.vote_files import read_votes

ROW = [3, 1, 2, 3, 4, 5, 6, 7, 1]


def write(path: Path, *rows: list, before: list | None = None) -> Path:
    workbook = openpyxl.Workbook()
    if before is not None:
        workbook.active.append(before)
        workbook.create_sheet("votes")
    for row in rows:
        workbook.worksheets[-1].append(row)
    workbook.save(path)
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "annotation.xlsx"


def test_votes_follow_the_names_of_the_columns(path):
    reordered = [VOTE_COLUMNS[0], *VOTE_COLUMNS[:0:-1]]
    write(path, reordered, [ROW[0], *ROW[:0:-1]], [], ["4", *map(str, ROW[:0:-1])], [5.0, *ROW[:0:-1]])
    assert read_votes(path, OURS) == {number: [1, 2, 3, 4, 5, 6, 7] for number in (3, 4, 5)}


def test_the_sheet_of_votes_is_found_among_others(path):
    assert read_votes(write(path, VOTE_COLUMNS, ROW, before=["notes"]), OURS) == {3: [1, 2, 3, 4, 5, 6, 7]}


@pytest.mark.parametrize("cell", ["many", "", None, 1.5, -1, float("nan")])
def test_what_is_no_number_of_votes_is_refused_with_its_row(path, cell):
    write(path, VOTE_COLUMNS, ROW, [4, *ROW[1:6], cell, *ROW[7:]])
    with pytest.raises(ValueError, match=r"annotation.xlsx, row 3: expected a clip's number and its votes"):
        read_votes(path, OURS)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([VOTE_COLUMNS[:-2], ROW[:-2]], "names no column for fear; it has order, 1happy"),
        ([[*VOTE_COLUMNS, "happiness"], [*ROW, 1]], "names more than one column for happiness"),
        ([VOTE_COLUMNS[1:], ROW[1:]], r"no sheet whose first row names the column 'order'.*'Sheet' with 1happy"),
        ([], "'Sheet' with no row"),
        ([VOTE_COLUMNS, ROW, [3, 7, *ROW[2:]]], "row 3: gives clip 3 other votes"),
    ],
)
def test_columns_and_rows_that_do_not_fit_are_told(path, rows, message):
    write(path, *rows)
    with pytest.raises(ValueError, match=f"annotation.xlsx.*{message}"):
        read_votes(path, OURS)


@pytest.mark.parametrize("damage", ["text", "truncated", "xml", "no workbook"])
def test_a_file_that_is_no_workbook_is_named(path, damage):
    write(path, VOTE_COLUMNS, ROW)
    data = path.read_bytes()
    if damage == "text":
        path.write_bytes(b"order,1happy\n1,2\n")
    elif damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        if damage == "xml":
            members["xl/worksheets/sheet1.xml"] = members["xl/worksheets/sheet1.xml"][:-40]
        else:
            del members["xl/workbook.xml"]
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    with pytest.raises(ValueError, match="annotation.xlsx: is no Excel workbook .*download it again"):
        read_votes(path, OURS)
