"""A queue of earlier features, so that clips of rare classes have positives in the contrastive loss.

Source: "Momentum Contrast for Unsupervised Visual Representation Learning" (https://arxiv.org/abs/1911.05722), without
its second encoder.
"""

import torch
from torch import nn


class FeatureQueue(nn.Module):
    """
    The last `size` features with their classes, first in, first out. Its state dict holds all of it.

    Args:
        size (`int`): features kept, at least 1.
        num_channels (`int`): channels of a feature.
    """

    def __init__(self, size: int, num_channels: int):
        super().__init__()
        self.register_buffer("features", torch.zeros(size, num_channels))
        self.register_buffer("labels", torch.full((size,), -1))  # -1: no feature yet

    @torch.no_grad()
    def push(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """
        Puts features in, and the oldest out; features that are not finite stay out.

        Args:
            features (`torch.Tensor` of shape `(N, C)`): the last row counts as the newest.
            labels (`torch.LongTensor` of shape `(N,)`): their classes.
        """
        finite = features.isfinite().all(1)
        size = len(self.labels)
        self.features.copy_(torch.cat([self.features, features[finite].to(self.features)])[-size:])
        self.labels.copy_(torch.cat([self.labels, labels[finite]])[-size:])

    def entries(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Features `(Q, C)` and classes `(Q,)`, the oldest first; Q is below `size` until the queue is full."""
        filled = self.labels >= 0
        return self.features[filled], self.labels[filled]

    def clear(self) -> None:
        self.labels.fill_(-1)


__all__ = ["FeatureQueue"]
