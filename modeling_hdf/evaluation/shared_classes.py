"""Evaluation across datasets: the classes that a model and a dataset have in common, matched by name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np

from ..data.builders.labels import class_meaning


@dataclass(frozen=True)
class SharedClasses:
    """
    The classes that a model shares with a dataset whose classes or order may differ.

    Classes are matched by name, never by number. Case, extra spaces and forms of accents are ignored, and all common
    names of an expression match (`"Happy"` is `"happiness"`). Clips of a class that the model lacks are left out and
    counted. The probabilities of the shared classes are rescaled to sum to 1.

    Args:
        model_names (`list[str]`): classes of the model, in order.
        dataset_names (`list[str]`): classes of the dataset, in order.

    Raises:
        ValueError: if fewer than two classes are shared.
    """

    model_names: list[str]
    dataset_names: list[str]

    def __post_init__(self):
        if len(self.names) < 2:
            raise ValueError(
                f"The model and the dataset have {len(self.names)} classes in common by name, too few to evaluate. "
                f"The model has {', '.join(self.model_names)}; the dataset has {', '.join(self.dataset_names)}."
            )

    @cached_property
    def names(self) -> list[str]:
        """The shared classes, with the names and the order of the model."""
        known = {class_meaning(name) for name in self.dataset_names}
        return [name for name in self.model_names if class_meaning(name) in known]

    @property
    def only_in_model(self) -> list[str]:
        """Classes of the model that the dataset lacks."""
        return [name for name in self.model_names if name not in self.names]

    @cached_property
    def numbers(self) -> list[int | None]:
        """For each class of the dataset its number in `names`; None if the model lacks it."""
        known = {class_meaning(name): number for number, name in enumerate(self.names)}
        return [known.get(class_meaning(name)) for name in self.dataset_names]

    def described(self, left_out: dict[str, int] | None = None) -> dict | None:
        """The entry `across_datasets` of [`Results`], with the number of clips left out by class; `None` if model and
        dataset have the same classes."""
        if len(self.names) == len(self.dataset_names) == len(self.model_names):
            return None
        return {"shared": self.names, "only_in_model": self.only_in_model, "left_out": left_out or {}}

    def select(self, rows: datasets.Dataset) -> tuple[datasets.Dataset, dict[str, int]]:
        """
        The rows of shared classes, and the number of clips of each class that is left out.

        Raises:
            ValueError: if no row is left.
        """
        kept, left_out = self.split(rows["label"][:])
        return (rows.select(kept) if left_out else rows), left_out

    def split(self, labels: Sequence[int]) -> tuple[list[int], dict[str, int]]:
        """
        The places of the labels of shared classes, and how many labels of each other class there are.

        Args:
            labels (`Sequence[int]`): classes of the dataset, by number.

        Raises:
            ValueError: if no place is left.
        """
        kept = [index for index, label in enumerate(labels) if self.numbers[label] is not None]
        if not kept:
            raise ValueError(f"None of the {len(labels)} clips shows a class of the model: {', '.join(self.names)}.")
        return kept, dict(Counter(self.dataset_names[label] for label in labels if self.numbers[label] is None))

    def restrict(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities `(N, model classes)` to probabilities of the shared classes, `(N, len(names))`."""
        shared = probabilities[:, [self.model_names.index(name) for name in self.names]]
        return shared / shared.sum(1, keepdims=True) if self.only_in_model else shared


__all__ = ["SharedClasses"]
