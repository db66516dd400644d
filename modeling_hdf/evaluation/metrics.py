"""Metrics of dynamic facial expression recognition: WAR, UAR, macro F1, recall per class, calibration error."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from ..training.validation import uar, war

NUM_BINS = 15  # confidence bins, as Guo et al. 2017 (https://arxiv.org/abs/1706.04599)


def macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """
    Mean F1 of the classes present in `labels` `(N,)`; 0 to 1.

    As in UAR, a class without clips is left out; predicting it lowers the recall of the true class.
    """
    return float(f1_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0.0))


def confidence_bins(confidences: np.ndarray) -> np.ndarray:
    """Bin, 0 to `NUM_BINS - 1`, of each confidence `(N,)`: bin `i` is `(i, i + 1] / NUM_BINS`."""
    return np.searchsorted(np.linspace(0, 1, NUM_BINS + 1)[1:-1], confidences, side="left")


def check_probabilities(probabilities: np.ndarray, clip_ids: Sequence | None = None) -> None:
    """
    Checks that rows are probabilities: finite, at least 0, with a sum of 1 (to a thousandth).

    Args:
        probabilities (`np.ndarray` of shape `(N, num_labels)`): one row per clip.
        clip_ids (`Sequence` of length `N`, *optional*): names of the clips in messages; by default row numbers from 0.

    Raises:
        ValueError: for other rows; the message names and shows the first of them.
    """
    # Comparisons with NaN are false.
    good = (probabilities >= 0).all(1) & (np.abs(probabilities.sum(1) - 1) < 1e-3)
    if not good.all():
        index = int(np.argmin(good))
        clip = index if clip_ids is None else clip_ids[index]
        raise ValueError(
            f"{np.count_nonzero(~good)} clips have invalid probabilities, such as {probabilities[index].tolist()} of "
            f"clip {clip!r}. Each probability must be at least 0, and a clip's probabilities must sum to 1. Apply a "
            "softmax to logits."
        )


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, list]:
    """
    The accuracy of predictions at each level of confidence: the points of a reliability diagram.

    Args:
        labels (`np.ndarray` of shape `(N,)`): true classes.
        probabilities (`np.ndarray` of shape `(N, num_labels)`): probability of each class; the largest is the
            confidence.

    Returns:
        `dict[str, list]`: `num_clips`, mean `confidence` and mean `accuracy` (None for a bin without clips) of each of
        `NUM_BINS` bins of equal width from 0 to 1.
    """
    confidences = probabilities.max(1)
    bins = confidence_bins(confidences)
    counts = np.bincount(bins, minlength=NUM_BINS)
    right = probabilities.argmax(1) == labels

    def means(values: np.ndarray) -> list[float | None]:
        sums = np.bincount(bins, values, NUM_BINS)
        return [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]

    return {"num_clips": counts.tolist(), "confidence": means(confidences), "accuracy": means(right)}


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """
    Mean distance between confidence and accuracy over the bins of [`reliability`], weighted by clips; 0 to 1.

    Source: Guo et al. 2017, equation 3 (https://arxiv.org/abs/1706.04599). The arguments are as in [`reliability`].
    """
    points = reliability(labels, probabilities)
    filled = [point for point in zip(*points.values(), strict=True) if point[0]]
    return sum(count * abs(confidence - accuracy) for count, confidence, accuracy in filled) / len(labels)


def classification_scores(labels: np.ndarray, predictions: np.ndarray, names: list[str]) -> dict:
    """
    The metrics of classified clips.

    Args:
        labels (`np.ndarray` of shape `(N,)`): true classes.
        predictions (`np.ndarray` of shape `(N,)`): predicted classes.
        names (`list[str]`): names of the classes 0, 1, ...

    Returns:
        `dict`: `war`, `uar`, `macro_f1`, `num_clips`, `recall` (by name; None for a class without clips) and
        `confusion_matrix` (counts; rows are true classes, columns are predicted classes).

    Raises:
        ValueError: without clips, for a class without a name, or for two classes with the same name.
    """
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"Class names must differ; {', '.join(map(repr, repeated))} occurs more than once.")
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"Expected one prediction per label, and at least one; got {predictions.shape}, {labels.shape}."
        )
    classes = np.arange(len(names))
    unnamed = sorted(set(np.unique(np.concatenate([labels, predictions])).tolist()) - set(classes.tolist()))
    if unnamed:
        raise ValueError(f"Classes {unnamed} have no name; the names are {names}.")
    matrix = confusion_matrix(labels, predictions, labels=classes)
    counts = matrix.sum(1)
    recall = {
        name: float(matrix[index, index] / counts[index]) if counts[index] else None
        for index, name in enumerate(names)
    }
    return {
        "war": war(labels, predictions),
        "uar": uar(labels, predictions),
        "macro_f1": macro_f1(labels, predictions),
        "num_clips": len(labels),
        "recall": recall,
        "confusion_matrix": matrix.tolist(),
    }


__all__ = [
    "check_probabilities",
    "classification_scores",
    "expected_calibration_error",
    "macro_f1",
    "reliability",
    "uar",
    "war",
]
