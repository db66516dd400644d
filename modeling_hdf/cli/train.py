"""
Train HDF by a recipe, test the model, and write a folder that is ready for the Hub.

    hdf train                                        # the embedded synthetic faces
    hdf train --recipe dfew --data-dir DFEW --fold 1
    hdf train --recipe my.yaml --sam_rho 0.05        # a recipe of your own; arguments override it
    hdf train --accelerate_config multi_gpu --num_processes 4 --recipe dfew --data-dir DFEW

A recipe is a YAML file with any of the arguments below. The same command, given again, continues a killed run from its
last complete checkpoint, and tests a finished run again. `--resume_from_checkpoint` names a checkpoint of another run
to start from; the run uses it only until it has a complete checkpoint of its own.

`--accelerate_config` launches processes by a configuration of the package (single, cpu_2, multi_gpu, multi_node) or a
file; --num_processes, --num_machines, --machine_rank, --main_process_ip and --main_process_port override it.
--quiet prints only errors, --json the metrics on stdout and all else on stderr, --debug the traceback of an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset, DatasetBuilder
from transformers import AutoConfig, HfArgumentParser, set_seed

from ..configuration import configuration_path
from ..configuration_hdf import HDFConfig
from ..data.arguments import DataArguments, class_count_lines
from ..data.builders.checks import class_counts
from ..data.clips import ClipDataset
from ..data.files import whole_or_absent
from ..evaluation.environment import environment
from ..evaluation.liveness import liveness_on_rows
from ..evaluation.predictions import predictions_table, write_predictions
from ..evaluation.results import Results, training_results
from ..evaluation.shared_classes import SharedClasses
from ..evaluation.summary import evaluate_predictions
from ..evaluation.unreadable import unreadable_clips
from ..evaluation.views import predict_views
from ..hub.release import write_model_card
from ..hub.trainer import HDFTrainer
from ..inference.classifier import check_finite
from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import SHIPPED, checkpoint_path
from ..reports.page import write_report
from ..reports.plots import plot_confusion_matrix, plot_training_curves
from ..training.arguments import HDFTrainingArguments
from ..training.distributed import decided_by_first, num_processes
from ..training.recipes import (
    as_fields,
    build_processor,
    deciding_arguments,
    parse_with_recipe,
    recipe_parser,
    training_command,
)
from ..training.runs import output_dir_of, write_record
from .measuring import missing_code
from .outcome import Outcome
from .text import total_lines, unreadable_lines

# Arguments that do not change the trained weights. All others identify a recipe.
FREE = ("recipe", "frame_controls", "cache_clips", "num_views")
_MOST_NAMED = 10  # clips in an error message


@dataclass
class ScriptArguments:
    """The model and the recipe."""

    recipe: str = field(default="synthetic", metadata={"help": "Name of a recipe that ships, or a YAML file."})
    preset: str = field(default="base_224", metadata={"help": "Model preset, or a JSON file; starts from scratch."})
    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": f"HDF, VideoMAE or X3D checkpoint to start from ({SHIPPED} ships); empty: the preset."},
    )
    model_overrides: str = field(default="{}", metadata={"help": "HDFConfig fields, as JSON."})
    frame_controls: bool = field(
        default=False, metadata={"help": "Also test on the first frame alone and on shuffled frames."}
    )


def training_parser() -> HfArgumentParser:
    """The parser of `hdf train`."""
    return recipe_parser("train", (ScriptArguments, DataArguments, HDFTrainingArguments), __doc__)


def build_model(script: ScriptArguments, names: list[str]) -> HDFForVideoClassification:
    """The preset, or the checkpoint, with the classes of the dataset."""
    fields = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    fields["calibration_temperature"] = 1.0  # the temperature of a checkpoint fits only its own weights
    fields |= as_fields("model_overrides", script.model_overrides)
    start = checkpoint_path(script.model_name_or_path or "")
    if start and AutoConfig.from_pretrained(start).model_type != HDFConfig.model_type:
        return HDFForVideoClassification.from_backbone_pretrained(start, **fields)
    path = start or configuration_path("model", script.preset)
    saved = HDFConfig.from_pretrained(path)
    config, unknown = HDFConfig.from_pretrained(path, return_unused_kwargs=True, **fields)
    if unknown:
        raise ValueError(f"--model_overrides has unknown fields {sorted(unknown)}.")
    if not start:
        return HDFForVideoClassification(config)
    model = HDFForVideoClassification.from_pretrained(start, config=config, ignore_mismatched_sizes=True)
    check_finite(start, model.state_dict().items())
    if list(saved.id2label.values()) != names:
        print(f"The classes of {start} are others, or in another order: its classifier starts afresh.")
        torch.nn.init.normal_(model.classifier.weight, std=config.backbone_config.initializer_range)
        torch.nn.init.zeros_(model.classifier.bias)
    return model


def run(arguments: Sequence[str]) -> Outcome:
    """
    Trains, tests, and writes the files beside the weights; the metrics are the result. The exit code is 1 if more
    clips than `max_missing` allows are missing, or could not be read in the test.
    """
    outcome = _train(*parse_with_recipe(training_parser(), "train", arguments), training_command("train", arguments))
    if torch.distributed.is_initialized():  # after the trainer is gone; otherwise the exit may hang
        torch.distributed.destroy_process_group()
    return outcome


def _train(
    script: ScriptArguments, data: DataArguments, training: HDFTrainingArguments, command: list[str]
) -> Outcome:
    record = deciding_arguments(training, (script, data), FREE)
    with output_dir_of(training.output_dir, record, "hdf train"):
        trainer, builder, clips, left_out = _trained(script, data, training, record)
        # With the peer protocol the test counts the same clips again.
        return _tested(script, data, trainer, builder, clips, command, 0 if data.peer_protocol else left_out)


def _trained(
    script: ScriptArguments, data: DataArguments, training: HDFTrainingArguments, record: dict
) -> tuple[HDFTrainer, DatasetBuilder, dict[str, ClipDataset], int]:
    """The trainer with the trained model, the prepared dataset, the clips of each split, and the number of clips left
    out of validation."""
    set_seed(training.seed)
    with training.main_process_first(desc="preparing the dataset"):
        builder = data.builder(as_fields("dataset_overrides", data.dataset_overrides))
        builder.download_and_prepare()
    splits = builder.as_dataset()
    if training.process_index == 0:
        print(*class_count_lines(class_counts(splits), data.peer_protocol), sep="\n", flush=True)

    names = splits["train"].features["label"].names
    model = build_model(script, names)
    processor = build_processor(model.config)
    clips = data.clips(splits, processor, training.seed, skip_unreadable=("test",))
    unreadable = _leave_out_unreadable(clips, data, builder)
    trainer = HDFTrainer(
        model=model,
        args=training,
        data_collator=data.collator(processor, len(names), training.dsm),
        train_dataset=clips["train"],
        eval_dataset=clips["validation"],
        processing_class=processor,
    )
    if trainer.is_world_process_zero():
        write_record(training.output_dir, record)
    trainer.train_to_the_end(training.resume_from_checkpoint)
    return trainer, builder, clips, len(unreadable)


def _leave_out_unreadable(
    clips: dict[str, ClipDataset], data: DataArguments, builder: DatasetBuilder
) -> dict[int, str]:
    """
    Takes the clips that cannot be read out of `clips["validation"]`, before the first step, so that every epoch is
    measured on the same clips; returns their error messages by index. Process 0 reads all of them and names them.

    Raises:
        ValueError: if they are more than `max_missing` allows, or if no clip is left.
    """
    validation = clips["validation"]
    messages = decided_by_first(validation.find_unreadable)
    if not messages:
        return messages
    listed = [f"  {validation.rows[index]['clip_id']}: {message}" for index, message in messages.items()]
    failure = data.too_many_missing(builder, len(messages))
    if failure is None and len(messages) == len(validation):
        failure = "No clip is left for validation."
    if failure is not None:
        raise ValueError("\n".join([failure, *listed[:_MOST_NAMED]]))
    if num_processes() == 1 or torch.distributed.get_rank() == 0:
        print(f"validation: {len(messages)} clips cannot be read, and are left out", *listed, sep="\n", flush=True)
    clips["validation"] = validation.without(messages)
    return messages


def _tested(
    script: ScriptArguments,
    data: DataArguments,
    trainer: HDFTrainer,
    builder: DatasetBuilder,
    clips: dict[str, ClipDataset],
    command: list[str],
    num_left_out: int,
) -> Outcome:
    """Tests the model, and writes and pushes what belongs beside the weights. `num_left_out` clips of other splits
    could not be read."""
    rows, names = clips["test"].rows, clips["test"].rows.features["label"].names
    probabilities, _ = predict_views(trainer, clips["test"], data.num_views)
    unreadable = unreadable_clips(clips["test"])
    readable = rows.select([index for index in range(len(rows)) if index not in unreadable])
    controls = {}
    for order in ("first", "shuffled") if script.frame_controls else ():
        control = ClipDataset(readable, trainer.processing_class, sampling=clips["test"].sampling, frame_order=order)
        controls[f"{order}_war"] = trainer.predict(control).metrics["test_war"]
    results, folder = None, Path(trainer.args.output_dir)
    if trainer.is_world_process_zero():
        table = predictions_table(rows, probabilities, SharedClasses(names, names), unreadable)
        write_predictions(table, folder)
        scores = evaluate_predictions(table) | {
            "controls": controls or None,
            "gate_liveness": liveness_on_rows(
                trainer.model, trainer.processing_class, readable, clips["test"].sampling
            ),
        }
        results = write_results(folder, trainer, script, data, scores, command)
        if data.dataset == "synthetic":  # copies of clips of other datasets must not be shared
            write_test_clips(folder / "test_clips", rows)
    if trainer.args.push_to_hub:
        trainer.push_to_hub()
    if results is None:
        return Outcome()
    print(f"report in {write_report(folder, rows)}")
    return Outcome(results.to_dict(), code=missing_code("hdf train", data, builder, len(unreadable) + num_left_out))


def write_results(
    folder: Path,
    trainer: HDFTrainer,
    script: ScriptArguments,
    data: DataArguments,
    scores: dict,
    command: list[str],
) -> Results:
    """Writes results, pictures and model card beside the weights, and returns the results."""
    results = training_results(
        folder,
        script.model_name_or_path or None,
        command,
        **data.described(as_fields("dataset_overrides", data.dataset_overrides)),
        split="test",
        calibration_temperature=trainer.model.config.calibration_temperature,
        **scores,
        seed=trainer.args.seed,
        environment=environment(),
    )
    results.write(folder)
    with whole_or_absent(folder / "confusion_matrix.png") as part:
        plot_confusion_matrix(scores, part, results.title)
    with whole_or_absent(folder / "training_curves.png") as part:
        plot_training_curves(trainer.state.log_history, part)
    write_model_card(folder)
    print(results.title)
    print(*unreadable_lines(results.unreadable), *total_lines(results), sep="\n")
    for name, value in (results.controls or {}).items():
        print(f"test {name} {value:.3f}")
    print(f"results in {folder}")
    return results


def write_test_clips(folder: Path, rows: Dataset) -> None:
    """Writes one test clip per class as a file, to try `hdf predict`."""
    labels = rows["label"][:]
    with whole_or_absent(folder) as part:  # removes clips of an earlier run, which may show other data
        part.mkdir()
        for index, name in enumerate(rows.features["label"].names):
            row = rows[labels.index(index)]
            (part / f"{name}_{row['clip_id']}.mp4").write_bytes(row["clip"]["bytes"])
