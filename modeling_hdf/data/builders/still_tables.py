"""Tables of stills: CSV files with the pixels of a picture in each row, as FER2013 is published."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .tables import column_name

_COLUMNS = ("emotion", "pixels", "usage")


@dataclass(frozen=True)
class StillRow:
    """One row of a table of stills.

    Attributes:
        index: number of the still, from 0.
        emotion: its label, as written.
        usage: its part of the dataset, as written.
        pixels: its grey levels as text, separated by spaces.
        place: file and line, for messages.
    """

    index: int
    emotion: str
    usage: str
    pixels: str
    place: str

    @property
    def digest(self) -> bytes:
        """Hash of the pixels: equal for equal stills."""
        return hashlib.blake2b(self.pixels.encode(), digest_size=16).digest()


def read_stills(path: str | os.PathLike) -> Iterator[StillRow]:
    """
    The rows of a CSV file with the columns `emotion`, `pixels` and `Usage`, in any order, case and spacing.

    Raises:
        ValueError: if a column is missing, a row has more or fewer cells, or the file is damaged; the message names
            the file and the line.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [column_name(cell) for cell in next(reader, [])]
            missing = [name for name in _COLUMNS if name not in header]
            if missing:
                raise ValueError(
                    f"{path}: has no column {', '.join(missing)}; its columns are {', '.join(header) or 'none'}. "
                    "FER2013's own fer2013.csv or icml_face_data.csv has emotion, pixels and Usage."
                )
            emotion, pixels, usage = (header.index(name) for name in _COLUMNS)
            for index, cells in enumerate(row for row in reader if row):
                place = f"{path}, line {reader.line_num}"
                if len(cells) != len(header):
                    raise ValueError(
                        f"{place}: has {len(cells)} cells, the first line names {len(header)} columns; is the file "
                        "complete?"
                    )
                yield StillRow(index, cells[emotion].strip(), cells[usage].strip(), cells[pixels].strip(), place)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {reader.line_num + 1}: cannot be read as CSV ({error}).") from error


def still_as_png(row: StillRow, size: int) -> bytes:
    """
    The picture of a row as PNG, grey, `size` by `size` pixels.

    Raises:
        ValueError: if the pixels are not `size * size` whole numbers from 0 to 255; the message names the place.
    """
    words = row.pixels.split()
    if len(words) != size * size:
        raise ValueError(f"{row.place}: has {len(words)} pixels, not {size} x {size}.")
    try:
        levels = np.array(words, dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError(f"{row.place}: has pixels that are no whole numbers.") from None
    if levels.min() < 0 or levels.max() > 255:
        raise ValueError(f"{row.place}: has pixels from {levels.min()} to {levels.max()}, not 0 to 255.")
    stream = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8).reshape(size, size)).save(stream, "PNG")
    return stream.getvalue()


__all__ = ["StillRow", "read_stills", "still_as_png"]
