"""The predictions of an evaluation as a table, one row per clip.

Columns: `clip_id`; `label` and `predicted` (names of classes); one `probability_<class>` for each class, in the order
of the classes; and the dataset's information on a clip, such as `scene` and `fold`, or `identity` and the factors of
the embedded faces. The table names its classes, so it can be read without the model.

If some clips could not be read, the column `error` holds the reason; it is empty for all other clips. Such a clip has
neither `predicted` nor probabilities, and no result counts it: see [`measured_clips`].

In `predictions.csv` texts are quoted. A text that a spreadsheet could read as a formula, or that starts with an
apostrophe, gets an apostrophe in front. Other readers must remove the first apostrophe of each text that starts with
one. `predictions.parquet` holds all texts unchanged.
"""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from ..data.files import whole_or_absent
from .metrics import check_probabilities
from .shared_classes import SharedClasses

PREFIX = "probability_"
FILES = ("predictions.parquet", "predictions.csv")
_REQUIRED = ("clip_id", "label", "predicted")
_ERROR = "error"
_TEXT = (*_REQUIRED, _ERROR, "scene", "group")  # text, even if it looks like numbers
# Characters that start a formula in a spreadsheet, some of them in full width, and the mark that prevents it.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MARK = "'"


def predictions_table(
    rows: datasets.Dataset,
    probabilities: np.ndarray,
    classes: SharedClasses,
    unreadable: Mapping[int, str] | None = None,
) -> pd.DataFrame:
    """
    The table of one evaluation.

    Args:
        rows (`datasets.Dataset`): the classified rows, with `clip_id` and `label`; see [`SharedClasses.select`]. The
            columns of [`known_of_clips`] are copied.
        probabilities (`np.ndarray` of shape `(N, model classes)`): probabilities of each row.
        classes ([`SharedClasses`]): classes of the model and of the dataset.
        unreadable (`Mapping[int, str]`, *optional*): error message by row of the clips that could not be read; see
            [`unreadable_clips`].

    Raises:
        ValueError: as [`check_predictions`] does.
    """
    unreadable = unreadable or {}
    known = known_of_clips(rows)
    shared = classes.restrict(probabilities)
    columns = {
        "clip_id": known.pop("clip_id"),
        "label": [classes.names[classes.numbers[label]] for label in rows["label"][:]],
        "predicted": [classes.names[number] for number in shared.argmax(1)],
        **{PREFIX + name: shared[:, number] for number, name in enumerate(classes.names)},
        **known,
    }
    table = pd.DataFrame(columns)
    if unreadable:
        lost = list(unreadable)
        table.loc[lost, ["predicted"]] = None
        table.loc[lost, [PREFIX + name for name in classes.names]] = np.nan
        table[_ERROR] = pd.Series(unreadable, dtype=object)
    check_predictions(table)
    return table


