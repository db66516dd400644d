"""Cutting a validation split from the training clips: stratified, seeded, and by whole groups where there are any."""

from collections.abc import Hashable, Sequence

import numpy as np

_ATTEMPTS = 32


def held_out(
    keys: Sequence[str],
    labels: Sequence[str],
    fraction: float,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> np.ndarray:
    """
    Which clips to hold out; a function of the set of clips and the seed, not of the order of the list.

    Without groups, each class gives its share, rounded, and one clip at least if it has two. With groups (people,
    scenes), whole groups are held out: of 32 seeded random orders, in each of which a group is taken if it brings the
    classes closer to their shares, the best. A class may then miss its share, or be absent where all its clips lie
    in few groups.

    Args:
        keys (`Sequence[str]`): a unique name for each clip.
        labels (`Sequence[str]`): its class.
        fraction (`float`): share to hold out, between 0 and 1.
        seed (`int`): non-negative seed.
        groups (`Sequence`, *optional*): the group of each clip.

    Returns:
        `np.ndarray` of shape `(num_clips,)`, bool: `True` for the clips held out.

    Raises:
        ValueError: if there are fewer than two groups, or no class has two clips.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(np.asarray(keys, dtype=str))
    classes, label_ids = np.unique(np.asarray(labels, dtype=str)[order], return_inverse=True)
    if groups is None:
        chosen = _by_class(label_ids, len(classes), fraction, rng)
    else:
        _, group_ids = np.unique(np.asarray([str(group) for group in groups])[order], return_inverse=True)
        counts = np.zeros((group_ids.max() + 1, len(classes)))  # (num_groups, num_classes)
        np.add.at(counts, (group_ids, label_ids), 1)
        chosen = _by_group(counts, fraction, rng)[group_ids]
    if not chosen.any():
        raise ValueError("No class has two clips: too few to cut a validation split from.")
    result = np.zeros(len(order), dtype=bool)
    result[order[chosen]] = True
    return result


def _by_class(label_ids: np.ndarray, num_classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(len(label_ids), dtype=bool)
    for label in range(num_classes):
        members = rng.permutation(np.flatnonzero(label_ids == label))
        share = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen[members[:share]] = True
    return chosen


def _by_group(counts: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Groups held out, `(num_groups,)` bool, from the clips per group and class, `(num_groups, num_classes)`."""
    if len(counts) < 2:
        raise ValueError("All training clips are of one group, so none can be held out; leave the groups away.")
    target = fraction * counts.sum(axis=0)

    def distance(held: np.ndarray) -> float:
        return float((((held - target) / target) ** 2).sum())

    best, best_distance = np.zeros(len(counts), dtype=bool), np.inf
    for _ in range(_ATTEMPTS):
        chosen, held = np.zeros(len(counts), dtype=bool), np.zeros(counts.shape[1])
        for group in rng.permutation(len(counts)):
            if distance(held + counts[group]) < distance(held) or not chosen.any():
                chosen[group], held = True, held + counts[group]
        if not chosen.all() and distance(held) < best_distance:
            best, best_distance = chosen, distance(held)
    return best


__all__ = ["held_out"]
