"""Exchange between processes that train together: gathered batches with gradients, and shared decisions."""

import pickle
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import distributed

_T = TypeVar("_T")


def num_processes() -> int:
    """Processes that train together; 1 outside `torch.distributed`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first_process() -> bool:
    """Whether this is process 0, or the only one: the one that prints."""
    return num_processes() == 1 or distributed.get_rank() == 0


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

    Every process must compute the same loss from the result. The gradient of `rows` is then the gradient of the sum of
    these equal losses. Data-parallel training averages it over processes, which gives the gradient of one loss.

    Args:
        rows (`torch.Tensor` of shape `(N, ...)`): of the same shape and dtype in every process.

    Returns:
        `torch.Tensor` of shape `(num_processes * N, ...)`.
    """
    return rows if num_processes() == 1 else _GatherRows.apply(rows.contiguous())


def decided_by_first(decide: Callable[[], _T]) -> _T:
    """
    Calls `decide` in process 0 only, and returns its result in every process. If it raises an error, every process
    raises that error; an error that cannot be sent becomes a `RuntimeError` with its type and text.
    """
    value, error = None, None
    if is_first_process():
        try:
            value = decide()
        except Exception as raised:  # every error, or the other processes would wait for ever
            error = raised
    if num_processes() > 1:
        shared = [value, None if error is None else _sendable(error)]
        distributed.broadcast_object_list(shared, src=0)
        if distributed.get_rank() != 0:
            value, error = shared
    if error is not None:
        raise error
    return value


def _sendable(error: Exception) -> Exception:
    """The error itself, or a `RuntimeError` with its type and text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the error's own class raises
        return RuntimeError(f"Process 0 raised {type(error).__name__}: {error}")
    return error


def gather_objects(value: _T) -> list[_T]:
    """The `value` of every process, in the order of their ranks, in every process."""
    gathered = [value] * num_processes()
    if num_processes() > 1:
        distributed.all_gather_object(gathered, value)
    return gathered


__all__ = ["decided_by_first", "gather_objects", "gather_rows", "is_first_process", "num_processes"]
