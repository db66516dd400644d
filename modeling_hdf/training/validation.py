"""WAR and UAR on validation clips; training selects its best epoch by them."""

import numpy as np
import torch
from sklearn.metrics import accuracy_score, recall_score
from transformers import EvalPrediction


def war(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Weighted average recall of classes `(N,)`, which is the accuracy; between 0 and 1."""
    return float(accuracy_score(labels, predictions))


def uar(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Unweighted average recall: the mean of the recalls of the classes present in `labels` `(N,)`; 0 to 1."""
    return float(recall_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0.0))


class ValidationMetrics:
    """
    WAR and UAR, as `compute_metrics` of a [`~transformers.Trainer`].

    Takes logits `(N, num_labels)` and labels `(N,)` of all clips: as arrays, as lists of batches
    (`eval_do_concat_batches=False`), or batch by batch (`batch_eval_metrics=True`).
    """

    def __init__(self):
        self._labels: list[np.ndarray] = []
        self._predictions: list[np.ndarray] = []

    def __call__(self, evaluation: EvalPrediction, compute_result: bool = True) -> dict[str, float]:
        """
        Args:
            evaluation (`EvalPrediction`): logits and labels, as above.
            compute_result (`bool`): `False` for every batch but the last.

        Returns:
            `dict[str, float]`: `"war"` and `"uar"` of all clips since the last result; empty before the last batch.
        """
        logits, labels = evaluation.predictions, evaluation.label_ids
        batches = zip(logits, labels, strict=True) if isinstance(logits, list) else [(logits, labels)]
        for scores, classes in batches:
            self._predictions.append(torch.as_tensor(scores).argmax(-1).cpu().numpy())
            self._labels.append(torch.as_tensor(classes).cpu().numpy())
        if not compute_result:
            return {}
        labels, predictions = np.concatenate(self._labels), np.concatenate(self._predictions)
        self.reset()
        return {"war": war(labels, predictions), "uar": uar(labels, predictions)}

    def reset(self) -> None:
        """Discards the batches of an unfinished evaluation."""
        self._labels, self._predictions = [], []


__all__ = ["ValidationMetrics", "uar", "war"]
