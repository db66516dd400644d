"""Pretrain VideoMAE by masked autoencoding, on clips without labels; train.py starts from what it leaves.

    accelerate launch examples/pretrain.py                               # the embedded synthetic faces
    accelerate launch examples/pretrain.py --recipe faces --data-dir my_clips --output_dir outputs/pretrained
    accelerate launch examples/train.py --recipe dfew --data-dir DFEW --fold 1 --model_name_or_path outputs/pretrained

The folder may hold videos and folders of frames at any depth; leave out the clips that you will test on. A recipe is
a YAML file with any of the arguments below (`--help`). A run that was killed goes on from its last complete checkpoint
when the same command is given again.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import AutoConfig, VideoMAEForPreTraining, set_seed

from ..configuration import configuration_path
from ..configuration_hdf import HDFConfig
from ..training.distributed import decided_by_first
from ..training.pretraining import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingTrainer,
    pretraining_config,
)
from ..training.recipes import as_fields, build_processor, deciding_arguments, parse_with_recipe
from ..training.runs import check_output_dir, write_record

# What leaves the trained weights as they are; a recipe is known by what it sets.
FREE = ("recipe", "cache_clips")


@dataclass
class ScriptArguments:
    """Which model, by which recipe."""

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
    config = AutoConfig.from_pretrained(script.model_name_or_path)
    if config.model_type != "videomae":
        raise ValueError(f"{script.model_name_or_path} is a {config.model_type!r} checkpoint; it must be a VideoMAE.")
    return VideoMAEForPreTraining.from_pretrained(script.model_name_or_path, **{"use_mean_pooling": False, **fields})


def prepare(arguments: Sequence[str]) -> tuple[ScriptArguments, PretrainingDataArguments, PretrainingTrainer]:
    """Everything up to the first step. Raises an `OSError` or a `ValueError` for input that cannot be used."""
    script, data, training = parse_with_recipe(
        "pretrain", (ScriptArguments, PretrainingDataArguments, PretrainingArguments), arguments, __doc__
    )
    record = deciding_arguments(training, (script, data), FREE)
    # Before any work; in one process, as in the others the folder may look otherwise a moment later.
    decided_by_first(lambda: check_output_dir(training.output_dir, record))
    set_seed(training.seed)
    model = build_model(script)
    processor = build_processor(model.config)
    with training.main_process_first(desc="preparing the clips"):
        builder = data.builder(as_fields("dataset_overrides", data.dataset_overrides))
        builder.download_and_prepare()
    rows = builder.as_dataset(split="train")
    trainer = PretrainingTrainer(model, training, data.clips(rows, processor, training.seed), processor)
    if trainer.is_world_process_zero():
        write_record(training.output_dir, record)
        print(f"{len(rows)} clips, {model.videomae.num_parameters():,} parameters in the encoder", flush=True)
    return script, data, trainer


def main(arguments: Sequence[str]) -> int:
    """Pretrains; the exit code."""
    try:
        pretrain(arguments)
    except (OSError, ValueError) as error:
        print(f"hdf pretrain: error: {error}", file=sys.stderr)
        return 1
    if torch.distributed.is_initialized():  # only now that the trainer is gone, or the exit may hang
        torch.distributed.destroy_process_group()
    return 0


def pretrain(arguments: Sequence[str]) -> None:
    script, data, trainer = prepare(arguments)
    trainer.train_to_the_end(trainer.args.resume_from_checkpoint)
    if trainer.is_world_process_zero():
        write_results(Path(trainer.args.output_dir), trainer, script, data)


def write_results(
    folder: Path, trainer: PretrainingTrainer, script: ScriptArguments, data: PretrainingDataArguments
) -> None:
    """What was done, beside the weights."""
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    record = {
        "base_model": script.model_name_or_path or None,
        "dataset": data.data_dir or "synthetic",
        "num_clips": len(trainer.train_dataset),
        "num_steps": trainer.state.global_step,
        "last_loss": losses[-1] if losses else None,  # a run may be too short for a log
        "seed": trainer.args.seed,
        "command": shlex.join(["accelerate", "launch", *sys.argv]),
    }
    (folder / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"checkpoint in {folder}; train from it: examples/train.py --model_name_or_path {folder}")
