"""Samplers of training clips for imbalanced classes: class-balanced, and M clips per class drawn.

Both give the order of a whole epoch for all processes: a function of the seed and the epoch alone, so that processes
agree without talking. `accelerate` then gives whole batches to the processes in turn, which keeps the groups of
[`PerClassSampler`] together.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

SAMPLERS = ("random", "balanced", "per_class")


class Draw(int):
    """
    An index with the number of times it came up before in this epoch, so that the random transforms of a repeated
    clip differ: see [`ClipDataset`].
    """

    occurrence: int = 0


def _draws(indices: Iterable[int]) -> Iterator[Draw]:
    counts: Counter[int] = Counter()
    for index in indices:
        draw = Draw(index)
        draw.occurrence = counts[index]
        counts[index] += 1
        yield draw


class _EpochSampler(Sampler[int]):
    """A sampler whose order depends on the seed and the epoch."""

    def __init__(self, labels: Sequence[int], seed: int = 0):
        self.labels = np.asarray(labels)
        if self.labels.ndim != 1 or not len(self.labels):
            raise ValueError(f"Expected the labels of some clips, (N,), got shape {self.labels.shape}.")
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass; without it every pass has the same one."""
        self.epoch = epoch

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch])


class BalancedSampler(_EpochSampler):
    """
    Draws clips with replacement, each with a probability of one over the size of its class, so that the classes
    present come up equally often on average.

    Args:
        labels (`Sequence[int]` of length N): class of each clip.
        seed (`int`, *optional*, defaults to 0): of the order.

    Yields N indices per epoch. Raises a `ValueError` without labels.
    """

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Draw]:
        _, inverse, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        probabilities = 1 / (len(counts) * counts[inverse])
        indices = self._generator().choice(len(self.labels), size=len(self.labels), p=probabilities)
        return _draws(indices.tolist())


class _Rounds:
    """Draws without replacement, round after round; what is drawn at once differs, unless there is too little."""

    def __init__(self, items: np.ndarray, generator: np.random.Generator):
        self.items = items
        self.generator = generator
        self.rest = items[:0]

    def draw(self, count: int) -> list[int]:
        while len(self.rest) < count:
            fresh = self.generator.permutation(self.items)
            # What is left of the last round comes last, or it might be drawn twice at once.
            is_left = np.isin(fresh, self.rest)
            self.rest = np.concatenate([self.rest, fresh[~is_left], fresh[is_left]])
        drawn, self.rest = self.rest[:count], self.rest[count:]
        return drawn.tolist()


class PerClassSampler(_EpochSampler):
    """
    Draws classes in turn, and `clips_per_class` clips of each: a contrastive loss then finds positives for every
    class, the rare ones too.

    Every class present comes up equally often, in an order shuffled for each round over the classes. No clip of a
    class comes again before all others of it have, and the clips of one group differ unless the class is smaller than
    the group.

    Args:
        labels (`Sequence[int]` of length N): class of each clip.
        clips_per_class (`int`): clips in a group, at least 2. The batch size must be a multiple of it, or a group
            would be cut in two.
        seed (`int`, *optional*, defaults to 0): of the order.

    Yields N indices per epoch, rounded up to whole groups.

    Raises:
        ValueError: without labels, or for groups of less than 2.
    """

    def __init__(self, labels: Sequence[int], clips_per_class: int, seed: int = 0):
        super().__init__(labels, seed)
        if clips_per_class < 2:
            raise ValueError(f"`clips_per_class` is {clips_per_class}; a clip needs a partner: at least 2.")
        self.clips_per_class = clips_per_class

    def __len__(self) -> int:
        return -(-len(self.labels) // self.clips_per_class) * self.clips_per_class

    def __iter__(self) -> Iterator[Draw]:
        generator = self._generator()
        classes = _Rounds(np.unique(self.labels), generator)
        clips = {label: _Rounds(np.flatnonzero(self.labels == label), generator) for label in classes.items.tolist()}
        groups = (
            clips[classes.draw(1)[0]].draw(self.clips_per_class)
            for _ in range(0, len(self.labels), self.clips_per_class)
        )
        return _draws(index for group in groups for index in group)


def build_sampler(name: str, labels: Sequence[int], clips_per_class: int, seed: int) -> Sampler[int]:
    """The sampler `"balanced"` or `"per_class"`; raises a `ValueError` for another name."""
    if name == "balanced":
        return BalancedSampler(labels, seed)
    if name == "per_class":
        return PerClassSampler(labels, clips_per_class, seed)
    raise ValueError(f"`sampler` is {name!r}; choose one of {SAMPLERS}.")


__all__ = ["SAMPLERS", "BalancedSampler", "Draw", "PerClassSampler", "build_sampler"]
