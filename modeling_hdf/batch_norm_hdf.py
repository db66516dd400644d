"""Batch normalisation over the batches of all processes, with running statistics that can be left alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F


def is_plain_inference(x: torch.Tensor) -> bool:
    """Whether `x` is float32 on a CPU, without gradients, and what is done with it is neither traced nor compiled."""
    observed = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == "cpu" and x.dtype == torch.float32 and not observed


def _in_backward() -> bool:
    """Whether autograd is running a backward pass in this thread."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


class GlobalBatchNorm(nn.BatchNorm2d):
    """
    Batch normalisation of frames `(B*T, C, h, w)` over the batches of all processes together, so that two processes
    with half a batch each give what one gives with the whole. `torch.nn.SyncBatchNorm` does so on GPUs alone. In
    training, all processes must call it equally often. A momentum of 0 leaves the running statistics alone.

    A norm whose gain is not trained is frozen: in training too it takes the running statistics, and leaves them alone.
    A forward pass within a backward pass repeats one for gradient checkpointing, and leaves them alone too.

    In plain inference on a CPU it overwrites its input, the output of a convolution: new memory takes time there.

    Args:
        channels (`int`): channels C.
        start (`float`): start value of the gain.
    """

    def __init__(self, channels: int, start: float = 1.0):
        super().__init__(channels)
        self.start = start

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Frames `(B*T, C, h, w)` to the same shape."""
        if not (self.training and self.weight.requires_grad):
            if is_plain_inference(x):
                scale = self.weight * torch.rsqrt(self.running_var + self.eps)
                shift = self.bias - self.running_mean * scale
                return torch.addcmul(shift[:, None, None], x, scale[:, None, None], out=x)
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        momentum = 0.0 if _in_backward() else self.momentum
        if momentum:
            self.num_batches_tracked.add_(1)
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            return self._normalised_over_processes(x, momentum)
        statistics = self.running_mean, self.running_var
        if not momentum:  # copies: 0 times infinity is no 0
            statistics = tuple(value.clone() for value in statistics)
        return F.batch_norm(x, *statistics, self.weight, self.bias, True, momentum, self.eps)

    def _normalised_over_processes(self, x: torch.Tensor, momentum: float) -> torch.Tensor:
        from torch.distributed.nn.functional import all_reduce  # slow to import, and needed here alone

        values = x.float()
        count = values.new_full((1,), x.numel() / x.shape[1])
        sums = all_reduce(torch.cat([values.sum((0, 2, 3)), count]))  # (C + 1,)
        count = sums[-1]
        mean = sums[:-1] / count
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count  # of centred values: exact for any mean
        if momentum:
            with torch.no_grad():
                unbiased = variance * count / (count - 1).clamp(min=1)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Context in which the batch norms within `module` normalise as before, but leave their statistics alone."""
    momenta = {norm: norm.momentum for norm in module.modules() if isinstance(norm, GlobalBatchNorm)}
    try:
        for norm in momenta:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum


__all__ = ["GlobalBatchNorm", "frozen_statistics", "is_plain_inference"]
