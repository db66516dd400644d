"""Percentile bootstrap intervals of all metrics.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

Every metric is a function of sums over clips: the confusion matrix, and per confidence bin the gap between confidence
and accuracy. A resample weights each clip, so one matrix product gives the sums of all resamples.
"""

import numpy as np

from .metrics import NUM_BINS, confidence_bins

_BLOCK = 250  # resamples at a time, which bounds the memory


def bootstrap_intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray | None = None,
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, list]:
    """
    Percentile intervals of the metrics of one evaluation.

    Each resample draws as many units as the evaluation has, with replacement. A unit is a clip, or a person if the
    clips of one person depend on each other. A class without clips in a resample is left out, as in the metrics.

    If all resamples agree, the interval is None, because a width of 0 would claim certainty. This happens for a recall
    of 0 or 1, however many clips there are: the percentile method cannot tell how certain such a value is.

    The interval of `ece` lies too high. It is a mean of distances, and a resample, which holds some clips twice, is
    noisier in each bin. Of a well calibrated model the whole interval may lie above the value.

    Args:
        labels (`np.ndarray` of shape `(N,)`): true classes.
        probabilities (`np.ndarray` of shape `(N, num_labels)`): probability of each class.
        units (`np.ndarray` of shape `(N,)`, *optional*): unit of each clip; by default each clip is its own unit.
        num_resamples (`int`, *optional*, defaults to 1000): number of resamples.
        level (`float`, *optional*, defaults to 0.95): share of the resamples within an interval.
        seed (`int`, *optional*, defaults to 0): seed of the resamples.

    Returns:
        `dict[str, list]`: `[low, high]` of `war`, `uar`, `macro_f1` and `ece`, and `recall` with one pair for each
        class. A pair is None if all resamples agree or the class has no clips.

    Raises:
        ValueError: for fewer than two units or no resample.
    """
    values = _resampled(labels, probabilities, units, num_resamples, seed)
    return _intervals(values, labels, level)


def bootstrap_differences(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    units: np.ndarray | None = None,
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, list]:
    """
    Percentile intervals of the metrics of one model minus those of another on the same clips.

    Each resample draws the same units for both models, so what makes a clip hard for both drops out. The interval is
    therefore narrower than two separate ones suggest.

    Args:
        labels (`np.ndarray` of shape `(N,)`): true classes.
        first, second (`np.ndarray` of shape `(N, num_labels)`): probabilities of the two models.
        units, num_resamples, level, seed: as for [`bootstrap_intervals`].

    Returns:
        `dict[str, list]`: as [`bootstrap_intervals`].

    Raises:
        ValueError: if the two have other shapes, and as [`bootstrap_intervals`].
    """
    if first.shape != second.shape:
        raise ValueError(f"The probabilities of both models must be of the same clips: {first.shape}, {second.shape}.")
    one, other = (_resampled(labels, each, units, num_resamples, seed) for each in (first, second))
    return _intervals({name: values - other[name] for name, values in one.items()}, labels, level)


def _resampled(
    labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray | None, num_resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """The metrics of each resample, see [`_metrics`]; the draws depend on the seed and the units alone."""
    if num_resamples < 1:
        raise ValueError(f"The number of resamples is {num_resamples}; it must be at least 1.")
    unit_of_clip = np.arange(len(labels)) if units is None else np.unique(units, return_inverse=True)[1]
    num_units = int(unit_of_clip.max(initial=-1)) + 1
    if num_units < 2:
        raise ValueError(f"An interval needs at least two units to draw from, got {num_units}.")
    sums = _sums_per_unit(labels, probabilities, unit_of_clip)  # (num_units, K * K + NUM_BINS)
    generator = np.random.default_rng(seed)
    blocks = []
    for start in range(0, num_resamples, _BLOCK):
        size = min(_BLOCK, num_resamples - start)
        drawn = generator.integers(num_units, size=(size, num_units))
        drawn += num_units * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * num_units).reshape(size, num_units)
        blocks.append(weights.astype(np.float64) @ sums)
    return _metrics(np.concatenate(blocks), probabilities.shape[1])


def _intervals(values: dict[str, np.ndarray], labels: np.ndarray, level: float) -> dict[str, list]:
    tails = [(1 - level) / 2, (1 + level) / 2]
    recall = values["recall"]  # (num_resamples, K), NaN where a resample has no clip of the class
    present = np.isin(np.arange(recall.shape[1]), labels)
    return {
        **{name: _interval(value, tails) for name, value in values.items() if name != "recall"},
        "recall": [_interval(recall[:, k], tails) if present[k] else None for k in range(len(present))],
    }


def _interval(values: np.ndarray, tails: list[float]) -> list[float] | None:
    """Quantiles of the resamples `(R,)` that are not NaN; None if they are equal up to rounding."""
    low, high = np.nanquantile(values, tails).tolist()
    return [low, high] if high - low > 1e-9 else None


def _sums_per_unit(labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray) -> np.ndarray:
    """For each unit the flattened confusion matrix, and per bin the sum of confidence minus correctness."""
    num_units, num_labels = int(units.max()) + 1, probabilities.shape[1]
    predictions, confidences = probabilities.argmax(1), probabilities.max(1)
    sums = np.zeros((num_units, num_labels**2 + NUM_BINS))
    np.add.at(sums, (units, labels * num_labels + predictions), 1.0)
    gaps = confidences - (predictions == labels)
    np.add.at(sums, (units, num_labels**2 + confidence_bins(confidences)), gaps)
    return sums


def _metrics(sums: np.ndarray, num_labels: int) -> dict[str, np.ndarray]:
    """The metrics of each row of sums, each of shape `(R,)`, and `recall` of shape `(R, num_labels)`."""
    matrix = sums[:, : num_labels**2].reshape(-1, num_labels, num_labels)  # true, predicted
    hits = np.diagonal(matrix, axis1=1, axis2=2)  # (R, K)
    true, predicted = matrix.sum(2), matrix.sum(1)
    num_clips = true.sum(1)
    present = np.where(true > 0, 1.0, np.nan)
    recall = present * hits / np.maximum(true, 1)
    return {
        "war": hits.sum(1) / num_clips,
        "uar": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(present * 2 * hits / np.maximum(true + predicted, 1), axis=1),
        "ece": np.abs(sums[:, num_labels**2 :]).sum(1) / num_clips,
        "recall": recall,
    }


__all__ = ["bootstrap_differences", "bootstrap_intervals"]
