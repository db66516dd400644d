"""Targets of training from the votes of annotators: how sure they were, and what else they saw."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F
from transformers.utils import logging

logger = logging.get_logger(__name__)

# Beyond this share of clips without usable votes, the votes are taken to belong to other clips.
MAX_WITHOUT_VOTES = 0.05


def vote_targets(
    votes: Sequence[Sequence[int] | None], labels: Sequence[int], clip_ids: Sequence[str], names: Sequence[str]
) -> torch.Tensor:
    """
    Shares of the votes for each clip, `votes / sum(votes)`.

    A clip keeps its class as target where its votes are not known, all 0, negative for a class, or have another
    class ahead of its label. A warning then gives their number and names some.

    Args:
        votes (`Sequence` of length N): votes for each class, in the order of the classes, or `None`.
        labels (`Sequence[int]` of length N): classes.
        clip_ids (`Sequence[str]` of length N): names of the clips.
        names (`Sequence[str]`): names of the classes.

    Returns:
        `torch.Tensor` of shape `(N, len(names))`, float32, rows adding up to 1.

    Raises:
        ValueError: if more than 5% of the clips have no usable votes.
    """
    targets = F.one_hot(torch.as_tensor(labels), len(names)).float()
    problems = []
    for index, (row, label, clip_id) in enumerate(zip(votes, labels, clip_ids, strict=True)):
        if row is None:
            problems.append(f"{clip_id} (none)")
        elif min(row) < 0 or sum(row) == 0:
            problems.append(f"{clip_id} ({row})")
        elif max(row) > row[label]:
            first = names[row.index(max(row))]
            problems.append(f"{clip_id} ({max(row)} for {first}, {row[label]} for {names[label]})")
        else:
            targets[index] = torch.tensor(row) / sum(row)
    if problems:
        count = f"{len(problems)} of {len(labels)} training clips have no votes that agree with their class"
        some = f"{', '.join(problems[:5])}{', ...' if len(problems) > 5 else ''}"
        if len(problems) > MAX_WITHOUT_VOTES * len(labels):
            raise ValueError(
                f"{count}: {some}. The votes seem to belong to other clips or columns: correct annotation.xlsx, or "
                "train with `vote_labels=False`."
            )
        logger.warning(f"{count}, which stays their target: {some}.")
    return targets


__all__ = ["vote_targets"]
