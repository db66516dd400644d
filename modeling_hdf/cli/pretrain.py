"""
Pretrain VideoMAE by masked autoencoding, on clips without labels; `hdf train` can start from the result.

    hdf pretrain                                             # the embedded synthetic faces
    hdf pretrain --recipe faces --data-dir my_clips --output_dir outputs/pretrained
    hdf train --recipe dfew --data-dir DFEW --fold 1 --model_name_or_path outputs/pretrained

The folder may hold videos and folders of frames at any depth; leave out the clips that you will test on. A recipe is
a YAML file with any of the arguments below. The same command, given again, continues a killed run from its last
complete checkpoint.

--accelerate_config, --quiet, --json and --debug: as for `hdf train`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import HfArgumentParser, VideoMAEForPreTraining, set_seed

from ..configuration import configuration_path
from ..configuration_hdf import HDFConfig
from ..data.files import write_json
from ..evaluation.trainings import PRETRAINING, start_weights, training_results, trainings_of_run
from ..training.pretraining import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingTrainer,
    pretraining_config,
)
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
from ..training.runs import output_dir_of, write_record
from .outcome import Outcome

# Arguments that do not change the trained weights. All others identify a recipe.
FREE = ("recipe", "cache_clips")


@dataclass
class ScriptArguments:
    """The model and the recipe."""

    recipe: str = field(default="synthetic", metadata={"help": "Name of a recipe that ships, or a YAML file."})
    preset: str = field(default="base_160", metadata={"help": "Model preset, or a JSON file; starts from scratch."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "VideoMAE checkpoint to go on from; empty: the preset."}
    )
    model_overrides: str = field(default="{}", metadata={"help": "VideoMAEConfig fields, as JSON."})


def build_model(script: ScriptArguments) -> VideoMAEForPreTraining:
    """The preset with a decoder, or the checkpoint."""
    fields = as_fields("model_overrides", script.model_overrides)
    if not script.model_name_or_path:
        preset = HDFConfig.from_pretrained(configuration_path("model", script.preset))
        return VideoMAEForPreTraining(pretraining_config(preset, **fields))
    config = checkpoint_config(script.model_name_or_path)
    if config.model_type != "videomae":
        raise ValueError(f"{script.model_name_or_path} is a {config.model_type!r} checkpoint; it must be a VideoMAE.")
    fields = {"use_mean_pooling": False, **fields}
    # In float32 also from a checkpoint in half precision, which would round small updates away.
    return VideoMAEForPreTraining.from_pretrained(script.model_name_or_path, dtype=torch.float32, **fields)


def training_parser() -> HfArgumentParser:
    """The parser of `hdf pretrain`."""
    return recipe_parser("pretrain", (ScriptArguments, PretrainingDataArguments, PretrainingArguments), __doc__)


def _build_trainer(
    script: ScriptArguments, data: PretrainingDataArguments, training: PretrainingArguments, record: dict
) -> PretrainingTrainer:
    """The trainer, ready for its first step."""
    set_seed(training.seed)
    model = build_model(script)
    start = start_of(training, script.model_name_or_path)
    record["trainings"][0] |= start_weights(training.output_dir, start)
    processor = build_processor(model.config, script.model_name_or_path)
    with training.main_process_first(desc="preparing the clips"):
        builder = data.builder(as_fields("dataset_overrides", data.dataset_overrides))
        builder.download_and_prepare()
    rows = builder.as_dataset(split="train")
    trainer = PretrainingTrainer(model, training, data.clips(rows, processor, training.seed), processor)
    if trainer.is_world_process_zero():
        write_record(training.output_dir, record)
        print(f"{len(rows)} clips, {model.videomae.num_parameters():,} parameters in the encoder", flush=True)
    return trainer


def run(arguments: Sequence[str]) -> Outcome:
    """Pretrains and writes a record of the run; the record is the result."""
    script, data, training = parse_with_recipe(training_parser(), "pretrain", arguments)
    record = _pretrain(script, data, training, training_command("pretrain", arguments, training))
    if torch.distributed.is_initialized():  # after the trainer is gone; otherwise the exit may hang
        torch.distributed.destroy_process_group()
    return Outcome(record)


def _pretrain(
    script: ScriptArguments, data: PretrainingDataArguments, training: PretrainingArguments, command: list[str]
) -> dict | None:
    record = deciding_arguments(training, (script, data), FREE)
    start = start_of(training, script.model_name_or_path)
    dataset = "folder" if data.data_dir else "synthetic"
    record["trainings"] = trainings_of_run(training.output_dir, start, dataset)
    with output_dir_of(training.output_dir, record, "hdf pretrain"):
        trainer = _build_trainer(script, data, training, record)
        trainer.train_to_the_end(trainer.args.resume_from_checkpoint)
        if not trainer.is_world_process_zero():
            return None
        return write_results(
            Path(training.output_dir), trainer, start, command, dataset=dataset, trainings=record["trainings"]
        )


def write_results(folder: Path, trainer: PretrainingTrainer, start: str | None, command: list[str], **told) -> dict:
    """Writes the record of the run beside the weights, and returns it; arguments as for [`training_results`]."""
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    results = training_results(
        folder,
        start,
        command,
        **told,
        num_clips=len(trainer.train_dataset),
        seed=trainer.args.seed,
        others={
            "num_steps": trainer.state.global_step,
            "last_loss": losses[-1] if losses else None,  # a run may be too short for a log
        },
    )
    write_json(folder / PRETRAINING, results.to_dict())
    print(f"checkpoint in {folder}; train from it: hdf train --model_name_or_path {folder}")
    return results.to_dict()
