"""What the weights of a model were trained on: read from the record beside it, and handed on to the next training.

The record of a training is `metrics.json`, that of `hdf pretrain` is `pretraining.json`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers.utils import CONFIG_NAME, cached_file
from transformers.utils.hub import extract_commit_hash

from ..configuration_hdf import HDFConfig
from ..data.arguments import has_folds
from ..data.files import read_json
from ..pretrained import checkpoint_path
from ..training.runs import earlier_record
from .privacy import is_hub_id, public_command, public_start
from .results import METRICS, OF_A_TRAINING, Results, read_results
from .weights import WEIGHTS, WEIGHTS_INDEX, weights_sha256

PRETRAINING = "pretraining.json"


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
        ValueError: if the file is damaged. OSError: if the Hub gives no access to the repository.
    """
    return _part_of(_record_of(model), dataset)


def trainings_on(trained: Results, dataset: str) -> list[Results]:
    """
    What is recorded of each training of a model on one dataset, the last one first. Of folders of one's own, which may
    be different ones, the last alone.

    Args:
        trained ([`Results`]): result of [`recorded_training`].
        dataset (`str`): name of the dataset.
    """
    earlier = [
        Results(**{name: entry.get(name) for name in ("dataset", *OF_A_TRAINING)})
        for entry in trained.known_trainings[1:]
    ]
    parts = [_part_of(each, dataset) for each in (trained, *earlier)]
    found = [part for part in parts if part.dataset == dataset]
    return found[:1] if dataset == "folder" else found


def is_selected_on(trained: Results, dataset: str, split: str) -> bool:
    """Whether a training on a dataset selected the model on clips of the measured split; `trained` as for
    [`trainings_on`]."""
    return split in ("test", "all") and any(each.peer_protocol for each in trainings_on(trained, dataset))


def trainings_from(start: str | None, dataset: str) -> list[dict[str, Any]]:
    """
    The `trainings` of [`Results`] for a training on `dataset` that starts from a checkpoint: this one, and those that
    are recorded beside the checkpoint, if it is an HDF model or a result of `hdf pretrain`.

    Args:
        start (`str`, *optional*): a model as [`recorded_training`] takes it; None for random weights.
        dataset (`str`): names of the datasets, with commas.

    Raises:
        ValueError: if the record beside the checkpoint is damaged.
    """
    record = Results() if start is None else _record_of_start(start)
    known = {name: value for name in OF_A_TRAINING if (value := getattr(record, name)) is not None}
    earlier = [entry | known if index == 0 else entry for index, entry in enumerate(record.known_trainings)]
    return [{"base_model": public_start(start), "dataset": dataset}, *earlier]


def trainings_of_run(folder: str | os.PathLike, start: str | None, dataset: str) -> list[dict[str, Any]]:
    """
    As [`trainings_from`], for a run that may go on: it keeps the trainings of its own record, because its start may be
    gone, or out of reach, by now.

    Args:
        folder (`str` or `Path`): output folder of the run.
        start, dataset: as for [`trainings_from`].
    """
    recorded = earlier_record(folder).get("trainings")
    begun = {"base_model": public_start(start), "dataset": dataset}
    if recorded and begun == {name: recorded[0].get(name) for name in begun}:
        return recorded
    return trainings_from(start, dataset)


def start_weights(folder: str | os.PathLike, start: str | None) -> dict[str, Any]:
    """
    What the first entry of `trainings` tells of the weights that a run has loaded from its start:
    `base_model_sha256`, the checksum of each weight file, and `base_model_revision`, the commit of a model from the
    Hub; without what is unknown. Empty for a run that goes on: its start may hold other weights by now.

    Args:
        folder (`str` or `Path`): output folder of the run.
        start: as for [`trainings_from`].
    """
    if start is None or earlier_record(folder):
        return {}
    weights = measured_weights(start)
    told = {"base_model_sha256": weights["weights_sha256"], "base_model_revision": weights["model_revision"]}
    return {name: value for name, value in told.items() if value is not None}


