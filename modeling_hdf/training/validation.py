"""WAR and UAR, by which training selects its best epoch."""

import numpy as np
from sklearn.metrics import accuracy_score, recall_score
from transformers import EvalPrediction


def war(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Weighted average recall of classes `(N,)`, which is the accuracy; between 0 and 1."""
    return float(accuracy_score(labels, predictions))


def uar(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Unweighted average recall: the mean of the recalls of the classes present in `labels` `(N,)`; 0 to 1."""
    return float(recall_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0.0))


def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
    """WAR and UAR for a [`~transformers.Trainer`]: logits `(N, num_labels)` and labels `(N,)`."""
    predictions = np.argmax(evaluation.predictions, axis=-1)
    return {"war": war(evaluation.label_ids, predictions), "uar": uar(evaluation.label_ids, predictions)}


__all__ = ["compute_metrics", "uar", "war"]
