"""`hdf evaluate`, `hdf calibrate` and `hdf folds`."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..data.arguments import BUILDERS, DataArguments
from ..evaluation.calibration import calibration_report, fit_temperature, write_temperature
from ..evaluation.environment import environment
from ..evaluation.folds import aggregate_folds, read_fold
from ..evaluation.predictions import known_of_clips, write_predictions
from ..evaluation.provenance import PROTOCOL, check_unseen, chosen_protocol, training_metrics
from ..evaluation.running import clip_outputs, evaluation_trainer, predict_rows
from ..evaluation.summary import check_factors, evaluate_predictions
from ..hub.cards import evaluation_title
from ..inference.classifier import load_classifier
from ..reports.run_plots import plot_confusion_matrix
from .text import calibration_lines, evaluation_lines, fold_lines


def json_object(text: str) -> dict:
    """Type of an option that takes JSON."""
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise argparse.ArgumentTypeError("must be a JSON object of field to value")
    return fields


def _add_model_and_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or Hub repository of a trained model")
    parser.add_argument("--dataset", required=True, choices=sorted(BUILDERS), help="folder: videos of your own")
    parser.add_argument("--data-dir", help="folder of the dataset, as it was unpacked")
    parser.add_argument("--fold", type=int, help="DFEW, MAFW: fold 1 to 5")
    parser.add_argument(
        "--max-missing", default="0", metavar="X", help="clips that may be missing: a number, or a share such as 0.01"
    )
    parser.add_argument(
        "--overrides", type=json_object, default={}, metavar="JSON", help="builder fields, as in training"
    )
    parser.add_argument(
        "--temporal-sampling", help="uniform, segments or dense; default: as the training run tested, else uniform"
    )
    parser.add_argument(
        "--sampling-stride",
        type=int,
        help="distance of the frames of dense sampling; default: as the training run tested, else 1",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="clips per batch; default 16")
    parser.add_argument("--num-workers", type=int, default=0, help="processes that read clips; default 0")


def _data(arguments: argparse.Namespace, trained: dict, split: str) -> DataArguments:
    """The data that are asked for, shown as training did; refuses clips that the model was trained on."""
    protocol, line = chosen_protocol({name: getattr(arguments, name) for name in PROTOCOL}, trained)
    names = ("dataset", "data_dir", "fold", "max_missing")
    data = DataArguments(**{name: getattr(arguments, name) for name in names}, **protocol)
    check_unseen(arguments.model, trained, data, arguments.overrides, split)
    print(line)
    return data


def _prepared(data: DataArguments, overrides: dict) -> datasets.DatasetBuilder:
    builder = data.builder(overrides, training=False)
    builder.download_and_prepare()
    return builder


def _measured_line(data: DataArguments, builder: datasets.DatasetBuilder, split: str, may_be_seen: bool) -> str:
    """How much of the dataset is measured."""
    total = sum(each.num_examples for each in builder.info.splits.values())
    if split == "all":
        seen = "; MAY HOLD CLIPS OF THE TRAINING, which was on a folder" if may_be_seen else ""
        return f"all {total} clips{seen}"
    more = "; `--split all` measures every clip" if data.dataset == "folder" else ""
    return f"{builder.info.splits[split].num_examples} of {total} clips ({split} split){more}"


def _trainer_arguments(arguments: argparse.Namespace) -> dict:
    return {
        "per_device_eval_batch_size": arguments.batch_size,
        "dataloader_num_workers": arguments.num_workers,
    }


def add_evaluate_parser(commands: Any) -> None:
    """Adds `evaluate` to the commands of `hdf`."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on a split of a dataset",
        description="WAR, UAR, macro F1, recall per class, confusion matrix and calibration error with 95 %% "
        "bootstrap intervals, also by groups of clips. Classes are matched by name: clips of a class that the model "
        "lacks are left out and counted, and the probabilities of classes that the dataset lacks are taken out.",
    )
    _add_model_and_data(parser)
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test", "all"),
        help="default test; of a folder without splits that is a random fifth. all: every clip, of a folder alone. "
        "A folder may also hold nothing but test/<class>/",
    )
    parser.add_argument(
        "--num-views",
        type=int,
        help="temporal views per clip, averaged; default: as the training run tested, else 1",
    )
    parser.add_argument(
        "--group-by",
        nargs="+",
        metavar="FACTOR",
        help="such as scene or yaw; default: all, with the worst shown",
    )
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap; default 1000")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap; default 0")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for metrics.json, predictions (Parquet, CSV) and confusion matrix",
    )
    parser.set_defaults(func=evaluate)


