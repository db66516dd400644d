"""All numbers of one evaluation from a table of predictions: metrics, intervals, groups of clips."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .bootstrap import bootstrap_intervals
from .metrics import classification_scores, expected_calibration_error, reliability
from .predictions import (
    PREFIX,
    check_predictions,
    class_names,
    class_numbers,
    class_probabilities,
    measured_clips,
    unreadable_clips_of,
)
from .privacy import unreadable_entries

UNIT_COLUMNS = ("identity", "group")  # clips with equal values here are not independent
MIN_GROUP_CLIPS = 10  # a smaller group may be the worst by chance
_UNKNOWN = "unknown"  # the group of clips without a value
_NO_FACTORS = ("clip_id", "label", "predicted", "fold", *UNIT_COLUMNS)


def evaluate_predictions(
    table: pd.DataFrame, group_by: Sequence[str] | None = None, *, num_resamples: int = 1000, seed: int = 0
) -> dict:
    """
    Metrics of a table of predictions, with 95 % bootstrap intervals.

    If every clip has an `identity` or `group`, a resample draws people with all their clips, because clips of one
    person are not independent. Otherwise it draws clips, and the intervals are slightly too narrow if the dataset
    shows people more than once. `bootstrap` in the result names the unit. If all resamples agree, as for a recall of 0
    or 1, there is no interval: see [`bootstrap_intervals`].

    Args:
        table (`pd.DataFrame`): see [`predictions_table`]. Clips that could not be read are not counted.
        group_by (`Sequence[str]`, *optional*): columns that define groups; by default all factors that differ between
            clips.
        num_resamples (`int`, *optional*, defaults to 1000): resamples of the bootstrap.
        seed (`int`, *optional*, defaults to 0): seed of the bootstrap.

    Returns:
        `dict`, plain JSON:

        - the result of [`classification_scores`] (`war`, `uar`, `macro_f1`, `num_clips`, `recall`,
          `confusion_matrix`), `ece`, and the result of [`reliability`] as `reliability`;
        - `unreadable`: result of [`unreadable_entries`];
        - `intervals`: result of [`bootstrap_intervals`], or None if all clips belong to one unit;
        - `bootstrap`: `unit`, `num_units`, `num_resamples`, `level`, `seed`;
        - `groups`: for each factor `groups` (by name `num_clips`, `war`, `uar`, `intervals`) and `worst`, the name of
          the group with the lowest WAR among groups of at least `MIN_GROUP_CLIPS` clips (None with fewer than two
          such groups).

    Raises:
        ValueError: if the table is not a table of predictions, or lacks a column of `group_by`.
    """
    check_predictions(table)
    unreadable = unreadable_entries(unreadable_clips_of(table))
    table = measured_clips(table)
    factors = factor_names(table) if group_by is None else list(group_by)
    check_factors(table, factors)
    unit = next((name for name in UNIT_COLUMNS if name in table and table[name].notna().all()), "clip_id")
    options = {"num_resamples": num_resamples, "seed": seed}
    labels, probabilities = class_numbers(table), class_probabilities(table)
    names = class_names(table)
    return {
        **classification_scores(labels, probabilities.argmax(1), names),
        "unreadable": unreadable,
        "ece": expected_calibration_error(labels, probabilities),
        "reliability": reliability(labels, probabilities),
        "intervals": _intervals(table, unit, options),
        "bootstrap": {
            "unit": "clip" if unit == "clip_id" else unit,
            "num_units": table[unit].nunique(),
            "level": 0.95,
            **options,
        },
        "groups": {name: _group_scores(table, name, unit, options) for name in factors},
    }


def _intervals(table: pd.DataFrame, unit: str, options: dict) -> dict | None:
    if table[unit].nunique() < 2:
        return None
    units = None if unit == "clip_id" else table[unit].to_numpy()
    intervals = bootstrap_intervals(class_numbers(table), class_probabilities(table), units, **options)
    return {**intervals, "recall": dict(zip(class_names(table), intervals["recall"], strict=True))}


def factor_names(table: pd.DataFrame) -> list[str]:
    """Columns of a table of predictions, or of [`known_of_clips`], that are factors and differ between clips."""
    others = [name for name in table.columns if name not in _NO_FACTORS and not name.startswith(PREFIX)]
    return [name for name in others if table[name].nunique() > 1]


def check_factors(table: pd.DataFrame, factors: Sequence[str], sources: Mapping[str, str] | None = None) -> None:
    """Raises a `ValueError` if the table lacks a factor; the message names the factors of the table, and says what
    `sources` tells of those that are missing, such as [`ExpressionConfig.missing_sources`]."""
    missing = [name for name in factors if name not in table.columns]
    if missing:
        known = ", ".join(factor_names(table)) or "none"
        told = dict.fromkeys(sources[name] for name in missing if name in (sources or {}))
        text = f"The clips have no column {', '.join(missing)} to group by; their factors: {known}."
        raise ValueError(" ".join([text, *told]))


def clip_groups(column: pd.Series) -> pd.Series:
    """
    The group of each clip by one factor.

    Args:
        column (`pd.Series`): values of the factor. Numbers with more than four different values are binned at their
            quartiles (equal ones merged); all others are groups by value. A missing value is `"unknown"`, as is one of
            this name.

    Returns:
        `pd.Series`: an ordered categorical of names such as `"Action"` or `"-4.2 to 0.1"`.
    """
    if not pd.api.types.is_numeric_dtype(column) or column.nunique() <= 4:
        values = sorted(value for value in column.dropna().unique() if value != _UNKNOWN)
        numbers, names = column.map({value: number for number, value in enumerate(values)}), [str(v) for v in values]
    else:
        edges = np.unique(np.nanquantile(column, [0, 0.25, 0.5, 0.75, 1]))
        numbers = pd.Series(np.searchsorted(edges[1:-1], column, side="left"), column.index).where(column.notna())
        names = _range_names(edges)
    codes = numbers.fillna(len(names)).astype(int)
    return pd.Series(pd.Categorical.from_codes(codes, [*names, _UNKNOWN], ordered=True), column.index)


def _range_names(edges: np.ndarray) -> list[str]:
    """Names of the bins between `edges`, of three significant digits, or as many as tell the bins apart."""
    for digits in range(3, 18):
        names = [f"{low:.{digits}g} to {high:.{digits}g}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
        if len({f"{edge:.{digits}g}" for edge in edges}) == len(edges):
            break
    return names


def _group_scores(table: pd.DataFrame, factor: str, unit: str, options: dict) -> dict:
    groups = {}
    for name, part in table.groupby(clip_groups(table[factor]), observed=True):
        scores = classification_scores(class_numbers(part), class_numbers(part, "predicted"), class_names(part))
        intervals = _intervals(part, unit, options)
        groups[name] = {
            **{key: scores[key] for key in ("num_clips", "war", "uar")},
            "intervals": intervals and {key: intervals[key] for key in ("war", "uar")},
        }
    large = {name: group["war"] for name, group in groups.items() if group["num_clips"] >= MIN_GROUP_CLIPS}
    return {"worst": min(large, key=large.get) if len(large) > 1 else None, "groups": groups}


__all__ = ["MIN_GROUP_CLIPS", "check_factors", "clip_groups", "evaluate_predictions", "factor_names"]
