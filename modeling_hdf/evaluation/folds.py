"""Cross-validation: the metrics of several folds as one result."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.arguments import BUILDERS

# What must be the same in all folds, or their mean is of nothing.
_SAME = ("dataset", "split", "peer_protocol", "temporal_sampling", "num_views")
# The same of what older files do not tell.
_SAME_IF_TOLD = ("sampling_stride", "dataset_overrides", "calibrated")


def read_fold(folder: str | Path) -> dict:
    """
    The `metrics.json` of one fold, with its `folder`.

    Args:
        folder (`str` or `Path`): output folder of a training run, or of `hdf evaluate --output`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, lacks a field, or is of a dataset without folds.
    """
    path = Path(folder) / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give folders that training or `hdf evaluate` wrote.")
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error
    fields = (*_SAME, "fold", "num_clips", "war", "uar", "recall", "confusion_matrix")
    missing = [name for name in fields if name not in metrics]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; evaluate this fold again with `hdf evaluate`.")
    if metrics["fold"] is None:
        raise ValueError(f"{path} is of {metrics['dataset']} without a fold: there is nothing to take a mean of.")
    if metrics["dataset"] not in BUILDERS:
        raise ValueError(f"{path} is of the dataset {metrics['dataset']!r}; known are {', '.join(BUILDERS)}.")
    # Each fold has a temperature of its own; that one was fitted is what must be the same.
    temperature = metrics.get("calibration_temperature")
    calibrated = None if temperature is None else temperature != 1.0
    return {**metrics, "calibrated": calibrated, "folder": str(folder)}


def aggregate_folds(folds: Sequence[dict], allow_missing: bool = False) -> dict:
    """
    Mean and standard deviation over folds.

    Args:
        folds (`Sequence[dict]`): results of [`read_fold`], in any order.
        allow_missing (`bool`, *optional*, defaults to `False`): whether folds of the dataset may be missing; the
            result then names them.

    Returns:
        `dict`: `dataset`, `split`, `peer_protocol`, `temporal_sampling`, `num_views`, and `sampling_stride`,
        `dataset_overrides`, `calibrated` (None where the files do not tell); `folds`, for each `fold`, `folder`,
        `num_clips`, the metrics that all have, and `recall`; `mean` and `standard_deviation` (of the sample, divisor
        n - 1) of the metrics and, by class, of `recall`, over the folds with clips of the class (None with too few);
        `missing_folds`; `num_clips`; and `confusion_matrix`, the sum.

    Raises:
        ValueError: for less than two folds, a fold that is missing or comes twice, and folds of different datasets,
            label sets or kinds of evaluation.
    """
    folds = sorted(folds, key=lambda fold: fold["fold"])
    _check_same(folds)
    names = list(folds[0]["recall"])
    missing = _check_complete(folds, allow_missing)
    metrics = [name for name in ("war", "uar", "macro_f1", "ece") if all(name in fold for fold in folds)]
    shown = ("fold", "folder", "num_clips", *metrics, "recall")
    columns = {name: [fold[name] for fold in folds] for name in metrics}
    recalls = {name: [fold["recall"][name] for fold in folds if fold["recall"][name] is not None] for name in names}
    matrix = np.sum([fold["confusion_matrix"] for fold in folds], axis=0)
    return {
        **{name: folds[0].get(name) for name in (*_SAME, *_SAME_IF_TOLD)},
        "folds": [{name: fold[name] for name in shown} for fold in folds],
        "missing_folds": missing,
        "num_clips": int(matrix.sum()),
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


def _check_same(folds: list[dict]) -> None:
    if len(folds) < 2:
        raise ValueError(f"A mean over folds needs two of them or more; got {len(folds)}.")
    first = folds[0]
    for fold in folds[1:]:
        for name in (*_SAME, *_SAME_IF_TOLD):
            if fold.get(name) != first.get(name):
                raise ValueError(
                    f"The folds were not evaluated alike: `{name}` is {first.get(name)!r} in {first['folder']} "
                    f"and {fold.get(name)!r} in {fold['folder']}."
                )
        if list(fold["recall"]) != list(first["recall"]):
            raise ValueError(
                f"The folds have different label sets: {', '.join(first['recall'])} in {first['folder']} and "
                f"{', '.join(fold['recall'])} in {fold['folder']}."
            )
        if fold["fold"] == first["fold"]:
            raise ValueError(f"Fold {fold['fold']} is given twice: {first['folder']} and {fold['folder']}.")
        first = fold


def _check_complete(folds: list[dict], allow_missing: bool) -> list[int]:
    """The folds of the dataset that are not there."""
    dataset, given = folds[0]["dataset"], [fold["fold"] for fold in folds]
    count = len(BUILDERS[dataset].BUILDER_CONFIG_CLASS.folds)
    missing = [number for number in range(1, count + 1) if number not in given]
    if missing and not allow_missing:
        raise ValueError(
            f"{dataset} has {count} folds; missing: {', '.join(map(str, missing))}. A mean over the others is no "
            "figure for the dataset; `--allow-missing-folds` gives it all the same, and says so."
        )
    return missing


__all__ = ["aggregate_folds", "read_fold"]
