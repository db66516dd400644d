"""Cross-validation: the metrics of several folds as one result."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.arguments import BUILDERS
from .results import Results, read_results

# Fields that must be equal in all folds, so that their mean has a meaning.
_SAME = ("dataset", "split", "peer_protocol", "temporal_sampling", "num_views")
# Fields that older files lack and that must be equal if present. Each fold has its own temperature; only whether one
# was fitted must be equal.
_SAME_IF_TOLD = {
    "sampling_stride": lambda fold: fold.sampling_stride,
    "dataset_overrides": lambda fold: fold.dataset_overrides,
    "calibrated": lambda fold: fold.is_calibrated,
}


def read_fold(folder: str | Path) -> Results:
    """
    The results of one fold.

    Args:
        folder (`str` or `Path`): output folder of a training run, or of `hdf evaluate --output`.

    Raises:
        FileNotFoundError: if it holds no `metrics.json`.
        ValueError: if the file is damaged, lacks a field, or belongs to a dataset without folds.
    """
    results = read_results(folder, require=(*_SAME, "fold", "num_clips", "war", "uar", "recall", "confusion_matrix"))
    source, dataset = results.source, results.dataset
    if results.fold is None:
        raise ValueError(f"{source} is of {dataset} without a fold, so it has no mean over folds.")
    if dataset not in BUILDERS:
        raise ValueError(f"{source} is of the dataset {dataset!r}; known are {', '.join(BUILDERS)}.")
    return results


def aggregate_folds(folds: Sequence[Results], allow_missing: bool = False) -> dict:
    """
    Mean and standard deviation over folds.

    Args:
        folds (`Sequence[Results]`): results of [`read_fold`], in any order.
        allow_missing (`bool`, *optional*, defaults to `False`): whether folds may be missing; the result names them.

    Returns:
        `dict`: `dataset`, `split`, `peer_protocol`, `temporal_sampling`, `num_views`, and `sampling_stride`,
        `dataset_overrides`, `calibrated` (None if the files lack it); `folds`, for each `fold`, `folder`, `num_clips`,
        the metrics that all folds have, and `recall`; `mean` and `standard_deviation` (of the sample, divisor n - 1)
        of the metrics and, by class, of `recall`, over the folds with clips of the class (None with too few folds);
        `missing_folds`; `num_clips`; and `confusion_matrix`, the sum. `num_unreadable` is the number of clips that
        could not be read and count in no figure, for each fold (None if the file does not tell) and in all.

    Raises:
        ValueError: for fewer than two folds, a missing or repeated fold, and folds of different datasets, label sets
            or kinds of evaluation.
    """
    folds = sorted(folds, key=lambda fold: fold.fold)
    _check_same(folds)
    names = list(folds[0].recall)
    missing = _check_complete(folds, allow_missing)
    columns = {name: [getattr(fold, name) for fold in folds] for name in ("war", "uar", "macro_f1", "ece")}
    columns = {name: values for name, values in columns.items() if None not in values}
    shown = ("num_clips", *columns, "recall")
    recalls = {name: [fold.recall[name] for fold in folds if fold.recall[name] is not None] for name in names}
    matrix = np.sum([fold.confusion_matrix for fold in folds], axis=0)
    return {
        **_same(folds[0]),
        "folds": [
            {
                "fold": fold.fold,
                "folder": _folder(fold),
                **{name: getattr(fold, name) for name in shown},
                "num_unreadable": None if fold.unreadable is None else len(fold.unreadable),
            }
            for fold in folds
        ],
        "missing_folds": missing,
        "num_clips": int(matrix.sum()),
        "num_unreadable": sum(len(fold.unreadable or []) for fold in folds),
        "mean": {
            **{name: float(np.mean(values)) for name, values in columns.items()},
            "recall": {name: float(np.mean(values)) if values else None for name, values in recalls.items()},
        },
        "standard_deviation": {
            **{name: float(np.std(values, ddof=1)) for name, values in columns.items()},
            "recall": {
                name: float(np.std(values, ddof=1)) if len(values) > 1 else None for name, values in recalls.items()
            },
        },
        "confusion_matrix": matrix.tolist(),
    }


def _folder(fold: Results) -> str:
    return str(Path(fold.source).parent)


def _same(fold: Results) -> dict:
    """The fields that must be equal in all folds."""
    return {name: getattr(fold, name) for name in _SAME} | {name: tell(fold) for name, tell in _SAME_IF_TOLD.items()}


def _check_same(folds: list[Results]) -> None:
    if len(folds) < 2:
        raise ValueError(f"A mean over folds needs at least two folds; got {len(folds)}.")
    first = folds[0]
    for fold in folds[1:]:
        here, there = _same(fold), _same(first)
        for name in here:
            if here[name] != there[name]:
                raise ValueError(
                    f"The folds were evaluated in different ways: `{name}` is {there[name]!r} in {_folder(first)} "
                    f"and {here[name]!r} in {_folder(fold)}."
                )
        if list(fold.recall) != list(first.recall):
            raise ValueError(
                f"The folds have different label sets: {', '.join(first.recall)} in {_folder(first)} and "
                f"{', '.join(fold.recall)} in {_folder(fold)}."
            )
        if fold.fold == first.fold:
            raise ValueError(f"Fold {fold.fold} is given twice: {_folder(first)} and {_folder(fold)}.")
        first = fold


def _check_complete(folds: list[Results], allow_missing: bool) -> list[int]:
    """The missing folds of the dataset."""
    dataset, given = folds[0].dataset, [fold.fold for fold in folds]
    count = len(BUILDERS[dataset].BUILDER_CONFIG_CLASS.folds)
    missing = [number for number in range(1, count + 1) if number not in given]
    if missing and not allow_missing:
        raise ValueError(
            f"{dataset} has {count} folds; missing: {', '.join(map(str, missing))}. A mean over the others is no "
            "result for the dataset; `--allow-missing-folds` prints it with a note."
        )
    return missing


__all__ = ["aggregate_folds", "read_fold"]
