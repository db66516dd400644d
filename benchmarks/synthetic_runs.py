"""Shared code of the benchmarks that train on synthetic faces: clips, training, pretraining, records."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import VideoMAEForPreTraining, set_seed

from modeling_hdf import HDFConfig, HDFTrainer, HDFTrainingArguments, HDFVideoProcessor
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ClipCollator, ClipDataset, ShiftedSyntheticFaces, SyntheticFaces, build_augmentation
from modeling_hdf.data.synthetic.builder import SPLITS
from modeling_hdf.evaluation.privacy import public_command
from modeling_hdf.training.pretraining import PretrainingArguments, PretrainingTrainer, pretraining_config

ROOT = Path(__file__).parents[1]
# Fields of VideoMAE's configuration among the settings of a pretraining; the others are arguments of its training.
_MODEL_FIELDS = ("norm_pix_loss",)
# Removed settings of recorded runs, with the only value that is left.
RETIRED = {"dsm_variant": "figure"}


# The code of this process, read before its first run: another commit may be there when a later one ends.
_COMMIT = subprocess.run(
    ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"], cwd=ROOT, capture_output=True, text=True
).stdout.strip()


def provenance() -> dict:
    """Code, command and versions for the record of a run; `-dirty` marks a commit with changes."""
    return {
        "commit": _COMMIT or None,
        "command": public_command(["python", *sys.argv]),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a temporary file and renames it to `path`, so that `path` is never incomplete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    write(part)
    part.replace(path)


def build_processor(data: dict) -> HDFVideoProcessor:
    size = data["image_size"]
    return HDFVideoProcessor(
        num_frames=data["num_frames"],
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
    )


def build_rows(data: dict, split: str) -> datasets.Dataset:
    """The rows of `train`, `validation`, `test` or `shifted`, rendered if they are not cached."""
    shared = {name: data[name] for name in ("difficulty", "image_size", "duration", "seed")}
    if split == "shifted":
        builder = ShiftedSyntheticFaces(**shared, num_test=data["num_shifted"], num_shifts=data["num_shifts"])
    else:
        builder = SyntheticFaces(**shared, **{f"num_{name}": data[f"num_{name}"] for name in SPLITS})
    builder.download_and_prepare()
    rows = builder.as_dataset(split="test" if split == "shifted" else split)
    return rows.select(range(data["train_clips"])) if split == "train" else rows


def build_clips(data: dict, split: str, cache: Path, **options) -> ClipDataset:
    """The clips of a split, decoded once for all runs; `options` go to [`ClipDataset`]."""
    rows, processor = build_rows(data, split), build_processor(data)
    path = cache / f"{split}_{digest(data)}.safetensors"
    if not path.exists():
        decoded = ClipDataset(rows, processor, cache=True)
        clips = torch.stack([decoded[index]["clip"] for index in range(len(decoded))])
        write_whole(path, lambda part: save_file({"clips": clips}, part))
    dataset = ClipDataset(rows, processor, cache=True, **options)
    dataset.cache = dict(enumerate(zip(load_file(path)["clips"], dataset.labels, strict=True)))
    return dataset


def common_arguments(folder: str | Path, seed: int) -> dict:
    """Arguments of every Trainer of the benchmarks."""
    return {
        "output_dir": str(folder), "seed": seed, "use_cpu": True, "save_strategy": "no", "logging_strategy": "epoch",
        "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip


def train(model: torch.nn.Module, data: dict, training: dict, seed: int, cache: Path) -> tuple[HDFTrainer, float]:
    """Trains for all epochs; returns the trainer and the seconds."""
    flip = build_augmentation("flip", build_processor(data))
    with tempfile.TemporaryDirectory() as folder:
        trainer = HDFTrainer(
            model=model,
            args=HDFTrainingArguments(**common_arguments(folder, seed), per_device_eval_batch_size=64, **training),
            train_dataset=build_clips(data, "train", cache, training=True, augmentation=flip, seed=seed),
            data_collator=ClipCollator(build_processor(data), len(EMOTIONS)),
        )
        begin = time.perf_counter()
        trainer.train()
        return trainer, time.perf_counter() - begin


def build_config(settings: dict, **fields) -> HDFConfig:
    """The configuration of a run; `fields` are the DAM fields."""
    return HDFConfig(
        num_frames=settings["data"]["num_frames"],
        image_size=settings["data"]["image_size"],
        backbone_config={"model_type": "videomae", **settings["backbone"]},
        id2label=dict(enumerate(EMOTIONS)),
        **fields,
    )


def pretrained_checkpoint(settings: dict, seed: int, cache: Path) -> Path:
    """Folder of a backbone pretrained without labels by `settings["start"]`; pretrains it if the folder is missing."""
    start = dict(settings["start"])
    data = settings["data"] | {"train_clips": start.pop("train_clips")}
    folder = cache / f"pretrained_{digest([data, settings['backbone'], settings['start']])}_{seed}"
    if folder.exists():
        return folder
    fields = {name: start.pop(name) for name in _MODEL_FIELDS if name in start}
    config, processor = pretraining_config(build_config(settings), **fields), build_processor(data)
    set_seed(seed)
    part = folder.with_suffix(f".{os.getpid()}")
    clips = build_clips(
        data, "train", cache, training=True, augmentation=build_augmentation("flip", processor), seed=seed
    )
    arguments = PretrainingArguments(**common_arguments(part, seed), **start)
    trainer = PretrainingTrainer(VideoMAEForPreTraining(config), arguments, clips, processor)
    begin = time.perf_counter()
    trainer.train()
    trainer.save_model()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    record = {"losses": losses, "seconds": round(time.perf_counter() - begin, 1)}
    (part / "pretraining.json").write_text(json.dumps(record) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    return folder


def digest(settings: dict | list) -> str:
    """Short name of settings; equal settings have equal names."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def without_retired(settings: dict) -> dict:
    """The settings without removed ones, which recorded runs may still name."""
    return {
        group: {name: value for name, value in (entries or {}).items() if RETIRED.get(name) != value}
        for group, entries in settings.items()
    }


def finished_run(path: Path, settings: dict) -> dict | None:
    """The record of a run; `None` before the run. Raises `SystemExit` for a file of other settings."""
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    was, now = without_retired(record["settings"]), without_retired(settings)
    if was == now:
        return record
    differences = [
        f"{group}.{name} was {was[group].get(name)!r}, is {now[group].get(name)!r}"
        for group in now
        for name in sorted(was[group].keys() | now[group].keys())
        if was[group].get(name) != now[group].get(name)
    ]
    raise SystemExit(
        f"{path} was measured with other settings: {'; '.join(differences)}. Move it away, or give another --results."
    )
