"""Metrics of dynamic facial expression recognition: WAR, UAR, recall per class and the confusion matrix."""

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from transformers import EvalPrediction


def war(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Weighted average recall of classes `(N,)`, which is the accuracy; between 0 and 1."""
    return float(accuracy_score(labels, predictions))


def uar(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Unweighted average recall: the mean of the recalls of the classes present in `labels` `(N,)`; 0 to 1."""
    return float(recall_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0.0))


def classification_report(labels: np.ndarray, predictions: np.ndarray, names: list[str]) -> dict:
    """
    Everything a report of one evaluation shows.

    Args:
        labels (`np.ndarray` of shape `(N,)`): true classes.
        predictions (`np.ndarray` of shape `(N,)`): predicted classes.
        names (`list[str]`): names of the classes 0, 1, ...

    Returns:
        `dict`: `war`, `uar`, `num_clips`, `recall` (by name; None for a class without clips) and `confusion_matrix`
        (rows are true classes, columns predicted ones, counts).

    Raises:
        ValueError: without any clip, or for classes that have no name.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(f"Expected as many predictions as labels, and some; got {predictions.shape}, {labels.shape}.")
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
        "num_clips": len(labels),
        "recall": recall,
        "confusion_matrix": matrix.tolist(),
    }


def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
    """WAR and UAR for a [`~transformers.Trainer`]: logits `(N, num_labels)` and labels `(N,)`."""
    predictions = np.argmax(evaluation.predictions, axis=-1)
    return {"war": war(evaluation.label_ids, predictions), "uar": uar(evaluation.label_ids, predictions)}


__all__ = ["classification_report", "compute_metrics", "uar", "war"]
