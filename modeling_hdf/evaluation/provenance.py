"""Reads the record of a model's training: to keep training clips out of evaluation and calibration, and to hand on
what its weights were trained on."""

import json
import re
from dataclasses import replace
from pathlib import Path

from transformers.utils import cached_file

from ..data.arguments import BUILDERS, DataArguments, has_folds
from ..data.builders.base import ExpressionConfig
from ..pretrained import checkpoint_path
from .privacy import public_start
from .results import METRICS, Results, frames_text, read_results

# Default sampling and views.
PROTOCOL = {"temporal_sampling": "uniform", "sampling_stride": 1, "num_views": 1}
# Builder fields that decide the split of a clip.
_CUT = ("metadata", "scene_disjoint", "seed", "test_fraction", "validation_fraction")


def recorded_training(model: str, dataset: str) -> Results:
    """
    The results in the `metrics.json` that training wrote beside a model. Of a training on several datasets, fold,
    sampling and fields of the builder are those of `dataset`, if it was one of them.

    Args:
        model (`str`): a folder (for a `checkpoint-N` without the file, the folder of its run), a Hub repository, the
            name of the shipped checkpoint, or an `.onnx` file, whose folder is searched.
        dataset (`str`): name of the dataset to be measured.

    Returns:
        [`Results`]: empty if the file does not exist, the Hub cannot be reached, or `hdf evaluate` wrote the file.

    Raises:
        ValueError: if the file is damaged.
    """
    return _part_of(_record_of(model), dataset)


def trainings_from(start: str | None, dataset: str) -> list[dict[str, str | None]]:
    """
    The `trainings` of [`Results`] for a training on `dataset` that starts from a checkpoint: this one, and those that
    are recorded beside the checkpoint.

    Args:
        start (`str`, *optional*): a model as [`recorded_training`] takes it; None for random weights.
        dataset (`str`): names of the datasets, with commas.

    Raises:
        ValueError: if the record beside the checkpoint is damaged.
    """
    earlier = [] if start is None else _record_of(start).known_trainings
    return [{"base_model": public_start(start), "dataset": dataset}, *earlier]


def _record_of(model: str) -> Results:
    """The record that training wrote beside a model; empty as [`recorded_training`] says."""
    folder = Path(model).parent if model.endswith(".onnx") else Path(checkpoint_path(model))
    if folder.is_dir():
        path = folder / METRICS
        if not path.is_file() and re.fullmatch(r"checkpoint-\d+", folder.resolve().name):
            path = folder.resolve().parent / METRICS
    else:
        absent = ("missing_entries", "gated_repo", "connection_errors")
        found = cached_file(model, METRICS, **{f"_raise_exceptions_for_{kind}": False for kind in absent})
        path = None if found is None else Path(found)
    if path is None or not path.is_file():
        return Results()
    results = read_results(path.parent)
    return Results() if results.model is not None else results


def _part_of(trained: Results, dataset: str) -> Results:
    """The record of one of several datasets of a training; any other record unchanged."""
    names = (trained.dataset or "").split(",")
    if len(names) == 1 or dataset not in names:
        return trained
    fields = dict((trained.dataset_overrides or {}).get(dataset, {}))
    told = {"fold": trained.fold if has_folds(dataset) else None}
    told |= {name: fields.pop(name) for name in ("fold", "temporal_sampling", "sampling_stride") if name in fields}
    return replace(trained, dataset=dataset, dataset_overrides=fields, **told)