def evaluate(arguments: argparse.Namespace) -> int:
    """`hdf evaluate`: prints the report and writes it with `--output`."""
    if arguments.output is not None and (arguments.output / "metrics.json").exists():
        raise ValueError(f"{arguments.output} holds the metrics.json of another run; give an --output of its own.")
    if arguments.split == "all" and arguments.dataset != "folder":
        raise ValueError(f"`--split all` is for a folder of videos; of {arguments.dataset}, measure its test split.")
    model, processor = load_classifier(arguments.model)
    trained = training_metrics(arguments.model)
    data = _data(arguments, trained, arguments.split)
    builder = _prepared(data, arguments.overrides)
    rows = builder.as_dataset(split=arguments.split)
    may_be_seen = arguments.split == "all" and trained.get("dataset") == "folder"
    print(_measured_line(data, builder, arguments.split, may_be_seen))
    check_factors(known_of_clips(rows), arguments.group_by or [])  # now, not after all the work
    with tempfile.TemporaryDirectory() as unused:
        trainer = evaluation_trainer(model, processor, unused, **_trainer_arguments(arguments))
        table, across = predict_rows(trainer, rows, processor, data)
    report = evaluate_predictions(table, arguments.group_by, num_resamples=arguments.resamples, seed=arguments.seed)
    metrics = {
        "model": arguments.model,
        **data.described(arguments.overrides),
        "split": arguments.split,
        # Whether training selected the model on clips that are measured here.
        "peer_protocol": arguments.split in ("test", "all")
        and trained.get("dataset") == data.dataset
        and trained.get("peer_protocol", False),
        "may_hold_training_clips": may_be_seen,
        "calibration_temperature": model.config.calibration_temperature,
        **report,
        "across_datasets": across,
        "environment": environment(),
        "command": arguments.command,
    }
    print("\n".join(evaluation_lines(metrics, all_groups=arguments.group_by is not None)))
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        write_predictions(table, arguments.output)
        plot_confusion_matrix(metrics, arguments.output / "confusion_matrix.png", evaluation_title(metrics))
        # Last: a folder with this file is complete.
        (arguments.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        print(f"results in {arguments.output}")
    return 0


def add_calibrate_parser(commands: Any) -> None:
    """Adds `calibrate` to the commands of `hdf`."""
    parser = commands.add_parser(
        "calibrate",
        help="fit the temperature of a model on the validation split",
        description="Fits one temperature on the validation split that the model was selected on, writes it into the "
        "model's config.json, where pipelines find it, and shows the calibration error on the test split before and "
        "after. No weight and no predicted class changes. The details go to calibration.json.",
    )
    _add_model_and_data(parser)
    parser.set_defaults(func=calibrate, num_views=1)  # of the single views that pipelines take


def calibrate(arguments: argparse.Namespace) -> int:
    """`hdf calibrate`: fits, writes, and prints the calibration error."""
    folder = Path(arguments.model)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is no model folder: it has no config.json to write the temperature to.")
    trained = training_metrics(arguments.model)
    if trained.get("peer_protocol", False):
        raise ValueError(
            f"{folder} was trained by the peer protocol, which leaves no validation split to calibrate on."
        )
    data = _data(arguments, trained, "validation")
    model, processor = load_classifier(arguments.model)
    before = model.config.calibration_temperature
    model.config.calibration_temperature = 1.0
    needed = ("validation", "test")
    builder = _prepared(data, arguments.overrides)
    splits = dict(zip(needed, builder.as_dataset(split=list(needed)), strict=True))
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if splits["validation"].features["label"].names != names:
        raise ValueError(
            f"{folder} has the classes {', '.join(names)}, {data.dataset} "
            f"{', '.join(splits['validation'].features['label'].names)}: calibrate on the dataset of the training."
        )
    clips = data.clips(splits, processor, seed=0)
    outputs = {}
    with tempfile.TemporaryDirectory() as unused:
        trainer = evaluation_trainer(model, processor, unused, **_trainer_arguments(arguments))
        for split in clips:
            outputs[split] = clip_outputs(trainer, clips[split])[0], np.array(clips[split].labels)
    temperature = fit_temperature(*outputs["validation"])
    report = {
        "dataset": data.dataset,
        "fold": data.fold,
        "temperature": {"before": before, "after": temperature},
        **{split: calibration_report(*output, before, temperature) for split, output in outputs.items()},
        "command": arguments.command,
    }
    (folder / "calibration.json").write_text(json.dumps(report, indent=2) + "\n")
    write_temperature(folder, temperature)
    print("\n".join(calibration_lines(report)))
    return 0


def add_folds_parser(commands: Any) -> None:
    """Adds `folds` to the commands of `hdf`."""
    parser = commands.add_parser(
        "folds",
        help="mean and standard deviation over the folds of a dataset",
        description="Reads the metrics.json of each fold, as training or `hdf evaluate --output` wrote it.",
    )
    parser.add_argument("folders", nargs="+", help="one folder per fold, in any order")
    parser.add_argument("--allow-missing-folds", action="store_true", help="take a mean of the folds that are there")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.set_defaults(func=folds)


def folds(arguments: argparse.Namespace) -> int:
    """`hdf folds`: prints each fold, mean and standard deviation."""
    result = aggregate_folds([read_fold(folder) for folder in arguments.folders], arguments.allow_missing_folds)
    print("\n".join(fold_lines(result)))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0
