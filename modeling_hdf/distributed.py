"""The batch over all processes, with gradient, for losses that compare its samples."""

import torch
from torch import distributed


def num_processes() -> int:
    """Processes that train together; 1 outside `torch.distributed`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: torch.Tensor) -> torch.Tensor:
        gathered = [torch.empty_like(rows) for _ in range(num_processes())]
        distributed.all_gather(gathered, rows)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        # The loss, hence this gradient, is the same in every process: their sum needs no communication.
        return gradient.chunk(num_processes())[distributed.get_rank()] * num_processes()


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """
    The rows of all processes, in the order of their ranks; in a single process `rows` itself.

    Every process has to compute the same loss from the result. The gradient of `rows` is then that of the sum of
    these losses, and its mean over processes, which data-parallel training takes, that of the one loss.

    Args:
        rows (`torch.Tensor` of shape `(N, ...)`): of the same shape and dtype in every process.

    Returns:
        `torch.Tensor` of shape `(num_processes * N, ...)`.
    """
    return rows if num_processes() == 1 else _GatherRows.apply(rows.contiguous())


__all__ = ["gather_rows", "num_processes"]
