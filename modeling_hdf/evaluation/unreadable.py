"""Clips that could not be read during an evaluation: they are named, and no result counts them."""

from ..data.clips import ClipDataset
from ..training.distributed import decided_by_first, gather_objects


def unreadable_clips(clips: ClipDataset) -> dict[int, str]:
    """
    The clips that an evaluation could not read. Every process of the evaluation must call this function.

    Args:
        clips ([`ClipDataset`]): a dataset with `skip_unreadable` that the processes have read completely.

    Returns:
        `dict[int, str]`: error message by index, in order; the same in every process.

    Raises:
        ValueError: if no clip could be read.
    """
    marked = sorted(set().union(*gather_objects(clips.unreadable)))
    messages = decided_by_first(lambda: {index: clips.why_unreadable(index) for index in marked})
    if len(marked) == len(clips):
        raise ValueError(f"None of the {len(clips)} clips can be read; the first: {messages[marked[0]]}")
    return messages


__all__ = ["unreadable_clips"]
