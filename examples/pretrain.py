"""Pretrain VideoMAE by masked autoencoding, on clips without labels; train.py starts from what it leaves.

    accelerate launch examples/pretrain.py                               # the embedded synthetic faces
    accelerate launch examples/pretrain.py --recipe faces --data-dir my_clips --output_dir outputs/pretrained
    accelerate launch examples/train.py --recipe dfew --data-dir DFEW --fold 1 --model_name_or_path outputs/pretrained

The folder may hold videos and folders of frames at any depth; leave out the clips that you will test on. The same
command again goes on from the last checkpoint. A recipe is a YAML file with any of the arguments below (`--help`).
"""

import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoConfig, VideoMAEForPreTraining, set_seed

from modeling_hdf import HDFConfig
from modeling_hdf.configuration import configuration_path
from modeling_hdf.pretraining import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingTrainer,
    last_complete_checkpoint,
    pretraining_config,
)
from modeling_hdf.recipes import as_fields, build_processor, parse_with_recipe


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
        raise SystemExit(f"{script.model_name_or_path} is a {config.model_type!r} checkpoint; it must be a VideoMAE.")
    return VideoMAEForPreTraining.from_pretrained(script.model_name_or_path, **{"use_mean_pooling": False, **fields})


def main() -> None:
    script, data, training = parse_with_recipe(
        "pretrain", (ScriptArguments, PretrainingDataArguments, PretrainingArguments), __doc__
    )
    set_seed(training.seed)
    with training.main_process_first(desc="preparing the clips"):
        builder = data.builder(as_fields("dataset_overrides", data.dataset_overrides))
        builder.download_and_prepare()
    rows = builder.as_dataset(split="train")
    model = build_model(script)
    processor = build_processor(model.config)
    if training.process_index == 0:
        print(f"{len(rows)} clips, {model.videomae.num_parameters():,} parameters in the encoder", flush=True)

    trainer = PretrainingTrainer(model, training, data.clips(rows, processor, training.seed), processor)
    resume = training.resume_from_checkpoint or last_complete_checkpoint(training.output_dir)
    if resume and training.process_index == 0:
        print(f"going on from {resume}", flush=True)
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model()
    if trainer.is_world_process_zero():
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        record = {
            "base_model": script.model_name_or_path or None,
            "dataset": data.data_dir or "synthetic",
            "num_clips": len(rows),
            "num_steps": trainer.state.global_step,
            "last_loss": losses[-1] if losses else None,  # a run may be too short for a log
            "seed": training.seed,
            "command": shlex.join(["accelerate", "launch", *sys.argv]),
        }
        folder = Path(training.output_dir)
        (folder / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"checkpoint in {folder}; train from it: examples/train.py --model_name_or_path {folder}")


if __name__ == "__main__":
    main()
