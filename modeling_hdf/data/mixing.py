"""Mixup and cutmix of clips, together with a contrastive loss.

Mixup (https://arxiv.org/abs/1710.09412) blends two clips. Cutmix (https://arxiv.org/abs/1905.04899) copies a rectangle
of one clip into all frames of another. The target is the mixture of the two classes. A mixed clip has no single class,
so a contrastive loss cannot use it. Therefore only a share of each batch is mixed:

- cross-entropy uses all clips, with soft targets;
- the contrastive loss and the information bottleneck use only the unmixed clips.

The unmixed clips come first in the batch, so the groups of [`PerClassSampler`] stay whole. One forward pass computes
all clips. Without DSM the share may be 1, which is the usual mixup.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F


class ClipMixing:
    """
    Mixes the last clips of a batch with other clips of the batch.

    Args:
        num_labels (`int`): number of classes.
        mixup_alpha (`float`, *optional*, defaults to 0.0): mixup blends by `lambda ~ Beta(alpha, alpha)`; 0 is off.
        cutmix_alpha (`float`, *optional*, defaults to 0.0): cutmix keeps a share `lambda ~ Beta(alpha, alpha)` of the
            area; 0 is off. If both are on, each clip uses mixup or cutmix with probability 1/2.
        share (`float`, *optional*, defaults to 0.5): share of the batch to mix, rounded down to whole clips; above 0,
            at most 1. DSM needs unmixed clips.

    Each clip has its own partner, lambda and rectangle, the same for all frames of the clip.

    Raises:
        ValueError: for values out of range, or both methods off.
    """

    def __init__(self, num_labels: int, *, mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0, share: float = 0.5):
        for name, value in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
            if value < 0:
                raise ValueError(f"`{name}` is {value}; it must be 0 (off) or above.")
        if mixup_alpha == cutmix_alpha == 0:
            raise ValueError("Neither mixup nor cutmix is on: set `mixup_alpha` or `cutmix_alpha` above 0.")
        if not 0 < share <= 1:
            raise ValueError(f"`share` is {share}; it must be above 0 and at most 1.")
        self.num_labels = num_labels
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.share = share

    def __call__(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor,
        seed: Sequence[int],
        soft_labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(B, num_frames, 3, height, width)`): normalised clips.
            labels (`torch.LongTensor` of shape `(B,)`): their classes.
            seed (`Sequence[int]`): seed of all random choices.
            soft_labels (`torch.Tensor` of shape `(B, num_labels)`, *optional*): targets to mix instead of the classes,
                such as shares of votes; each row sums to 1.

        Returns:
            `dict`: `pixel_values` with the last `share * B` clips mixed, `soft_labels` `(B, num_labels)` float32 with
            rows that sum to 1, and `is_mixed` `(B,)` bool. A batch of one clip stays unchanged.
        """
        generator = np.random.default_rng(seed)
        batch_size = len(labels)
        first = batch_size - int(self.share * batch_size) if batch_size > 1 else batch_size
        if soft_labels is None:
            soft_labels = F.one_hot(labels, self.num_labels).float()
        mixed, mixed_labels = pixel_values.clone(), soft_labels.clone()
        for index in range(first, batch_size):
            partner = (index + int(generator.integers(1, batch_size))) % batch_size  # any other clip
            kept = self._mix(mixed[index], pixel_values[partner], generator)
            mixed_labels[index] = kept * soft_labels[index] + (1 - kept) * soft_labels[partner]
        return {"pixel_values": mixed, "soft_labels": mixed_labels, "is_mixed": torch.arange(batch_size) >= first}

    def _mix(self, clip: torch.Tensor, other: torch.Tensor, generator: np.random.Generator) -> float:
        """Mixes `other` into `clip` in place, both `(num_frames, 3, height, width)`; returns the share of `clip`."""
        if self.mixup_alpha == 0 or (self.cutmix_alpha > 0 and generator.random() < 0.5):
            height, width = clip.shape[-2:]
            edge = np.sqrt(1 - generator.beta(self.cutmix_alpha, self.cutmix_alpha))
            top, bottom = _interval(generator.random(), edge, height)
            left, right = _interval(generator.random(), edge, width)
            clip[..., top:bottom, left:right] = other[..., top:bottom, left:right]
            return 1 - (bottom - top) * (right - left) / (height * width)
        kept = float(generator.beta(self.mixup_alpha, self.mixup_alpha))
        clip.mul_(kept).add_(other, alpha=1 - kept)
        return kept


def _interval(centre: float, length: float, size: int) -> tuple[int, int]:
    """Pixels of an interval whose centre and length are shares of `size`, cut off at the border."""
    low, high = round((centre - length / 2) * size), round((centre + length / 2) * size)
    return max(low, 0), min(high, size)


__all__ = ["ClipMixing"]
