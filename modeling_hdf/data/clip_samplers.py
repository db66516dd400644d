"""Samplers of training clips: balanced classes, groups of M clips of one class, or datasets by weight.

All give the order of a whole epoch for all processes. The order depends only on the seed and the epoch, so processes
need no communication. `accelerate` then gives whole batches to the processes in turn, which keeps the groups of
[`PerClassSampler`] together.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

SAMPLERS = ("random", "balanced", "per_class")


class Draw(int):
    """
    An index with the number of its earlier draws in this epoch, which gives each repetition of a clip other random
    transforms: see [`ClipDataset`].
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

    def __init__(self, seed: int = 0):
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that decides the next order; without it every pass has the same order."""
        self.epoch = epoch

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch])


class _LabelSampler(_EpochSampler):
    """A sampler whose order depends on the classes of the clips."""

    def __init__(self, labels: Sequence[int], seed: int = 0):
        super().__init__(seed)
        self.labels = np.asarray(labels)
        if self.labels.ndim != 1 or not len(self.labels):
            raise ValueError(f"Expected the labels of some clips, (N,), got shape {self.labels.shape}.")


class MixtureSampler(_EpochSampler):
    """
    Draws the clips of several datasets that lie one after the other. An epoch shows each clip of dataset `i`
    `weights[i]` times on average: with weight 0.5 another random half in each epoch, with weight 2 each clip twice.

    Args:
        sizes (`Sequence[int]`): number of clips of each dataset.
        weights (`Sequence[float]`): weight of each dataset, above 0.
        seed (`int`, *optional*, defaults to 0): seed of the order.

    Yields `sum(round(weight * size))` indices per epoch.

    Raises:
        ValueError: for a weight that is not above 0, or so small that it leaves a dataset without clips.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int = 0):
        super().__init__(seed)
        self.sizes = list(sizes)
        self.counts = [round(weight * size) for weight, size in zip(weights, sizes, strict=True)]
        if not all(weight > 0 for weight in weights) or min(self.counts) < 1:
            raise ValueError(
                f"Weights must be above 0 and leave clips of each dataset: {list(weights)} for {list(sizes)} clips."
            )

    def __len__(self) -> int:
        return sum(self.counts)

    def __iter__(self) -> Iterator[Draw]:
        generator, start, indices = self._generator(), 0, []
        for size, count in zip(self.sizes, self.counts, strict=True):
            rounds, rest = divmod(count, size)
            indices += [start + np.tile(np.arange(size), rounds), start + generator.permutation(size)[:rest]]
            start += size
        return _draws(generator.permutation(np.concatenate(indices)).tolist())


class BalancedSampler(_LabelSampler):
    """
    Draws clips with replacement. The probability of a clip is proportional to 1 / (size of its class), so all classes
    with clips are equally frequent on average.

    Args:
        labels (`Sequence[int]` of length N): class of each clip.
        seed (`int`, *optional*, defaults to 0): seed of the order.

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
    """Draws items without replacement, round after round; one draw has no repetition unless items are too few."""

    def __init__(self, items: np.ndarray, generator: np.random.Generator):
        self.items = items
        self.generator = generator
        self.rest = items[:0]

    def draw(self, count: int) -> list[int]:
        while len(self.rest) < count:
            fresh = self.generator.permutation(self.items)
            # Items left from the last round go to the end of the new round, so that one draw does not repeat them.
            is_left = np.isin(fresh, self.rest)
            self.rest = np.concatenate([self.rest, fresh[~is_left], fresh[is_left]])
        drawn, self.rest = self.rest[:count], self.rest[count:]
        return drawn.tolist()


class PerClassSampler(_LabelSampler):
    """
    Draws classes in turn, and `clips_per_class` clips of each class, so that a contrastive loss finds positives for
    rare classes too.

    All classes with clips are equally frequent. Each round over the classes has a new random order. A clip repeats
    only after all other clips of its class were drawn, and the clips of a group differ unless the class is smaller
    than the group.

    Args:
        labels (`Sequence[int]` of length N): class of each clip.
        clips_per_class (`int`): clips in a group, at least 2. The batch size must be a multiple of it, so that groups
            stay whole.
        seed (`int`, *optional*, defaults to 0): seed of the order.

    Yields N indices per epoch, rounded up to whole groups.

    Raises:
        ValueError: without labels, or for groups of fewer than 2 clips.
    """

    def __init__(self, labels: Sequence[int], clips_per_class: int, seed: int = 0):
        super().__init__(labels, seed)
        if clips_per_class < 2:
            raise ValueError(
                f"`clips_per_class` is {clips_per_class}; it must be at least 2, because a clip needs a positive."
            )
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


__all__ = ["SAMPLERS", "BalancedSampler", "Draw", "MixtureSampler", "PerClassSampler", "build_sampler"]
