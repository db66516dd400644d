"""Batch normalisation over the batches of all processes, with running statistics that can be left alone."""

import torch
from torch import nn
from torch.nn import functional as F


class GlobalBatchNorm(nn.BatchNorm2d):
    """
    Batch normalisation of frames `(B*T, C, h, w)` over the batches of all processes together, so that two processes
    with half a batch each give what one gives with the whole. A momentum of 0 leaves the running statistics alone.

    Args:
        channels (`int`): channels C.
        start (`float`): start value of the gain.
    """

    def __init__(self, channels: int, start: float = 1.0):
        super().__init__(channels)
        self.start = start

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return self._normalised_over_processes(x)
        if not self.momentum:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        self.num_batches_tracked.add_(1)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps
        )

    def _normalised_over_processes(self, x: torch.Tensor) -> torch.Tensor:
        import torch.distributed.nn.functional as distributed  # slow to import, and needed here alone

        values = x.float()
        sums = torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])  # (2, C)
        count = values.new_full((1, x.shape[1]), x.numel() / x.shape[1])
        total, squares, count = distributed.all_reduce(torch.cat([sums, count]))
        mean = total / count
        variance = squares / count - mean.square()
        if self.momentum:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                unbiased = variance * count / (count - 1)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (values * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


class frozen_statistics:
    """Context in which batch norms normalise as before but leave their running statistics alone."""

    def __init__(self, module: nn.Module):
        self.norms = [norm for norm in module.modules() if isinstance(norm, GlobalBatchNorm)]

    def __enter__(self) -> None:
        self.momenta = [norm.momentum for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0

    def __exit__(self, *_) -> None:
        for norm, momentum in zip(self.norms, self.momenta, strict=True):
            norm.momentum = momentum


__all__ = ["GlobalBatchNorm", "frozen_statistics"]
