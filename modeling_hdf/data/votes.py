"""Soft training targets from the votes of annotators."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F
from transformers.utils import logging

logger = logging.get_logger(__name__)

# If more than this share of the clips has no usable votes, the votes probably belong to other clips.
MAX_WITHOUT_VOTES = 0.05


def vote_targets(
    votes: Sequence[Sequence[int] | None],
    labels: Sequence[int],
    clip_ids: Sequence[str],
    names: Sequence[str],
    *,
    labels_are_votes: bool = True,
) -> torch.Tensor:
    """
    Shares of the votes for each clip, `votes / sum(votes)`.

    The target of a clip stays its class if the votes are missing, all 0 or negative, or, with `labels_are_votes`, if
    another class has more votes than the label. A warning gives the number of such clips and names a few.

    Args:
        votes (`Sequence` of length N): votes for each class, in the order of the classes, or `None`.
        labels (`Sequence[int]` of length N): classes.
        clip_ids (`Sequence[str]` of length N): names of the clips.
        names (`Sequence[str]`): names of the classes.
        labels_are_votes (`bool`, *optional*, defaults to `True`): whether the label is the class with the most votes.
            It is not where actors were asked to show the label, as in CREMA-D.

    Returns:
        `torch.Tensor` of shape `(N, len(names))`, float32; each row sums to 1.

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
        elif labels_are_votes and max(row) > row[label]:
            first = names[row.index(max(row))]
            problems.append(f"{clip_id} ({max(row)} for {first}, {row[label]} for {names[label]})")
        else:
            targets[index] = torch.tensor(row) / sum(row)
    if problems:
        count = f"{len(problems)} of {len(labels)} training clips have no votes that agree with their class"
        some = f"{', '.join(problems[:5])}{', ...' if len(problems) > 5 else ''}"
        if len(problems) > MAX_WITHOUT_VOTES * len(labels):
            raise ValueError(
                f"{count}: {some}. The votes seem to belong to other clips or columns: correct their file, or "
                "train with `vote_labels=False`."
            )
        logger.warning(f"{count}, so the class stays their target: {some}.")
    return targets


__all__ = ["vote_targets"]
