"""What the training run of a model recorded, so that clips it has seen are not measured or calibrated on as unseen."""

import json
import re
from pathlib import Path

from transformers.utils import cached_file

from ..data.arguments import BUILDERS, DataArguments
from ..pretrained import checkpoint_path
from .results import METRICS, Results, frames_text, read_results

# How clips are shown where nothing else is said.
PROTOCOL = {"temporal_sampling": "uniform", "sampling_stride": 1, "num_views": 1}
# Builder fields that decide which clip is in which split.
_CUT = ("metadata", "scene_disjoint", "seed", "test_fraction", "validation_fraction")


def recorded_training(model: str) -> Results:
    """
    The results that training left beside a model, in its `metrics.json`.

    Args:
        model (`str`): a folder (for a `checkpoint-N` without the file, that of the run around it), a Hub repository,
            or the checkpoint that ships (by its name).

    Returns:
        [`Results`]: they tell nothing if there is no such file, if the Hub cannot be reached, or if `hdf evaluate`
        wrote the file.

    Raises:
        ValueError: if the file is damaged.
    """
    folder = Path(checkpoint_path(model))
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


def check_unseen(model: str, trained: Results, data: DataArguments, overrides: dict, split: str) -> None:
    """
    Refuses a split that holds clips which the model was trained on, unless it is the training split by name.

    Args:
        model (`str`): its name, for the message.
        trained ([`Results`]): result of [`recorded_training`].
        data ([`DataArguments`]): the data to be measured.
        overrides (`dict`): fields of its builder.
        split (`str`): `"train"`, `"validation"`, `"test"` or `"all"`.

    Raises:
        ValueError: for another fold of the dataset of the training, a split that was cut in another way, and, of a
            model that was selected on the test split, any other split of its dataset.
    """
    if trained.dataset != data.dataset:
        return
    if trained.fold != data.fold:
        raise ValueError(
            f"{model} was trained on fold {trained.fold} of {data.dataset}, so it has seen clips of the {split} split "
            f"of fold {data.fold}; give --fold {trained.fold}."
        )
    if split in ("train", "validation") and trained.peer_protocol:
        raise ValueError(
            f"{model} was trained by the peer protocol, on all clips of {data.dataset} but the test split: its "
            f"{split} split says nothing; only the test split can be measured."
        )
    # People of the synthetic faces differ between splits whatever their number.
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
            f"{model} was trained on a {data.dataset} that was split in another way: {', '.join(differing)}. It may "
            f"have seen clips of this {split} split; give the --overrides of its training: {json.dumps(then)}."
        )


def chosen_protocol(asked: dict, trained: Results) -> tuple[dict, str]:
    """
    How clips are shown: as asked for, else as the training run tested its model, else uniform and in one view.

    Args:
        asked (`dict`): values for the keys of `PROTOCOL`; None where nothing is asked for.
        trained ([`Results`]): result of [`recorded_training`].

    Returns:
        Values for the keys of `PROTOCOL`, and a line that says them and where they are from.
    """
    told = {name: getattr(trained, name) for name in PROTOCOL}
    recorded = PROTOCOL | {name: value for name, value in told.items() if value is not None}
    start = dict(recorded)
    if asked["temporal_sampling"] not in (None, recorded["temporal_sampling"]):
        start["sampling_stride"] = 1  # that of the run is of its own sampling
    chosen = start | {name: value for name, value in asked.items() if value is not None}
    if trained.temporal_sampling is None:
        source = "no metrics.json of a training run beside the model"
    else:
        source = "as in training" if chosen == recorded else f"the training run: {frames_text(**recorded)}"
    return chosen, f"frames: {frames_text(**chosen)} ({source})"


__all__ = ["PROTOCOL", "check_unseen", "chosen_protocol", "recorded_training"]
