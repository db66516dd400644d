"""
Train HDF by a recipe, test the model, and write a folder that is ready for the Hub.

    hdf train                                        # the embedded synthetic faces
    hdf train --recipe dfew --data-dir DFEW --fold 1
    hdf train --recipe my.yaml --sam_rho 0.05        # a recipe of your own; arguments override it
    hdf train --recipe open --data-dir DATA --fold 1 # several datasets; DATA holds a folder for each
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
from datasets import Dataset
from transformers import HfArgumentParser, set_seed

from ..configuration import configuration_path
from ..configuration_hdf import HDFConfig
from ..data.arguments import DataArguments
from ..data.builders.base import ExpressionBuilder
from ..data.files import whole_or_absent
from ..data.mixtures import MixedClips
from ..evaluation.provenance import check_same_cut, check_unseen
from ..evaluation.results import METRICS, Results
from ..evaluation.trainings import is_hdf_checkpoint, start_weights, trainings_of_run, trainings_on
from ..hub.release import write_model_card
from ..hub.trainer import HDFTrainer
from ..inference.classifier import check_finite
from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import SHIPPED, checkpoint_path
from ..reports.page import write_report
from ..reports.plots import plot_training_curves
from ..training.arguments import HDFTrainingArguments
from ..training.checkpointing import CheckpointError
from ..training.distributed import is_first_process
from ..training.recipes import (
    as_fields,
    build_processor,
    checkpoint_config,
    deciding_arguments,
    parse_with_recipe,
    recipe_parser,
    start_of,
    training_command,
)
from ..training.runs import earlier_record, output_dir_of, write_record
from ..training.single_frames import prepare_for_single_frames
from .measuring import missing_code
from .outcome import Outcome
from .text import total_lines, unreadable_lines
from .training_data import Part, add_clips, class_names, prepare
from .training_results import measure, write_mixture, write_test

# Arguments that do not change the trained weights. All others identify a recipe.
FREE = ("recipe", "frame_controls", "cache_clips", "num_views")


@dataclass
class ScriptArguments:
    """The model and the recipe."""

    recipe: str = field(default="synthetic", metadata={"help": "Name of a recipe that ships, or a YAML file."})
    preset: str = field(default="base_224", metadata={"help": "Model preset, or a JSON file; starts from scratch."})
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": f"HDF, VideoMAE or X3D checkpoint to start from ({' and '.join(SHIPPED)} ship); empty: the preset."
        },
    )
    model_overrides: str = field(default="{}", metadata={"help": "HDFConfig fields, as JSON."})
    frame_controls: bool = field(
        default=False, metadata={"help": "Also test on the first frame alone and on shuffled frames."}
    )


def training_parser() -> HfArgumentParser:
    """The parser of `hdf train`."""
    return recipe_parser("train", (ScriptArguments, DataArguments, HDFTrainingArguments), __doc__)


def build_model(script: ScriptArguments, names: list[str]) -> HDFForVideoClassification:
    """The preset, or the checkpoint, with the classes of the dataset. In float32 also from a checkpoint in half
    precision, which would round small updates away."""
    fields = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    fields["calibration_temperature"] = 1.0  # the temperature of a checkpoint fits only its own weights
    overrides = as_fields("model_overrides", script.model_overrides)
    classes = sorted({"id2label", "label2id", "num_labels"} & set(overrides))
    if classes:
        raise ValueError(f"--model_overrides sets {classes}, but the classes are those of the dataset: leave it out.")
    fields |= overrides
    start = checkpoint_path(script.model_name_or_path or "")
    if start and checkpoint_config(start).model_type != HDFConfig.model_type:
        return HDFForVideoClassification.from_backbone_pretrained(start, dtype=torch.float32, **fields)
    path = start or configuration_path("model", script.preset)
    saved = HDFConfig.from_pretrained(path)
    config, unknown = HDFConfig.from_pretrained(path, return_unused_kwargs=True, **fields)
    if unknown:
        raise ValueError(f"--model_overrides has unknown fields {sorted(unknown)}.")
    if not start:
        return HDFForVideoClassification(config)
    model = HDFForVideoClassification.from_pretrained(
        start, config=config, ignore_mismatched_sizes=True, dtype=torch.float32
    )
    check_finite(start, model.state_dict().items())
    if list(saved.id2label.values()) != names:
        if is_first_process():
            print(f"The classes of {start} are others, or in another order: its classifier starts afresh.")
        torch.nn.init.normal_(model.classifier.weight, std=config.backbone_config.initializer_range)
        torch.nn.init.zeros_(model.classifier.bias)
    return model


def run(arguments: Sequence[str]) -> Outcome:
    """
    Trains, tests, and writes the files beside the weights; the metrics are the result. The exit code is 1 if more
    clips than `max_missing` allows are missing, or could not be read in the test.
    """
    script, data, training = parse_with_recipe(training_parser(), "train", arguments)
    outcome = _train(script, data, training, training_command("train", arguments, training))
    if torch.distributed.is_initialized():  # after the trainer is gone; otherwise the exit may hang
        torch.distributed.destroy_process_group()
    return outcome


def _train(
    script: ScriptArguments, data: DataArguments, training: HDFTrainingArguments, command: list[str]
) -> Outcome:
    record = deciding_arguments(training, (script, data), FREE)
    start = start_of(training, script.model_name_or_path)
    record["trainings"] = trainings_of_run(training.output_dir, start, data.dataset)
    with output_dir_of(training.output_dir, record, "hdf train"):
        trainer, parts = _trained(script, data, training, record)
        told = {"start": start, "command": command, "trainings": record["trainings"]}
        return _tested(script, data, trainer, parts, told)


def _check_held_out(folder: str, record: dict) -> None:
    """Refuses to go on with a run, or to test it again, if it may have been trained on clips that are held out now."""
    earlier = earlier_record(folder)
    known = earlier.get("cut_splits", {})
    changed = [name for name, digests in record["cut_splits"].items() if known.get(name, {}) != digests]
    if earlier and changed:
        told = "held out other clips, because the data were others: restore them"
        if "cut_splits" not in earlier:
            told = "an earlier version trained, which did not record the clips that it held out: use `hdf evaluate`"
        names = ", ".join(changed)
        raise CheckpointError(f"{folder} holds a run on {names} that {told}, or choose another --output_dir.")


def _check_start(start: str, trainings: list[dict], parts: dict[str, Part]) -> None:
    """Refuses to select or test on clips that the start was trained on. A folder of one's own may be another one: the
    output says so."""
    trained = Results(trainings=trainings)  # without the training that begins
    if len(trainings) == 1 and start and is_hdf_checkpoint(start) and is_first_process():
        print(
            f"No {METRICS} beside {start} tells what it was trained on, or it is out of reach: it may know clips held "
            "out here, and the card will call its trainings unknown."
        )
    knows_a_folder = bool(trainings_on(trained, "folder"))
    for name, part in parts.items():
        if knows_a_folder and name != "synthetic" and is_first_process():
            which = "it was this one" if name == "folder" else f"it held clips of {name}"
            print(f"{start} was trained on a folder of clips. If {which}, it may know clips held out here.")
        if name == "folder":
            continue
        for split in ("test",) if part.data.peer_protocol else ("validation", "test"):
            check_unseen(start, trained, part.data, part.overrides, split)
            if isinstance(part.builder, ExpressionBuilder):
                check_same_cut(start, trained, part.builder.config, name, split)


def _trained(
    script: ScriptArguments, data: DataArguments, training: HDFTrainingArguments, record: dict
) -> tuple[HDFTrainer, dict[str, Part]]:
    """The trainer with the trained model, and the datasets by name."""
    set_seed(training.seed)
    start = checkpoint_path(script.model_name_or_path or "")
    if start:
        checkpoint_config(start)  # before the clips are looked at, which takes minutes
    parts = prepare(data, training)
    record["cut_splits"] = {name: part.cut_splits for name, part in parts.items()}
    _check_held_out(training.output_dir, record)
    known_weights = start_of(training, script.model_name_or_path)
    _check_start(known_weights or "", record["trainings"], parts)
    names = class_names(parts)
    model = build_model(script, names)
    record["trainings"][0] |= start_weights(training.output_dir, known_weights)
    if data.stills == "single":
        prepare_for_single_frames(model, is_fresh=not start)
    processor = build_processor(model.config.backbone_config, start)
    add_clips(parts, names, processor, training.seed)
    train = [part.clips["train"] for part in parts.values()]
    validation = [part.clips["validation"] for part in parts.values()]
    trainer = HDFTrainer(
        model=model,
        args=training,
        data_collator=data.collator(processor, len(names), training.dsm),
        train_dataset=MixedClips(train, data.weights) if data.is_mixture else train[0],
        eval_dataset=MixedClips(validation) if data.is_mixture else validation[0],
        processing_class=processor,
    )
    if trainer.is_world_process_zero():
        write_record(training.output_dir, record)
    trainer.train_to_the_end(training.resume_from_checkpoint)
    check_finite(training.output_dir, trainer.model.state_dict().items())
    return trainer, parts


def _tested(
    script: ScriptArguments, data: DataArguments, trainer: HDFTrainer, parts: dict[str, Part], told: dict
) -> Outcome:
    """Tests the model, and writes and pushes what belongs beside the weights. `told` are arguments of
    [`training_results`]."""
    measured = {name: measure(trainer, part, script.frame_controls) for name, part in parts.items()}
    results, folder = None, Path(trainer.args.output_dir)
    if trainer.is_world_process_zero():
        if data.is_mixture:
            described = data.described(as_fields("dataset_overrides", data.dataset_overrides))
            results = write_mixture(folder, trainer, measured, described, **told)
        else:
            results = write_test(folder, trainer, measured[data.dataset], **told)
        write_rest(folder, trainer, results)
        if "synthetic" in parts:  # copies of clips of other datasets must not be shared
            write_test_clips(folder / "test_clips", parts["synthetic"].rows["test"])
    if trainer.args.push_to_hub:
        trainer.push_to_hub()
    if results is None:
        return Outcome()
    print(f"report in {write_report(folder, None if data.is_mixture else parts[data.dataset].rows['test'])}")
    codes = [
        missing_code("hdf train", each.part.data, each.part.builder, each.num_unreadable) for each in measured.values()
    ]
    return Outcome(results.to_dict(), code=max(codes))


def write_rest(folder: Path, trainer: HDFTrainer, results: Results) -> None:
    """Writes curves and model card beside the weights, and prints the results."""
    with whole_or_absent(folder / "training_curves.png") as part:
        plot_training_curves(trainer.state.log_history, part)
    write_model_card(folder)
    print(results.title)
    print(*unreadable_lines(results.unreadable), *total_lines(results), sep="\n")
    for name, value in (results.controls or {}).items():
        print(f"test {name} {value:.3f}")
    print(f"results in {folder}")


def write_test_clips(folder: Path, rows: Dataset) -> None:
    """Writes one test clip per class as a file, to try `hdf predict`."""
    labels = rows["label"][:]
    with whole_or_absent(folder) as part:  # removes clips of an earlier run, which may show other data
        part.mkdir()
        for index, name in enumerate(rows.features["label"].names):
            row = rows[labels.index(index)]
            (part / f"{name}_{row['clip_id']}.mp4").write_bytes(row["clip"]["bytes"])
