"""Tables of timelines: their columns, their summary per person, and their files."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.files import whole_or_absent
from .rows import Row

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "parquet", "jsonl")
FIRST = ("video", "person", "start", "end", "label", "confidence")
_TEXTS = ("video", "label")
LAST = ("face_left", "face_top", "face_width", "face_height", "face_seen")


def _typed(lines: list[list], columns: list[str]) -> "pd.DataFrame":
    import pandas as pd

    kinds = {name: "float64" for name in columns} | {"person": "int64"} | dict.fromkeys(_TEXTS, "str")
    return pd.DataFrame(lines, columns=columns).astype(kinds)


def rows_table(video: str, labels: Sequence[str], rows: Sequence[Row]) -> "pd.DataFrame":
    """The table of rows, see [`Timeline.to_pandas`]."""
    lines = [
        [video, row.person, row.start, row.end, row.label, row.confidence]
        + [*row.probabilities.tolist(), *row.box.tolist(), row.face_seen]
        for row in rows
    ]
    return _typed(lines, [*FIRST, *labels, *LAST])


def summary_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """
    One line per video and person: `start` and `end` of the first and last row, `seconds` of all rows, `label` with the
    largest share of this time, `share_<class>` and `mean_<class>`, the share of the time with this label and its mean
    probability, and the mean `face_seen`.

    Args:
        table: rows as [`rows_table`] gives them, also of several videos.
    """
    labels = list(table.columns[len(FIRST) : -len(LAST)])
    columns = ["video", "person", "start", "end", "seconds", "label"]
    columns += [f"{kind}_{name}" for kind in ("share", "mean") for name in labels] + ["face_seen"]
    lines = []
    for (video, person), rows in table.groupby(["video", "person"], sort=False):
        seconds = rows["end"] - rows["start"]
        shares = [float(seconds[rows["label"] == name].sum() / seconds.sum()) for name in labels]
        means = [float((rows[name] * seconds).sum() / seconds.sum()) for name in (*labels, "face_seen")]
        label = labels[max(range(len(labels)), key=shares.__getitem__)]
        lines.append([video, person, rows["start"].min(), rows["end"].max(), seconds.sum(), label, *shares, *means])
    return _typed(lines, columns)


def write_table(table: "pd.DataFrame", path: Path) -> None:
    """Writes a table as CSV, Parquet or JSON lines by the suffix of `path`, whole or not at all."""
    with whole_or_absent(path) as part:
        if path.suffix == ".csv":
            table.round(6).to_csv(part, index=False)
        elif path.suffix == ".parquet":
            part.write_bytes(table.to_parquet(index=False))  # pyarrow opens no path whose name is not UTF-8
        else:
            table.to_json(part, orient="records", lines=True, force_ascii=False, double_precision=6)


def read_table(path: Path, labels: Sequence[str]) -> "pd.DataFrame":
    """
    Reads a table that [`write_table`] wrote.

    Args:
        path: the file.
        labels: names of the classes.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged or has other classes; the message names it.
    """
    import pandas as pd

    expected = [*FIRST, *labels, *LAST]
    texts = dict.fromkeys(_TEXTS, str)  # a folder of frames may be called 00017
    content = path.read_bytes()
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(BytesIO(content), keep_default_na=False, dtype=texts)
        elif path.suffix == ".parquet":
            table = pd.read_parquet(BytesIO(content))
        elif content:
            table = pd.read_json(BytesIO(content), lines=True, dtype=texts)
        else:
            table = pd.DataFrame(columns=expected)
        if list(table.columns) == expected:
            return _typed(table.values.tolist(), expected)
    except (OSError, TypeError, ValueError) as error:  # also of pyarrow, and of values that are no numbers
        raise ValueError(f"{path}: is no table of this command ({error}); remove it, and run again.") from error
    raise ValueError(f"{path}: has other columns than this run; remove it, or give another folder.")


__all__ = ["FORMATS", "read_table", "rows_table", "summary_table", "write_table"]
