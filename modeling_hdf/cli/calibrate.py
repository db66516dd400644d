"""`hdf calibrate`: the temperature of a model."""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from ..data.files import write_json
from ..evaluation.calibration import calibration_scores, fit_temperature, write_temperature
from ..evaluation.privacy import unreadable_entries
from ..evaluation.running import clip_outputs, evaluation_trainer
from ..evaluation.trainings import recorded_training, weights_of
from ..evaluation.unreadable import unreadable_clips
from ..inference.classifier import load_classifier
from .measuring import chosen_data, missing_code, prepared_builder, trainer_arguments
from .outcome import Outcome
from .text import calibration_lines


def run(arguments: argparse.Namespace) -> Outcome:
    """Fits and writes the temperature, and prints the calibration error. Leaves out and names clips that cannot be
    read; the exit code is 1 if there are more of them than `max_missing` allows."""
    folder = Path(arguments.model)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is no model folder: it has no config.json to write the temperature to.")
    trained = recorded_training(arguments.model, arguments.dataset)
    if trained.peer_protocol:
        raise ValueError(
            f"{folder} was trained by the peer protocol, which leaves no validation split to calibrate on."
        )
    data = chosen_data(arguments, trained, "validation")
    model, processor = load_classifier(arguments.model)
    before = model.config.calibration_temperature
    model.config.calibration_temperature = 1.0
    needed = ("validation", "test")
    builder, _ = prepared_builder(arguments, trained, data, "validation")
    splits = dict(zip(needed, builder.as_dataset(split=list(needed)), strict=True))
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if splits["validation"].features["label"].names != names:
        raise ValueError(
            f"{folder} has the classes {', '.join(names)}, {data.dataset} "
            f"{', '.join(splits['validation'].features['label'].names)}: calibrate on the dataset of the training."
        )
    clips = data.clips(splits, processor, seed=0, skip_unreadable=needed)
    outputs, unreadable = {}, []
    with tempfile.TemporaryDirectory() as unused:
        trainer = evaluation_trainer(model, processor, unused, **trainer_arguments(arguments))
        for split in clips:
            logits = clip_outputs(trainer, clips[split])[0]
            lost = unreadable_clips(clips[split])
            readable = np.setdiff1d(np.arange(len(logits)), list(lost))
            outputs[split] = logits[readable], np.array(clips[split].labels)[readable]
            clip_ids = splits[split]["clip_id"][:]
            unreadable += unreadable_entries({clip_ids[index]: message for index, message in lost.items()})
    temperature = fit_temperature(*outputs["validation"])
    calibration = {
        "dataset": data.dataset,
        "fold": data.fold,
        "temperature": {"before": before, "after": temperature},
        **{split: calibration_scores(*output, before, temperature) for split, output in outputs.items()},
        "unreadable": unreadable,
        "weights_sha256": weights_of(arguments.model),
        "command": arguments.command_line,
    }
    write_json(folder / "calibration.json", calibration)
    write_temperature(folder, temperature)
    print("\n".join(calibration_lines(calibration)))
    return Outcome(calibration, code=missing_code("hdf calibrate", data, builder, len(unreadable)))
