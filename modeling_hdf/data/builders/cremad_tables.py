"""CREMA-D's tables: the list of clips, the people, and the votes of the crowd."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .labels import whole_number

VOTED_ON = ("voice", "face", "both")  # numbered from 1 in the row names of `tabulatedVotes.csv`
_VOTES = {"happiness": "H", "sadness": "S", "neutral": "N", "anger": "A", "disgust": "D", "fear": "F"}
_ROWS_OF_A_KIND = 100_000  # row 200017 is clip 17, seen without sound


@dataclass(frozen=True)
class Person:
    """What `VideoDemographics.csv` states of an actor; `None` where nothing is known."""

    sex: str | None = None
    age: int | None = None
    race: str | None = None
    ethnicity: str | None = None


def _rows(path: str | os.PathLike, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and cells by column of each row. Raises a `ValueError` that names the file and the line."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"{path}: has no column {', '.join(map(repr, missing))}; is it the file of CREMA-D?")
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise ValueError(f"{place}: has more or fewer cells than the first line.")
                yield place, {name: cell.strip() for name, cell in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {reader.line_num + 1}: cannot be read as CSV ({error}).") from error


def read_names(path: str | os.PathLike) -> dict[str, str]:
    """The clips of `SentenceFilenames.csv`, with the place that lists each. Raises a `ValueError` for a bad file."""
    return {row["Filename"]: place for place, row in _rows(path, ("Filename",))}


def read_people(path: str | os.PathLike) -> dict[str, Person]:
    """
    The people of `VideoDemographics.csv`, by the actor's number as text.

    Raises:
        ValueError: if a column is missing or an age is no number; the message names the file and the line.
    """
    people = {}
    for place, row in _rows(path, ("ActorID", "Age", "Sex", "Race", "Ethnicity")):
        age = whole_number(row["Age"])
        if age is None:
            raise ValueError(f"{place}: the age is {row['Age']!r}, which is no whole number.")
        race = None if row["Race"] == "Unknown" else row["Race"]
        people[row["ActorID"]] = Person(row["Sex"].lower(), age, race, row["Ethnicity"])
    return people


def read_crowd_votes(path: str | os.PathLike, labels: Sequence[str], voted_on: str) -> dict[str, list[int]]:
    """
    How many people of the crowd chose each class, from `tabulatedVotes.csv`.

    Each clip has three rows: the row's name, in the first column, is 100,000 times 1 (voice), 2 (face) or 3 (both)
    plus the number of the clip.

    Args:
        path (`str` or `Path`): the file.
        labels (`Sequence[str]`): the classes, in the order of the result.
        voted_on (`str`): one of `VOTED_ON`.

    Returns:
        `dict[str, list[int]]`: votes in the order of `labels`, by the name of the clip.

    Raises:
        ValueError: if a column is missing, a vote or a row's name is no whole number, or a clip has two rows; the
            message names the file and the line.
    """
    kind = VOTED_ON.index(voted_on) + 1
    votes: dict[str, list[int]] = {}
    for place, row in _rows(path, ("", "fileName", *_VOTES.values())):
        numbers = [whole_number(row[name]) for name in ("", *(_VOTES[label] for label in labels))]
        if None in numbers or min(numbers) < 0:
            raise ValueError(f"{place}: expected the row's number and votes, whole numbers from 0.")
        number, *counts = numbers
        if number // _ROWS_OF_A_KIND != kind:
            continue
        if votes.setdefault(row["fileName"], counts) is not counts:
            raise ValueError(f"{place}: clip {row['fileName']!r} has votes on the {voted_on} in an earlier row too.")
    return votes


__all__ = ["VOTED_ON", "Person", "read_crowd_votes", "read_names", "read_people"]
