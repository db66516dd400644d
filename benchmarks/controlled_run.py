"""One run of `controlled_ablation.py`: training, answers on all test sets, liveness of the gates."""

import tempfile
import time
from pathlib import Path

import torch
from controlled_conditions import training_clips
from controlled_settings import CORRUPTED_CLIPS, CORRUPTED_SEVERITIES, LIVENESS_CLIPS, NUM_STARTS
from safetensors import safe_open
from safetensors.torch import save_file
from synthetic_runs import (
    build_clips,
    build_config,
    build_processor,
    build_rows,
    common_arguments,
    digest,
    pretrained_checkpoint,
    write_whole,
)
from torch.utils.data import DataLoader
from transformers import set_seed

from modeling_hdf import HDFForVideoClassification, HDFTrainer, HDFTrainingArguments
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ClipCollator
from modeling_hdf.data.clips import ClipDataset
from modeling_hdf.evaluation import gate_liveness
from modeling_hdf.evaluation.robustness import CLEAN, CorruptedClips, all_conditions, predicted_classes

BATCH_SIZE = 16  # of everything but training: the maps of larger batches leave a CPU's cache


def build_model(settings: dict, seed: int, cache: Path) -> HDFForVideoClassification:
    """The model of a run; its start and its head are those of all arms with this seed."""
    names = dict(enumerate(EMOTIONS))

    def build(dam: dict) -> HDFForVideoClassification:
        set_seed(seed)
        if settings["start"] is None:
            return HDFForVideoClassification(build_config(settings, **dam))
        start = pretrained_checkpoint(settings, seed % NUM_STARTS, cache)
        return HDFForVideoClassification.from_backbone_pretrained(str(start), id2label=names, **dam)

    plain, model = build({"dam_layers": []}), build(settings["dam"])
    model.load_state_dict(plain.state_dict(), strict=False)  # DAM drew random numbers before the head
    return model


def liveness(model: HDFForVideoClassification, clips: ClipDataset) -> dict:
    """[`gate_liveness`] on the first validation clips."""
    collator = ClipCollator(clips.processor, len(EMOTIONS))
    first = torch.utils.data.Subset(clips, range(min(LIVENESS_CLIPS, len(clips))))
    return gate_liveness(
        model, DataLoader(first, BATCH_SIZE, collate_fn=lambda items: collator(items)["pixel_values"])
    )


def digits(classes) -> str:
    """Predicted or true classes as a text with one digit per clip."""
    return "".join(str(int(label)) for label in classes)


def corrupted_clips(data: dict, cache: Path) -> tuple[list[tuple[str, int]], Path]:
    """
    The first test clips under every corruption, made once for all runs.

    Returns:
        Corruptions with their severities, and a file with the uint8 tensor `clips`
        `(num_clips, conditions, num_frames, 3, height, width)`.
    """
    conditions = [each for each in all_conditions(severities=CORRUPTED_SEVERITIES) if each != CLEAN]
    path = cache / f"corrupted_{digest([data, conditions, CORRUPTED_CLIPS])}.safetensors"
    if not path.exists():
        rows = build_rows(data, "test")
        clips = CorruptedClips(
            rows.select(range(min(CORRUPTED_CLIPS, len(rows)))), build_processor(data), conditions, 0
        )
        made = torch.stack([torch.as_tensor(clips[index][1]) for index in range(len(clips))])
        write_whole(path, lambda part: save_file({"clips": made}, part))
    return conditions, path


def corrupted_answers(model: HDFForVideoClassification, data: dict, cache: Path) -> dict[str, str]:
    """Predicted classes of [`corrupted_clips`], by `"NAME SEVERITY"`."""
    conditions, path = corrupted_clips(data, cache)
    processor = build_processor(data)
    with safe_open(path, "pt") as file:
        clips = file.get_slice("clips")
        answers = torch.stack(
            [
                torch.as_tensor(predicted_classes(model, processor, clips[index], batch_size=BATCH_SIZE))
                for index in range(clips.get_shape()[0])
            ]
        )
    return {f"{name} {level}": digits(answers[:, k]) for k, (name, level) in enumerate(conditions)}


def clips_of_splits(data: dict, splits: tuple[str, ...]) -> dict[str, dict]:
    """True classes (as [`digits`]) and people of the clips that the runs are measured on."""
    rows = {split: build_rows(data, split) for split in splits}
    return {
        "truth": {split: digits(each["label"][:]) for split, each in rows.items()},
        "people": {split: [str(person) for person in each["identity"][:]] for split, each in rows.items()},
    }


def train_and_measure(settings: dict, seed: int, splits: tuple[str, ...], cache: Path) -> dict:
    """One run: its predictions, the liveness of its gates, the losses, and the seconds of the processor."""
    begin = time.process_time()
    data, model = settings["data"], build_model(settings, seed, cache)
    validation = build_clips(data, "validation", cache)
    live = {"start": liveness(model, validation)}
    clips = training_clips(data, settings["condition"], seed, len(EMOTIONS), cache)
    with tempfile.TemporaryDirectory() as folder:
        arguments = HDFTrainingArguments(
            **common_arguments(folder, seed), per_device_eval_batch_size=BATCH_SIZE, **settings["training"]
        )
        collator = ClipCollator(build_processor(data), len(EMOTIONS))
        trainer = HDFTrainer(model=model, args=arguments, train_dataset=clips, data_collator=collator)
        begin_training = time.process_time()
        trainer.train()
        seconds = time.process_time() - begin_training
        live["trained"] = liveness(model, validation)
        answers = {
            split: digits(trainer.predict(build_clips(data, split, cache)).predictions.argmax(-1)) for split in splits
        }
    corrupted = corrupted_answers(model.eval(), data, cache) if "test" in splits else {}
    return {
        "answers": answers,
        "corrupted": corrupted,
        "liveness": live,
        "losses": [round(entry["loss"], 4) for entry in trainer.state.log_history if "loss" in entry],
        "seconds": round(seconds, 1),
        "seconds_with_measuring": round(time.process_time() - begin, 1),
    }
