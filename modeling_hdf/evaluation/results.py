"""The results of one evaluation: the schema of `metrics.json`, with its reader, writer and checks."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..data.files import read_json, write_json
from . import schema

METRICS = "metrics.json"
_AGAIN = "evaluate the model again with `hdf evaluate --output`"

_INTERVALS = schema.record(war=schema.or_null(schema.interval), uar=schema.or_null(schema.interval))
_GROUP = schema.record(
    num_clips=schema.positive_count, war=schema.share, uar=schema.share, intervals=schema.or_null(_INTERVALS)
)
# What a record tells of the clips that a training has seen.
OF_A_TRAINING: dict[str, schema.Check] = {
    "fold": schema.positive_count,
    "peer_protocol": schema.flag,
    "dataset_overrides": schema.json_object,
    "cut_splits": schema.each(schema.each(schema.text)),
}
# What it tells of the weights that the training started from.
_OF_A_START = {"base_model_sha256": schema.each(schema.text), "base_model_revision": schema.text}
_BINS = schema.list_of(schema.or_null(schema.share))
_CHECKS: dict[str, schema.Check] = {
    "base_model": schema.text,
    "trainings": schema.list_of(
        schema.record(OF_A_TRAINING | _OF_A_START, base_model=schema.or_null(schema.text), dataset=schema.text)
    ),
    "model": schema.text,
    "model_revision": schema.text,
    "dataset": schema.text,
    **OF_A_TRAINING,
    "temporal_sampling": schema.text,
    "sampling_stride": schema.positive_count,
    "num_views": schema.positive_count,
    "split": schema.one_of("train", "validation", "test", "all"),
    "may_hold_training_clips": schema.flag,
    "calibration_temperature": schema.positive,
    "war": schema.share,
    "uar": schema.share,
    "macro_f1": schema.share,
    "num_clips": schema.positive_count,
    "unreadable": schema.list_of(schema.record(clip_id=schema.text, message=schema.text)),
    "recall": schema.each(schema.or_null(schema.share)),
    "confusion_matrix": schema.list_of(schema.list_of(schema.count)),
    "ece": schema.share,
    "reliability": schema.record(num_clips=schema.list_of(schema.count), confidence=_BINS, accuracy=_BINS),
    "intervals": schema.record(
        **{name: schema.or_null(schema.interval) for name in ("war", "uar", "macro_f1", "ece")},
        recall=schema.each(schema.or_null(schema.interval)),
    ),
    "bootstrap": schema.record(
        unit=schema.text,
        num_units=schema.positive_count,
        level=schema.share,
        num_resamples=schema.positive_count,
        seed=schema.whole,
    ),
    "groups": schema.each(schema.record(worst=schema.or_null(schema.text), groups=schema.each(_GROUP))),
    "across_datasets": schema.record(
        shared=schema.list_of(schema.text),
        only_in_model=schema.list_of(schema.text),
        left_out=schema.each(schema.positive_count),
    ),
    "controls": schema.each(schema.share),
    "gate_liveness": schema.record(
        num_clips=schema.positive_count, layers=schema.each(schema.each(schema.not_negative)), flipped=schema.share
    ),
    "seed": schema.whole,
    "environment": schema.each(schema.must_be("a text or a whole number", lambda value: isinstance(value, str | int))),
    "command": schema.text,
    "card_sections": schema.each(schema.text),
    "weights_sha256": schema.each(schema.text),
}
# Fields whose null has a meaning, and is written, if the other field is known.
_NULL_IS_SAID_WITH = {
    "base_model": "seed",
    "fold": "dataset",
    "intervals": "bootstrap",
    "across_datasets": "model",
}


def evaluation_title(*, dataset: str, fold: int | None, split: str, num_views: int, peer_protocol: bool) -> str:
    """A one-line title of an evaluation. The arguments are fields of [`Results`]."""
    of_fold = "" if fold is None else f" fold {fold}"
    views = "" if num_views == 1 else f", {num_views} views"
    peers = ", PEER PROTOCOL: model selected on this split" if peer_protocol else ""
    splits = "all splits" if split == "all" else f"{split} split"
    return f"{dataset}{of_fold}, {splits}{views}{peers}"


def frames_text(temporal_sampling: str, sampling_stride: int | None, num_views: int) -> str:
    """Sampling and views in words. An unknown stride is left out."""
    is_strided = temporal_sampling == "dense" and sampling_stride is not None
    stride = f" with stride {sampling_stride}" if is_strided else ""
    return f"{temporal_sampling} sampling{stride}, {num_views} view{'s' if num_views > 1 else ''} per clip"


def start_weights_text(training: dict[str, Any]) -> str:
    """
    The weights that a training started from, in words: their commit and checksums, each by its first 12 characters.

    Args:
        training (`dict`): one of the `trainings` of [`Results`].

    Returns:
        `str`: empty if they are not recorded.
    """
    revision, digests = training.get("base_model_revision"), training.get("base_model_sha256") or {}
    commit = [] if revision is None else [f"commit {revision[:12]}"]
    return ", ".join(commit + [f"SHA-256 of {name} {digest[:12]}" for name, digest in digests.items()])


@dataclass(frozen=True, kw_only=True)
class Results:
    """
    The content of `metrics.json`. `None` stands for a field that the file lacks, as files of earlier versions do.

    The constructor checks types and ranges. Unknown fields are kept unchanged in `others`, so that files of later
    versions stay readable and notes of the publisher are not lost.

    Args:
        base_model (`str`, *optional*): checkpoint that a training run started from: `"owner/name"` on the Hub, or
            `"local:"` and the name of a folder, or `"shipped:"` and the name of a checkpoint of this package; None for
            random weights.
        trainings (`list[dict]`, *optional*): the trainings that the weights come from, the last one first: its
            `dataset` (names with commas) and its `base_model`, whose own trainings follow. If a `base_model` is last,
            its trainings are not recorded. `base_model_sha256` is the checksum of each weight file of the `base_model`
            and `base_model_revision` its commit on the Hub, as far as they are known. An earlier training may have
            `fold`, `peer_protocol`, `dataset_overrides` and `cut_splits` too, as below.
        model (`str`, *optional*): the model argument of `hdf evaluate`. Training does not write it.
        model_revision (`str`, *optional*): the commit of a model from the Hub.
        dataset (`str`, *optional*): a name of [`BUILDERS`].
        fold (`int`, *optional*): number of the fold, from 1; None for a dataset without folds.
        peer_protocol (`bool`, *optional*): whether the model was selected on the measured split.
        temporal_sampling (`str`), sampling_stride (`int`), num_views (`int`, *optional*): sampling and views; see
            [`DataArguments`].
        dataset_overrides (`dict`, *optional*): fields of the builder, without paths of this machine.
        cut_splits (`dict[str, dict[str, str]]`, *optional*): by dataset that trained the model, the splits that were
            cut from its training clips, each with a hash of its clips: [`ExpressionConfig.cut_digests`].
        split (`str`, *optional*): `"train"`, `"validation"`, `"test"` or `"all"`.
        may_hold_training_clips (`bool`, *optional*): whether the measured clips may include some that training
            learned from or selected the model on, beyond what `split` and `peer_protocol` tell.
        calibration_temperature (`float`, *optional*): the model's temperature at the measurement; above 0.
        war, uar, macro_f1 (`float`, *optional*): the metrics, 0 to 1; see [`classification_scores`].
        num_clips (`int`, *optional*): number of measured clips.
        unreadable (`list[dict]`, *optional*): `clip_id` and `message` of each clip that could not be read. No other
            field counts these clips. Empty if all clips could be read.
        recall (`dict[str, float | None]`, *optional*): by class, in the order of the classes; None without clips.
        confusion_matrix (`list[list[int]]`, *optional*): counts; rows are true, columns predicted classes.
        ece (`float`, *optional*): expected calibration error, 0 to 1.
        reliability (`dict`, *optional*): lists `num_clips`, `confidence`, `accuracy`, by bin; see [`reliability`].
        intervals (`dict`, *optional*): `[low, high]` of `war`, `uar`, `macro_f1`, `ece`, and in `recall` by class;
            None for a pair without width, or if all clips belong to one unit.
        bootstrap (`dict`, *optional*): settings of the bootstrap: `unit`, `num_units`, `level`, `num_resamples`,
            `seed`.
        groups (`dict`, *optional*): `worst` and `groups` of each factor; see [`evaluate_predictions`].
        across_datasets (`dict`, *optional*): `shared`, `only_in_model` and `left_out`, if the classes of model and
            dataset differ; see [`predict_rows`].
        controls (`dict[str, float]`, *optional*): WAR on changed clips: `first_war`, `shuffled_war`.
        gate_liveness (`dict`, *optional*): `num_clips`, `layers` and `flipped`, see [`gate_liveness`]; for a model
            with DAM.
        seed (`int`, *optional*): seed of the training.
        environment (`dict`, *optional*): versions and device; see [`environment`].
        command (`str`, *optional*): the command line.
        card_sections (`dict[str, str]`, *optional*): further sections of the model's card: Markdown by title.
        weights_sha256 (`dict[str, str]`, *optional*): checksum of each weight file of the measured model.
        others (`dict`, *optional*): unknown fields of the file.
        source (`str`, *optional*): name of the file in messages; not written.

    Raises:
        ValueError: for a field of a wrong type or out of range, and for fields that contradict each other; the message
            names the file and the field.
    """

    base_model: str | None = None
    trainings: list[dict[str, Any]] | None = None
    model: str | None = None
    model_revision: str | None = None
    dataset: str | None = None
    fold: int | None = None
    peer_protocol: bool | None = None
    temporal_sampling: str | None = None
    sampling_stride: int | None = None
    num_views: int | None = None
    dataset_overrides: dict[str, Any] | None = None
    cut_splits: dict[str, dict[str, str]] | None = None
    split: str | None = None
    may_hold_training_clips: bool | None = None
    calibration_temperature: float | None = None
    war: float | None = None
    uar: float | None = None
    macro_f1: float | None = None
    num_clips: int | None = None
    unreadable: list[dict[str, str]] | None = None
    recall: dict[str, float | None] | None = None
    confusion_matrix: list[list[int]] | None = None
    ece: float | None = None
    reliability: dict[str, list] | None = None
    intervals: dict[str, Any] | None = None
    bootstrap: dict[str, Any] | None = None
    groups: dict[str, dict] | None = None
    across_datasets: dict[str, Any] | None = None
    controls: dict[str, float] | None = None
    gate_liveness: dict[str, Any] | None = None
    seed: int | None = None
    environment: dict[str, str | int] | None = None
    command: str | None = None
    card_sections: dict[str, str] | None = None
    weights_sha256: dict[str, str] | None = None
    others: dict[str, Any] = field(default_factory=dict)
    source: str = field(default=METRICS, compare=False)

    def __post_init__(self):
        try:
            for name, check in _CHECKS.items():
                value = getattr(self, name)
                if value is not None:
                    check(value, name)
            self._check_together()
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}. Correct or restore the file, or {_AGAIN}.") from error

    def _check_together(self) -> None:
        names = None if self.recall is None else list(self.recall)
        matrix = self.confusion_matrix
        if matrix is not None:
            if any(len(row) != len(matrix) for row in matrix):
                raise ValueError(f"`confusion_matrix` is not square: {[len(row) for row in matrix]} columns")
            if names is not None and len(names) != len(matrix):
                raise ValueError(f"`recall` has {len(names)} classes, `confusion_matrix` {len(matrix)}")
            total = sum(map(sum, matrix))
            if self.num_clips is not None and total != self.num_clips:
                raise ValueError(f"`confusion_matrix` holds {total} clips, `num_clips` is {self.num_clips}")
        if self.intervals is not None and names is not None and list(self.intervals["recall"]) != names:
            raise ValueError("the classes of `intervals.recall` and `recall` differ, or their order does")
        if self.reliability is not None and len(set(map(len, self.reliability.values()))) > 1:
            raise ValueError("the lists of `reliability` differ in length")
        for name, factor in (self.groups or {}).items():
            if factor["worst"] is not None and factor["worst"] not in factor["groups"]:
                raise ValueError(f"`groups.{name}.worst` is {factor['worst']!r}, which is not one of its groups")

    @classmethod
    def from_dict(cls, content: dict[str, Any], source: str | os.PathLike = METRICS) -> "Results":
        """
        Makes results from the content of a file.

        Args:
            content (`dict`): content of `metrics.json`.
            source (`str` or `Path`, *optional*): the file, for messages.

        Raises:
            ValueError: as the constructor, and if the file has `dataset` but not `fold`, or the `seed` of a training
                but not `base_model`. A null in these fields has a meaning, so they must not be missing.
        """
        for name, other in (("fold", "dataset"), ("base_model", "seed")):
            if content.get(other) is not None and name not in content:
                raise ValueError(f"{source} has no {name}; {_AGAIN}.")
        known = {name: content[name] for name in _CHECKS if name in content}
        others = {name: value for name, value in content.items() if name not in _CHECKS}
        return cls(**known, others=others, source=os.fspath(source))

    def to_dict(self) -> dict[str, Any]:
        """The content of the file, without unknown values."""
        said = {name for name in _CHECKS if getattr(self, name) is not None}
        said |= {name for name, other in _NULL_IS_SAID_WITH.items() if other in said}
        return {name: value for name, value in asdict(self).items() if name in said} | self.others

    def write(self, folder: str | os.PathLike) -> None:
        """
        Writes `metrics.json` into a folder, completely or not at all.

        Raises:
            OutputError: if the file cannot be written.
            ValueError: for NaN or an infinite number in an unknown field or in `dataset_overrides`.
        """
        write_json(Path(folder) / METRICS, self.to_dict())

    def require(self, names: Iterable[str]) -> None:
        """Raises a `ValueError` that names the file and the fields of `names` that it lacks."""
        said = self.to_dict()
        missing = [name for name in names if name not in said]
        if missing:
            raise ValueError(f"{self.source} has no {', '.join(missing)}; {_AGAIN}.")

    @property
    def known_trainings(self) -> list[dict[str, Any]]:
        """`trainings`, or what other fields tell of them; empty if the file is of no training."""
        if self.trainings is not None:
            return self.trainings
        if self.dataset is None or self.model is not None:
            return []
        return [{"base_model": self.base_model, "dataset": self.dataset}]

    @property
    def title(self) -> str:
        """A one-line title of the evaluation."""
        names = ("dataset", "fold", "split", "num_views", "peer_protocol")
        return evaluation_title(**{name: getattr(self, name) for name in names})

    @property
    def frames(self) -> str:
        """Sampling and views in words."""
        return frames_text(self.temporal_sampling, self.sampling_stride, self.num_views)

    @property
    def is_calibrated(self) -> bool | None:
        """Whether a temperature was fitted; None if the file does not record it."""
        return None if self.calibration_temperature is None else self.calibration_temperature != 1.0


def read_results(folder: str | os.PathLike, require: Sequence[str] = ()) -> Results:
    """
    The `metrics.json` of a folder.

    Args:
        folder (`str` or `Path`): output folder of training or `hdf evaluate --output`.
        require (`Sequence[str]`, *optional*): fields that the file must have.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is damaged or lacks a field; the message names the file and says what to do.
    """
    path = Path(folder) / METRICS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give a folder that training or `hdf evaluate --output` wrote."
        )
    results = Results.from_dict(read_json(path, f"Restore it, or remove it and {_AGAIN}."), path)
    results.require(require)
    return results


__all__ = [
    "METRICS",
    "OF_A_TRAINING",
    "Results",
    "evaluation_title",
    "frames_text",
    "read_results",
    "start_weights_text",
]