def check_unseen(model: str, trained: Results, data: DataArguments, overrides: dict, split: str) -> None:
    """
    Refuses a split with clips that the model was trained on, except `"train"`.

    Args:
        model (`str`): name of the model, for the message.
        trained ([`Results`]): result of [`recorded_training`].
        data ([`DataArguments`]): the data to be measured.
        overrides (`dict`): fields of the builder.
        split (`str`): `"train"`, `"validation"`, `"test"` or `"all"`.

    Raises:
        ValueError: for another fold or all clips of the training's dataset, for splits cut in another way, and, if the
            model was selected on the test split, for any other split of its dataset.
    """
    if trained.dataset != data.dataset:
        return
    if split == "all" and data.dataset != "folder":  # folders of one's own may be different ones
        raise ValueError(
            f"{model} was trained on {data.dataset}, so it has seen some of its clips: measure the test split alone."
        )
    if trained.fold != data.fold:
        raise ValueError(
            f"{model} was trained on fold {trained.fold} of {data.dataset}, so it has seen clips of the {split} split "
            f"of fold {data.fold}; give --fold {trained.fold}."
        )
    if split in ("train", "validation") and trained.peer_protocol:
        raise ValueError(
            f"{model} was trained by the peer protocol, on all clips of {data.dataset} except the test split: measure "
            f"the test split, not the {split} split."
        )
    # The splits of the synthetic faces never share people, whatever their sizes.
    if split in ("validation", "test") and data.dataset != "synthetic" and trained.dataset_overrides is not None:
        _check_cut(model, trained.dataset_overrides, data, overrides, split)


def _check_cut(model: str, then: dict, data: DataArguments, overrides: dict, split: str) -> None:
    config = BUILDERS[data.dataset].BUILDER_CONFIG_CLASS
    now = data.described(overrides)["dataset_overrides"]
    differing = []
    for name in _CUT:
        default = getattr(config, name, None)
        before, after = then.get(name, default), now.get(name, default)
        if before != after:
            differing.append(f"`{name}` was {before!r} and is {after!r}")
    if differing:
        raise ValueError(
            f"{model} was trained on other splits of {data.dataset}: {', '.join(differing)}. It may have seen clips "
            f"of this {split} split; give the --overrides of its training: {json.dumps(then)}."
        )


def check_same_cut(model: str, trained: Results, config: ExpressionConfig, dataset: str, split: str) -> None:
    """
    Refuses a split that is cut from clips that the data give for training, unless training held out the same clips.

    Args:
        model (`str`): name of the model, for the message.
        trained ([`Results`]): result of [`recorded_training`].
        config ([`ExpressionConfig`]): the data to be measured.
        dataset (`str`): their name.
        split (`str`): the split to be measured.

    Raises:
        ValueError: if training held out other clips, or its record does not tell which.
    """
    now = config.cut_digests().get(split)
    if trained.dataset != dataset or now is None:
        return
    then = (trained.cut_splits or {}).get(dataset, {}).get(split)
    if now != then:
        told = (
            f"its metrics.json tells no {split} split that was cut from the training clips"
            if then is None
            else f"training held out other clips for {split}"
        )
        raise ValueError(
            f"{config.data_dir} gives no {split} split of its own, so one is cut from its training clips. {model} was "
            f"trained on {dataset}, and {told}: it may have seen these clips. Give the data and the --overrides of "
            f"its training, or data with a {split} split of their own."
        )


def chosen_protocol(asked: dict, trained: Results) -> tuple[dict, str]:
    """
    Sampling and views: the requested values, else the values of the training run's test, else uniform with one view.

    Args:
        asked (`dict`): requested values for the keys of `PROTOCOL`, or None.
        trained ([`Results`]): result of [`recorded_training`].

    Returns:
        Values for the keys of `PROTOCOL`, and a line with the values and their source.
    """
    told = {name: getattr(trained, name) for name in PROTOCOL}
    recorded = PROTOCOL | {name: value for name, value in told.items() if value is not None}
    start = dict(recorded)
    if asked["temporal_sampling"] not in (None, recorded["temporal_sampling"]):
        start["sampling_stride"] = 1  # the run's stride belongs to the run's sampling
    chosen = start | {name: value for name, value in asked.items() if value is not None}
    if trained.temporal_sampling is None:
        source = "no metrics.json of a training run beside the model"
    else:
        source = "as in training" if chosen == recorded else f"the training run: {frames_text(**recorded)}"
    return chosen, f"frames: {frames_text(**chosen)} ({source})"


__all__ = [
    *("PROTOCOL", "check_same_cut", "check_unseen", "chosen_protocol", "recorded_training", "trainings_from"),
]
