"""Keeps clips that a model was trained on out of evaluation and calibration, and measures it as training did."""

import json
from collections.abc import Iterator

from ..data.arguments import DataArguments
from ..data.builders.base import ExpressionConfig
from .results import Results, frames_text
from .trainings import trainings_on

# Default sampling and views.
PROTOCOL = {"temporal_sampling": "uniform", "sampling_stride": 1, "num_views": 1}


def check_unseen(model: str, trained: Results, data: DataArguments, overrides: dict, split: str) -> None:
    """
    Refuses a split with clips that the model, or a checkpoint that it started from, was trained on, except `"train"`.

    Args:
        model (`str`): name of the model, for the message.
        trained ([`Results`]): result of [`recorded_training`].
        data ([`DataArguments`]): the data to be measured.
        overrides (`dict`): fields of the builder.
        split (`str`): `"train"`, `"validation"`, `"test"` or `"all"`.

    Raises:
        ValueError: for another fold or all clips of a training's dataset, for the splits of another list, and, if the
            model was selected on the test split, for any other split of its dataset.
    """
    for training in trainings_on(trained, data.dataset):
        _check_training(model, training, data, overrides, split)


def _check_training(model: str, training: Results, data: DataArguments, overrides: dict, split: str) -> None:
    if split == "all" and data.dataset != "folder":  # folders of one's own may be different ones
        raise ValueError(
            f"{model} was trained on {data.dataset}, so it has seen some of its clips: measure the test split alone."
        )
    if training.fold != data.fold:
        raise ValueError(
            f"{model} was trained on fold {training.fold} of {data.dataset}, so it has seen clips of the {split} "
            f"split of fold {data.fold}; give --fold {training.fold}."
        )
    if split in ("train", "validation") and training.peer_protocol:
        raise ValueError(
            f"{model} was trained by the peer protocol, on all clips of {data.dataset} except the test split: measure "
            f"the test split, not the {split} split."
        )
    if split in ("validation", "test") and training.dataset_overrides is not None:
        now = data.described(overrides)["dataset_overrides"].get("metadata")
        then = training.dataset_overrides.get("metadata")
        if now != then:
            raise ValueError(
                f"{model} was trained on other splits of {data.dataset}: `metadata` was {then!r} and is {now!r}. It "
                f"may have seen clips of this {split} split; give the --overrides of its training: "
                f"{json.dumps(training.dataset_overrides)}."
            )


def check_same_cut(model: str, trained: Results, config: ExpressionConfig, dataset: str, split: str) -> None:
    """
    Refuses a split that is cut from clips that the data give for training, unless each training on these data held out
    the same clips.

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
    if now is None:
        return
    for training in trainings_on(trained, dataset):
        then = (training.cut_splits or {}).get(dataset, {}).get(split)
        if now == then:
            continue
        raise ValueError(
            f"{config.data_dir} gives no {split} split of its own, so one is cut from its training clips. {model} was "
            f"trained on {dataset}, and {_told_of_cut(training, then, split)}: it may have seen these clips. "
            f"{' '.join(_ways_out(training, then, config, dataset, split))}"
        )


def _told_of_cut(training: Results, then: str | None, split: str) -> str:
    """What a record tells of the clips that training held out for a split."""
    if training.cut_splits is None:
        return "its record does not tell which clips training held out"  # of an earlier version, or of pretraining
    return f"training cut no {split} split" if then is None else f"training held out other clips for {split}"


def _ways_out(
    training: Results, then: str | None, config: ExpressionConfig, dataset: str, split: str
) -> Iterator[str]:
    """What to do instead of measuring a split that is cut from clips that may be known."""
    forms = f" ({config.own_splits})" if config.own_splits else ""
    yield f"Take data with a {split} split of their own{forms}, or another model."
    if then is not None:
        yield "The data and the --overrides of its training give the clips that it held out."
    elif training.cut_splits is None:
        yield "A model that is trained by this version tells which clips it held out."
    if dataset == "folder":
        yield "`hdf evaluate --split all` measures every clip of another folder."


def selected_line(model: str, trained: Results, config: ExpressionConfig, dataset: str, split: str) -> str | None:
    """
    A line if the measured clips may be some that a training selected the model on, because these data do not tell
    their validation clips from their test clips; else `None`. Arguments as for [`check_same_cut`].
    """
    if split != "test" or not config.may_test_validation_clips():
        return None
    given = (
        not training.peer_protocol and "validation" not in training.cut_splits.get(dataset, {})
        for training in trainings_on(trained, dataset)
        if training.cut_splits is not None
    )
    if not any(given):
        return None
    return (
        f"MAY HOLD CLIPS THAT THE MODEL WAS SELECTED ON: {model} was trained on {dataset} with a validation split "
        f"that its data gave, and {config.data_dir} does not tell such clips from test clips "
        f"({config.own_splits} do). The figures may be too high."
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


__all__ = ["PROTOCOL", "check_same_cut", "check_unseen", "chosen_protocol", "selected_line"]
