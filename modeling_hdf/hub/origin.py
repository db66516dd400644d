"""What the weights of a model come from: datasets and checkpoints, and whether their terms bind the weights."""

from dataclasses import dataclass
from typing import Any

from ..data.arguments import PUBLISHED_DATASETS
from ..evaluation.privacy import LOCAL_PREFIX, SHIPPED_PREFIX
from ..evaluation.results import Results, start_weights_text
from .markdown import code_span, plain_text

_RENDERED = "synthetic"


@dataclass(frozen=True)
class Start:
    """A checkpoint that a training started from.

    Attributes:
        kind: `"shipped"` with this package, `"local"` (a folder of whoever trained) or `"hub"`.
        name: its name, without the prefix of its kind.
        weights: commit and checksums of its weights, see [`start_weights_text`], in Markdown.
    """

    kind: str
    name: str
    weights: str

    @classmethod
    def of(cls, training: dict[str, Any]) -> "Start":
        """From one of the `trainings` of [`Results`]."""
        base_model, weights = training["base_model"], plain_text(start_weights_text(training))
        for kind, prefix in (("shipped", SHIPPED_PREFIX), ("local", LOCAL_PREFIX)):
            if base_model.startswith(prefix):
                return cls(kind, base_model.removeprefix(prefix), weights)
        return cls("hub", base_model, weights)


@dataclass(frozen=True)
class Origin:
    """The trainings of a model, the last one first.

    Attributes:
        datasets: names of the datasets of each training.
        starts: the checkpoint that each training started from. If the last is not None, its trainings are unknown.
    """

    datasets: list[list[str]]
    starts: list[Start | None]

    @classmethod
    def of(cls, results: Results) -> "Origin":
        """From `trainings` of [`Results`]."""
        known = results.known_trainings
        starts = [None if each["base_model"] is None else Start.of(each) for each in known]
        return cls([each["dataset"].split(",") for each in known], starts)

    @property
    def names(self) -> list[str]:
        """Names of all datasets."""
        return list(dict.fromkeys(name for names in self.datasets for name in names))

    @property
    def published(self) -> list[str]:
        """Names of the datasets of others."""
        return [name for name in self.names if name in PUBLISHED_DATASETS]

    @property
    def has_rendered(self) -> bool:
        """Whether rendered faces are among the datasets."""
        return _RENDERED in self.names

    @property
    def is_rendered(self) -> bool:
        """Whether nothing but our own code and rendered faces, which are CC0, is in the weights."""
        return self.names == [_RENDERED] and self.starts[-1] is None

    @property
    def is_of_package(self) -> bool:
        """Whether every start ships with this package."""
        return all(start is None or start.kind == "shipped" for start in self.starts)

    @property
    def num_own(self) -> int:
        """Number of trainings that the publisher ran: others trained the checkpoints that they published."""
        kinds = [None if start is None else start.kind for start in self.starts]
        return kinds.index("hub") + 1 if "hub" in kinds else len(kinds)

    @property
    def is_partly_own(self) -> bool:
        """Whether videos of the publisher's own are among the datasets."""
        own = {name for names in self.datasets[: self.num_own] for name in names}
        return bool(own - set(self.published) - {_RENDERED})

    def start(self, training: int) -> str:
        """The checkpoint that a training started from, in words; its name is code in Markdown."""
        start = self.starts[training]
        name = code_span(start.name)
        if start.kind == "local":
            return f"a checkpoint of {self._whose(training)}, {name}"
        return f"{name}, which ships with `hdf-dfer`" if start.kind == "shipped" else name

    def clips(self, training: int) -> list[str]:
        """What the datasets of a training hold, in words."""
        words = {name: PUBLISHED_DATASETS[name][0] for name in self.published} | {_RENDERED: "rendered faces"}
        return [words.get(name, f"videos of {self._whose(training)}") for name in self.datasets[training]]

    def _whose(self, training: int) -> str:
        return "the publisher's own" if training < self.num_own else "its publisher"


__all__ = ["Origin", "Start"]
