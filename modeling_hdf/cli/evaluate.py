"""`hdf evaluate`: a model on a split of a dataset."""

import argparse
import tempfile
from pathlib import Path

import datasets
import pandas as pd

from ..data.arguments import DataArguments, has_folds
from ..data.builders.base import ExpressionBuilder
from ..data.files import whole_or_absent
from ..data.frame_sampling import TemporalSampling
from ..data.locks import folder_lock
from ..evaluation.environment import environment
from ..evaluation.liveness import liveness_on_rows
from ..evaluation.predictions import known_of_clips, measured_clips, write_predictions
from ..evaluation.results import METRICS, Results
from ..evaluation.running import evaluation_trainer, predict_rows
from ..evaluation.summary import check_factors, evaluate_predictions
from ..evaluation.trainings import is_selected_on, measured_weights, recorded_training
from ..inference.classifier import load_classifier
from ..modeling_hdf import HDFForVideoClassification
from ..reports.plots import plot_confusion_matrix
from ..video_processing_hdf import HDFVideoProcessor
from .measuring import chosen_data, missing_code, prepared_builder, trainer_arguments
from .outcome import Outcome
from .parser import WrongCallError
from .text import evaluation_lines


def run(arguments: argparse.Namespace) -> Outcome:
    """Prints the figures, and writes them with `--output`; the exit code is 1 if too many clips could not be read."""
    if arguments.output is None:
        return _evaluate(arguments, None)
    output = Path(arguments.output)
    with folder_lock(output, "hdf evaluate"):
        if (output / METRICS).exists():
            raise ValueError(f"{output} holds the metrics.json of another run; give an --output of its own.")
        return _evaluate(arguments, output)


def _evaluate(arguments: argparse.Namespace, output: Path | None) -> Outcome:
    _check_split(arguments)
    model, processor = load_classifier(arguments.model)
    trained = recorded_training(arguments.model, arguments.dataset)
    data = chosen_data(arguments, trained, arguments.split)
    builder, may_be_selected = prepared_builder(arguments, trained, data, arguments.split)
    rows = builder.as_dataset(split=arguments.split)
    if arguments.split == "all" and has_folds(data.dataset):
        rows = rows.remove_columns("fold")  # the clips are of all folds
    is_of_folder = arguments.split == "all" and any("folder" in each["dataset"] for each in trained.known_trainings)
    print(_measured_line(data, builder, arguments.split, is_of_folder))
    sources = builder.config.missing_sources() if isinstance(builder, ExpressionBuilder) else {}
    check_factors(known_of_clips(rows), arguments.group_by or [], sources)  # before the work, not after it
    with tempfile.TemporaryDirectory() as unused:
        trainer = evaluation_trainer(model, processor, unused, **trainer_arguments(arguments))
        table, across = predict_rows(trainer, rows, processor, data)
    scores = evaluate_predictions(table, arguments.group_by, num_resamples=arguments.resamples, seed=arguments.seed)
    described = data.described(arguments.overrides) | {"fold": arguments.fold}
    described["peer_protocol"] = is_selected_on(trained, data.dataset, arguments.split)
    results = Results(
        model=arguments.model,
        **measured_weights(arguments.model),
        **described,
        split=arguments.split,
        may_hold_training_clips=is_of_folder or may_be_selected,
        calibration_temperature=model.config.calibration_temperature,
        **scores,
        gate_liveness=None if output is None else _liveness(model, processor, rows, data, table),
        across_datasets=across,
        environment=environment(),
        command=arguments.command_line,
    )
    print("\n".join(evaluation_lines(results, all_groups=arguments.group_by is not None)))
    if output is not None:
        write_predictions(table, output)
        with whole_or_absent(output / "confusion_matrix.png") as part:
            plot_confusion_matrix(scores, part, results.title)
        results.write(output)  # last: a folder with this file is complete
        print(f"results in {output}")
    return Outcome(results.to_dict(), code=missing_code("hdf evaluate", data, builder, len(results.unreadable)))


def _check_split(arguments: argparse.Namespace) -> None:
    if arguments.split != "all":
        return
    if arguments.dataset == "synthetic":
        raise WrongCallError(
            "`--split all` is for real clips; the test split of the synthetic faces takes any size, such as "
            """--overrides '{"num_test": 2100}'."""
        )
    if arguments.fold is not None:
        raise WrongCallError("`--split all` measures the clips of all folds: leave --fold out.")


def _liveness(
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    rows: datasets.Dataset,
    data: DataArguments,
    table: pd.DataFrame,
) -> dict | None:
    """The gates of the model on clips that the figures count; None for an ONNX file, whose layers cannot be seen."""
    if not isinstance(model, HDFForVideoClassification):
        return None
    measured = set(measured_clips(table)["clip_id"])
    counted = rows.select([index for index, clip_id in enumerate(rows["clip_id"]) if clip_id in measured])
    sampling = TemporalSampling(data.temporal_sampling, processor.num_frames, data.sampling_stride)
    return liveness_on_rows(model, processor, counted, sampling)


def _measured_line(data: DataArguments, builder: datasets.DatasetBuilder, split: str, may_be_seen: bool) -> str:
    """A line with the part of the dataset that is measured."""
    of_splits = (each.num_examples for each in builder.info.splits.values())
    total = builder.config.num_listed if data.dataset == "synthetic" else sum(of_splits)
    if split == "all":
        seen = "; MAY HOLD CLIPS OF THE TRAINING, which was on a folder" if may_be_seen else ""
        return f"all {total} clips{seen}"
    more = "; `--split all` measures every clip" if data.dataset == "folder" else ""
    return f"{builder.info.splits[split].num_examples} of {total} clips ({split} split){more}"