def training_results(folder: str | os.PathLike, start: str | None, argv: Sequence[str], **others: Any) -> Results:
    """
    The results of a training run, without paths of this machine and without tokens.

    Args:
        folder (`str` or `Path`): folder with the measured weights.
        start (`str`, *optional*): checkpoint that training started from, see [`public_start`].
        argv (`Sequence[str]`): the command line, see [`public_command`].
        others: the other fields of [`Results`]. `trainings` are read from the start if they are not given.
    """
    if "trainings" not in others and "dataset" in others:
        others["trainings"] = trainings_from(start, others["dataset"])
    return Results(
        base_model=public_start(start),
        command=public_command(argv),
        weights_sha256=weights_sha256(folder),
        **others,
    )


def is_hdf_checkpoint(start: str) -> bool:
    """Whether a checkpoint is an HDF model, so that a `metrics.json` beside it is a record of its training."""
    config = _file_of(checkpoint_path(start), CONFIG_NAME)
    return config is not None and read_json(config, "Restore it.").get("model_type") == HDFConfig.model_type


def weights_of(model: str) -> dict[str, str] | None:
    """Checksum of each weight file of a model, as [`weights_sha256`]; `None` if there is none. `model` as for
    [`recorded_training`]."""
    if model.endswith(".onnx"):
        return weights_sha256(model)
    path = _weights_file(model)
    return None if path is None else weights_sha256(path.parent)


def measured_weights(model: str) -> dict[str, Any]:
    """
    The fields of a record that tell which weights the name of a model stood for.

    Args:
        model (`str`): as for [`recorded_training`].

    Returns:
        `dict`: `weights_sha256`, see [`weights_of`], and `model_revision`, the commit of a model from the Hub; `None`
        for any other.
    """
    path = None if model.endswith(".onnx") else _weights_file(model)
    revision = None if path is None else extract_commit_hash(str(path), None)
    return {"weights_sha256": weights_of(model), "model_revision": revision}


def _weights_file(model: str) -> Path | None:
    """The file of the weights, or of their index; `None` if neither is there."""
    files = (_file_of(checkpoint_path(model), name) for name in (WEIGHTS, WEIGHTS_INDEX))
    return next((path for path in files if path is not None), None)


def _record_of(model: str) -> Results:
    """The record that training wrote beside a model; empty as [`recorded_training`] says."""
    path = _file_of_run(model, METRICS)
    results = Results() if path is None else read_results(path.parent)
    return Results() if results.model is not None else results


def _record_of_start(start: str) -> Results:
    """The record beside a checkpoint that a training starts from; empty if there is none of ours."""
    if is_hdf_checkpoint(start):
        return _record_of(start)
    path = _file_of_run(start, PRETRAINING)
    if path is None:
        return Results()
    content = read_json(path, "Restore it, or remove it to call the trainings of this checkpoint unknown.")
    return Results.from_dict({"fold": None, **content}, path)  # earlier versions wrote no fold


def _file_of_run(model: str, name: str) -> Path | None:
    """A file beside a model; for a `checkpoint-N` without it, of its run."""
    folder = str(Path(model).parent) if model.endswith(".onnx") else checkpoint_path(model)
    path = _file_of(folder, name)
    if path is None and re.fullmatch(r"checkpoint-\d+", Path(folder).resolve().name):
        path = _file_of(str(Path(folder).resolve().parent), name)
    return path


def _file_of(model: str, name: str) -> Path | None:
    """A file of a folder or of a Hub repository; None if it is not there, or the Hub cannot be reached."""
    if os.path.isdir(model):
        path = Path(model) / name
        return path if path.is_file() else None
    if not is_hub_id(model):
        return None
    absent = ("missing_entries", "connection_errors")
    found = cached_file(model, name, **{f"_raise_exceptions_for_{kind}": False for kind in absent})
    return None if found is None else Path(found)


def _part_of(trained: Results, dataset: str) -> Results:
    """The record of one of several datasets of a training; any other record unchanged."""
    names = (trained.dataset or "").split(",")
    if len(names) == 1 or dataset not in names:
        return trained
    fields = dict((trained.dataset_overrides or {}).get(dataset, {}))
    told = {"fold": trained.fold if has_folds(dataset) else None}
    told |= {name: fields.pop(name) for name in ("fold", "temporal_sampling", "sampling_stride") if name in fields}
    return replace(trained, dataset=dataset, dataset_overrides=fields, **told)


__all__ = [
    "PRETRAINING",
    "is_hdf_checkpoint",
    "is_selected_on",
    "measured_weights",
    "recorded_training",
    "start_weights",
    "training_results",
    "trainings_from",
    "trainings_of_run",
    "trainings_on",
    "weights_of",
]
