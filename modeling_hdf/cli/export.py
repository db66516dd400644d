"""`hdf export`: a trained model as one file, for onnxruntime or `torch.export`."""

import argparse
import tempfile
from pathlib import Path

import datasets

from ..data.arguments import DataArguments
from ..evaluation.metrics import classification_scores
from ..evaluation.predictions import (
    class_names,
    class_numbers,
    class_probabilities,
    measured_clips,
    unreadable_clips_of,
)
from ..evaluation.results import METRICS, Results, read_results
from ..evaluation.running import evaluation_trainer, predict_rows
from ..evaluation.trainings import recorded_training
from ..inference.classifier import load_classifier
from ..inference.export import FILES, INT8, TOLERANCE, check_target, export_model, quantize_int8
from ..modeling_hdf import HDFForVideoClassification
from ..video_processing_hdf import HDFVideoProcessor
from .measuring import chosen_data, missing_code, prepared_builder, trainer_arguments
from .outcome import Outcome
from .parser import WrongCallError
from .text import across_lines, unreadable_lines


def run(arguments: argparse.Namespace) -> Outcome:
    """Writes the files, and prints by how much the exported model differs."""
    if arguments.int8 and (arguments.to != "onnx" or arguments.dataset is None):
        raise WrongCallError("--int8 is for `--to onnx`, and needs a --dataset, on which its loss of UAR is measured.")
    if arguments.dataset is not None and not arguments.int8:
        raise WrongCallError("--dataset serves to measure --int8: give both or none.")
    if arguments.model.endswith(".onnx"):
        raise ValueError(f"{arguments.model} is exported already: give the model that it was exported from.")
    model, processor = load_classifier(arguments.model)
    record = _record(arguments)  # before the work, not after it
    check_target(model, processor, arguments.out, FILES[arguments.to], *([INT8] if arguments.int8 else []))
    split = _split(arguments) if arguments.int8 else None
    difference = export_model(model, processor, arguments.out, arguments.to, arguments.clips)
    if record != Results():
        record.write(arguments.out)
    path = Path(arguments.out) / FILES[arguments.to]
    print(f"wrote {path}; its logits differ from the model's by at most {difference:.1g} ({TOLERANCE:g} are allowed)")
    result = {"file": str(path), "largest_difference": difference}
    if split is None:
        return Outcome(result)
    result["int8"], code = _quantized(arguments, model, processor, *split)
    return Outcome(result, code=code)


def _record(arguments: argparse.Namespace) -> Results:
    """The record of the training, which keeps training clips out of what is measured; it lies beside the exported
    file too. Refuses a folder that holds another."""
    record = recorded_training(arguments.model, "")  # of all datasets
    path = Path(arguments.out) / METRICS
    if path.exists() and read_results(arguments.out) != record:
        raise FileExistsError(f"{path} is not the record of {arguments.model}: give another folder.")
    return record


def _split(arguments: argparse.Namespace) -> tuple[DataArguments, datasets.DatasetBuilder]:
    trained = recorded_training(arguments.model, arguments.dataset)
    data = chosen_data(arguments, trained, arguments.split)
    return data, prepared_builder(arguments, trained, data, arguments.split)[0]


def _quantized(
    arguments: argparse.Namespace,
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    data: DataArguments,
    builder: datasets.DatasetBuilder,
) -> tuple[dict, int]:
    """Writes the file in 8 bits, and prints UAR with it and with the model; the second value is the exit code."""
    uars, rows = {}, builder.as_dataset(split=arguments.split)
    for name, each in (("model", model.float()), ("int8", quantize_int8(arguments.out))):
        with tempfile.TemporaryDirectory() as unused:
            trainer = evaluation_trainer(each, processor, unused, **trainer_arguments(arguments))
            table, across = predict_rows(trainer, rows, processor, data)
        unreadable = [{"clip_id": name, "message": text} for name, text in unreadable_clips_of(table).items()]
        table = measured_clips(table)
        predicted = class_probabilities(table).argmax(1)
        uars[name] = classification_scores(class_numbers(table), predicted, class_names(table))["uar"]
    path = Path(arguments.out) / INT8
    gain = 100 * (uars["int8"] - uars["model"])
    print(
        f"wrote {path}; UAR {100 * uars['int8']:.1f}, the model {100 * uars['model']:.1f}: a "
        f"{'gain' if gain > 0 else 'loss'} of {abs(gain):.1f} points on {len(table)} clips ({data.dataset}, "
        f"{arguments.split} split)"
    )
    print(*unreadable_lines(unreadable), *across_lines(across), sep="\n", end="\n" if unreadable or across else "")
    result = {"file": str(path), "uar": uars["int8"], "uar_of_the_model": uars["model"], "clips": len(table)}
    result |= {"unreadable": unreadable, "across_datasets": across}
    return result, missing_code("hdf export", data, builder, len(unreadable))
