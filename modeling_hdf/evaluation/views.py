"""Test-time views: the probabilities of several temporal views of each clip, averaged."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..data.clips import ClipDataset

if TYPE_CHECKING:
    from transformers import Trainer


def average_views(logits: Sequence[np.ndarray]) -> np.ndarray:
    """
    Mean of the class probabilities of several views.

    Args:
        logits (`Sequence[np.ndarray]`): scores of each view, of shape `(N, num_labels)`.

    Returns:
        `np.ndarray` of shape `(N, num_labels)`: probabilities; each row sums to 1.

    Raises:
        ValueError: without views.
    """
    if not len(logits):
        raise ValueError("There is no view to average.")
    return torch.stack([torch.as_tensor(view).double().softmax(-1) for view in logits]).mean(0).numpy()


def predict_views(trainer: "Trainer", clips: ClipDataset, num_views: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """
    Classifies each clip from `num_views` temporal views, with one deterministic pass over the dataset per view.
    The results of clips that [`unreadable_clips`] names afterwards are invalid.

    Args:
        trainer (`Trainer`): holds the model and the collator; several processes share the work.
        clips ([`ClipDataset`]): not for training; see [`TemporalSampling.view`] for the views.
        num_views (`int`, *optional*, defaults to 1): 1 is plain prediction.

    Returns:
        Probabilities `(N, num_labels)` and labels `(N,)`, in the order of the dataset.

    Raises:
        ValueError: for fewer than one view.
    """
    if num_views < 1:
        raise ValueError(f"`num_views` is {num_views}; it must be at least 1.")
    outputs = [trainer.predict(clips.with_view(number, num_views)) for number in range(num_views)]
    logits = [_joined(output.predictions) for output in outputs]
    return average_views(logits), _joined(outputs[0].label_ids)


def _joined(batches: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """All rows: with `eval_do_concat_batches=False` the Trainer gives a list of batches."""
    return np.concatenate(batches) if isinstance(batches, list) else batches


__all__ = ["average_views", "predict_views"]