def pooled_predictions(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """
    One table of the predictions of a model for several datasets.

    Args:
        tables (`Mapping[str, pd.DataFrame]`): by dataset, a table with all classes of the model.

    Returns:
        `pd.DataFrame`: all rows, with `dataset`, and with the dataset's name before each `clip_id`. `group` is the
        dataset's name with the `identity` or `group` of the clip, or its `clip_id` if neither is known.
    """
    pooled = []
    for dataset, table in tables.items():
        unit = next((name for name in ("identity", "group") if name in table and table[name].notna().all()), "clip_id")
        texts = {
            name: dataset + "/" + column.astype(str)
            for name, column in {"clip_id": table["clip_id"], "group": table[unit]}.items()
        }
        pooled.append(table.drop(columns="identity", errors="ignore").assign(**texts, dataset=dataset))
    table = pd.concat(pooled, ignore_index=True)
    check_predictions(table)
    return table


def measured_clips(table: pd.DataFrame) -> pd.DataFrame:
    """A table of predictions without the clips that could not be read, and without the column `error`."""
    if _ERROR not in table:
        return table
    return table[table[_ERROR].isna()].drop(columns=_ERROR).reset_index(drop=True)


def unreadable_clips_of(table: pd.DataFrame) -> dict[str, str]:
    """`clip_id` and message of the clips of a table of predictions that could not be read."""
    if _ERROR not in table:
        return {}
    lost = table[table[_ERROR].notna()]
    return dict(zip(lost["clip_id"], lost[_ERROR], strict=True))


def known_of_clips(rows: datasets.Dataset) -> pd.DataFrame:
    """The columns of a dataset with plain values, without the label and without empty columns."""
    plain = {
        name: feature
        for name, feature in rows.features.items()
        if isinstance(feature, (datasets.Value, datasets.ClassLabel)) and name != "label"
    }
    known = rows.select_columns(list(plain)).to_pandas()
    for name, feature in plain.items():
        if isinstance(feature, datasets.ClassLabel):
            known[name] = feature.int2str(known[name].tolist())
    return known.dropna(axis="columns", how="all")


def class_names(table: pd.DataFrame) -> list[str]:
    """Names of the classes of a table of predictions, in order."""
    return [name.removeprefix(PREFIX) for name in table.columns if name.startswith(PREFIX)]


def class_probabilities(table: pd.DataFrame) -> np.ndarray:
    """Probabilities `(N, number of classes)` of a table of predictions."""
    return table[[PREFIX + name for name in class_names(table)]].to_numpy(dtype=np.float64)


def class_numbers(table: pd.DataFrame, column: str = "label") -> np.ndarray:
    """True classes `(N,)` of a table of predictions (predicted classes for `"predicted"`), as numbers from 0."""
    return pd.Categorical(table[column], categories=class_names(table)).codes.astype(np.int64)


def confident_errors(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """
    The wrongly classified clips with the highest confidence, at most `most`.

    Args:
        table (`pd.DataFrame`): a table of predictions, see [`measured_clips`].
        most (`int`): largest number of clips.

    Returns:
        `pd.DataFrame`: `clip_id`, `label`, `predicted`, `confidence` (probability of the predicted class) and
        `label_probability` (probability of the true class), sorted by falling confidence, then by `clip_id`.
    """
    wrong = table[table["predicted"] != table["label"]]
    probabilities, rows = class_probabilities(wrong), np.arange(len(wrong))
    errors = wrong[list(_REQUIRED)].assign(
        confidence=probabilities[rows, class_numbers(wrong, "predicted")],
        label_probability=probabilities[rows, class_numbers(wrong)],
    )
    return errors.sort_values(["confidence", "clip_id"], ascending=[False, True], ignore_index=True).head(most)


def check_predictions(table: pd.DataFrame) -> None:
    """
    Checks that a table is a table of predictions.

    Raises:
        ValueError: for a missing column, no row, a repeated clip, labels of another label set, invalid probabilities,
            a predicted class that is not the most probable class, or a prediction for an unreadable clip; the message
            names clip and value.
    """
    missing = [name for name in _REQUIRED if name not in table.columns]
    names = class_names(table)
    if missing or len(names) < 2:
        wanted = missing or [f"{PREFIX}<class>"]
        raise ValueError(
            f"A table of predictions needs the columns {', '.join(wanted)}; it has {list(table.columns)}."
        )
    repeated = table["clip_id"][table["clip_id"].duplicated()]
    if len(repeated):
        raise ValueError(f"Clip {repeated.iloc[0]!r} is in the table of predictions more than once.")
    unknown = table[~table["label"].isin(names)]
    if len(unknown):
        raise ValueError(
            f"{len(unknown)} clips have labels of another label set, such as {unknown['label'].iloc[0]!r} of clip "
            f"{unknown['clip_id'].iloc[0]!r}; the predictions are of {', '.join(names)}."
        )
    lost = table[table["clip_id"].isin(unreadable_clips_of(table))]
    predicted = lost[["predicted", *(PREFIX + name for name in names)]].notna().any(axis="columns")
    if predicted.any():
        raise ValueError(f"Clip {lost['clip_id'][predicted].iloc[0]!r} has both a prediction and an error.")
    table = measured_clips(table)
    if table.empty:
        raise ValueError("The table of predictions has no row with a prediction, so there is no clip to evaluate.")
    probabilities = class_probabilities(table)
    check_probabilities(probabilities, table["clip_id"].tolist())
    best = np.array(names, dtype=object)[probabilities.argmax(1)]
    wrong = table[table["predicted"].to_numpy() != best]
    if len(wrong):
        raise ValueError(
            f"`predicted` is not the most probable class for {len(wrong)} clips, such as {wrong['clip_id'].iloc[0]!r}."
        )


def write_predictions(table: pd.DataFrame, folder: str | Path) -> None:
    """Writes a table of predictions as `predictions.parquet` and `predictions.csv` into a folder."""
    for name in FILES:
        with whole_or_absent(Path(folder) / name) as part:
            if name.endswith(".csv"):
                _without_formulas(table).to_csv(part, index=False, quoting=csv.QUOTE_NONNUMERIC)
            else:
                table.to_parquet(part, index=False)


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the mark before each text, and name of a column, that could be a formula or begins with it."""

    def mark(value: object) -> object:
        is_marked = isinstance(value, str) and value.startswith((*_FORMULA_STARTS, _MARK))
        return _MARK + value if is_marked else value

    return _with_texts(table, mark)


def _with_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """What [`_without_formulas`] was given."""
    return _with_texts(table, lambda value: value.removeprefix(_MARK) if isinstance(value, str) else value)


def _with_texts(table: pd.DataFrame, change: Callable[[object], object]) -> pd.DataFrame:
    changed = table.copy()
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            changed[name] = table[name].map(change, na_action="ignore")
    return changed.rename(columns=change)


def read_predictions(path: str | Path) -> pd.DataFrame:
    """
    Reads a `.parquet` or `.csv` file of [`write_predictions`] with exactly the written numbers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, and as [`check_predictions`] does; the message names the file.
    """
    path = Path(path)
    try:
        table = _read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        check_predictions(table)
    except (ValueError, pa.ArrowException) as error:
        raise ValueError(f"{path}: {error}") from error
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    # Only an empty field is a missing value: "NA" may well be a name.
    options = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(_TEXT, pa.string()), null_values=[""], strings_can_be_null=True
    )
    lines = arrow_csv.ParseOptions(newlines_in_values=True)
    return _with_formulas(arrow_csv.read_csv(path, parse_options=lines, convert_options=options).to_pandas())


__all__ = [
    "FILES",
    "check_predictions",
    "class_names",
    "class_numbers",
    "class_probabilities",
    "confident_errors",
    "known_of_clips",
    "measured_clips",
    "pooled_predictions",
    "predictions_table",
    "read_predictions",
    "unreadable_clips_of",
    "write_predictions",
]
