"""Several datasets in one training: their classes united by name, and their clips one after the other."""

import bisect
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import datasets
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from .builders.labels import MAFW_EXPRESSIONS, class_meaning
from .clip_samplers import Draw, MixtureSampler
from .clips import ClipDataset


def united_classes(names: Mapping[str, Sequence[str]]) -> list[str]:
    """
    The classes of several datasets, matched by name: expressions under our names and in our order, then all others as
    they are written first.

    Args:
        names (`Mapping[str, Sequence[str]]`): classes of each dataset.

    Raises:
        ValueError: if two classes of a dataset have the same meaning, or if a dataset shares no class with the others.
    """
    for dataset, own in names.items():
        twice = [name for name, count in Counter(map(class_meaning, own)).items() if count > 1]
        if twice:
            same = ", ".join(repr(name) for name in own if class_meaning(name) == twice[0])
            raise ValueError(f"{dataset} has the classes {same}, which are one class in a mixture: {twice[0]}.")
    for dataset, own in names.items():
        others = {class_meaning(name) for other, theirs in names.items() if other != dataset for name in theirs}
        if others and others.isdisjoint(map(class_meaning, own)):
            raise ValueError(
                f"The classes of {dataset} ({', '.join(own)}) cannot be united with those of the other datasets "
                f"({', '.join(sorted(others))}): no name is the same. Name them alike, or train on them apart."
            )
    written: dict[str, str] = {}
    for name in itertools.chain.from_iterable(names.values()):
        written.setdefault(class_meaning(name), name)
    ours = [name for name in MAFW_EXPRESSIONS if name in written]
    return ours + [name for meaning, name in written.items() if meaning not in MAFW_EXPRESSIONS]


def with_classes(splits: Mapping[str, datasets.Dataset], names: Sequence[str]) -> dict[str, datasets.Dataset]:
    """
    The splits of a dataset with labels, and votes if there are any, in other classes.

    Args:
        splits (`Mapping[str, Dataset]`): result of a builder of [`modeling_hdf.data`].
        names (`Sequence[str]`): result of [`united_classes`]: all classes of the dataset, and maybe others.
    """
    return {split: _with_classes(rows, list(names)) for split, rows in splits.items()}


def _with_classes(rows: datasets.Dataset, names: list[str]) -> datasets.Dataset:
    own = rows.features["label"].names
    if own == names:
        return rows
    meanings = [class_meaning(name) for name in names]
    numbers = [meanings.index(class_meaning(name)) for name in own]
    labels = [numbers[label] for label in rows["label"][:]]
    changed = rows.remove_columns("label").add_column("label", labels, feature=datasets.ClassLabel(names=names))
    if "votes" not in rows.column_names:
        return changed
    votes = [None if row is None else _spread(row, numbers, len(names)) for row in rows["votes"][:]]
    return changed.remove_columns("votes").add_column("votes", votes, feature=rows.features["votes"])


def _spread(votes: Sequence[int], numbers: Sequence[int], num_labels: int) -> list[int]:
    spread = [0] * num_labels
    for number, count in zip(numbers, votes, strict=True):
        spread[number] = count
    return spread


class MixedClips(Dataset):
    """
    The clips of several datasets one after the other, each with its own sampling of frames and augmentation.

    Args:
        parts (`Sequence[ClipDataset]`): the datasets, with labels of the same classes. If one has soft labels, the
            classes become the soft labels of the others.
        weights (`Sequence[float]`, *optional*): how often an epoch of [`~MixedClips.sampler`] shows each clip of a
            dataset, on average; by default once.

    Raises:
        ValueError: as [`MixtureSampler`], for weights; for a dataset with `skip_unreadable`, whose black clips a
            mixture would not tell from others.
    """

    def __init__(self, parts: Sequence[ClipDataset], weights: Sequence[float] | None = None):
        self.parts = list(parts)
        if any(part.skip_unreadable for part in self.parts):
            raise ValueError("A mixture takes no dataset with `skip_unreadable`: evaluate each dataset on its own.")
        self.weights = [1.0] * len(self.parts) if weights is None else list(weights)
        self.sampler(seed=0)  # checks the weights
        self._ends = list(itertools.accumulate(map(len, self.parts)))
        soft = next((part.soft_labels for part in self.parts if part.soft_labels is not None), None)
        for part in self.parts:
            if soft is not None and part.soft_labels is None:
                part.soft_labels = F.one_hot(torch.as_tensor(part.labels), soft.shape[1]).float()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict:
        number = bisect.bisect_right(self._ends, index)
        own = Draw(index - (self._ends[number - 1] if number else 0))
        own.occurrence = index.occurrence if isinstance(index, Draw) else 0
        return self.parts[number][own]

    @property
    def labels(self) -> list[int]:
        """Class of each clip, without decoding."""
        return [label for part in self.parts for label in part.labels]

    @property
    def is_weighted(self) -> bool:
        """Whether an epoch shows some clips more often than others."""
        return any(weight != 1 for weight in self.weights)

    @property
    def clip_weights(self) -> list[float]:
        """How often an epoch shows each clip, on average."""
        return [weight for weight, part in zip(self.weights, self.parts, strict=True) for _ in range(len(part))]

    @property
    def cache(self) -> dict | None:
        """The decoded clips of a dataset that keeps them; `None` if none does."""
        return next((part.cache for part in self.parts if part.cache is not None), None)

    def sampler(self, seed: int) -> MixtureSampler:
        """The sampler of the weights."""
        return MixtureSampler([len(part) for part in self.parts], self.weights, seed)

    def set_epoch(self, epoch: int) -> None:
        """See [`ClipDataset.set_epoch`]."""
        for part in self.parts:
            part.set_epoch(epoch)


__all__ = ["MixedClips", "united_classes", "with_classes"]
