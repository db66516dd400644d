"""Long-Tail Learning via Logit Adjustment (Menon et al., ICLR 2021), https://arxiv.org/abs/2007.07314, equation 10.

Training adds `tau * log(prior)` to the logits before the cross-entropy, so that the model itself need not learn how
frequent a class is. Tests and predictions use the logits without this term. They then do not favour frequent classes,
as UAR rewards.
"""

from collections.abc import Sequence

import torch


def class_log_priors(labels: Sequence[int], num_labels: int, weights: Sequence[float] | None = None) -> torch.Tensor:
    """
    Logarithm of the share of each class among the training clips.

    Args:
        labels (`Sequence[int]` of length N): class of each clip, 0 to `num_labels - 1`.
        num_labels (`int`): number of classes of the model.
        weights (`Sequence[float]` of length N, *optional*): how often an epoch shows each clip; by default once.

    Returns:
        `torch.Tensor` of shape `(num_labels,)`, float32.

    Raises:
        ValueError: for a class that the model lacks, and if a class has no clip: the logarithm of its share is not
            finite.
    """
    labels = torch.as_tensor(labels)
    wrong = labels[(labels < 0) | (labels >= num_labels)].unique().tolist()
    if wrong:
        raise ValueError(
            f"`labels` of the training dataset hold {wrong}, but the model has classes 0 to {num_labels - 1}; labels "
            "count from 0."
        )
    weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    counts = torch.bincount(labels, weights, minlength=num_labels)
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        raise ValueError(
            f"`logit_adjustment` needs training clips of every class, and classes {missing} have none: leave these "
            "classes out of the model, or set `logit_adjustment=0`."
        )
    return (counts / counts.sum()).log()


__all__ = ["class_log_priors"]
