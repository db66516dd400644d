"""Train HDF by a recipe, evaluate it on the test split, and leave a folder that is ready for the Hub.

    accelerate launch examples/train.py                                # the embedded synthetic faces
    accelerate launch examples/train.py --recipe dfew --data-dir DFEW --fold 1
    accelerate launch examples/train.py --recipe my.yaml --sam_rho 0.05  # own recipe; arguments override it

A recipe is a YAML file with any of the arguments below (`--help` lists them). A run that was killed goes on from its
last complete checkpoint when the same command is given again; one that had finished is evaluated again. A checkpoint
of another run, given with `--resume_from_checkpoint`, is started from while the run has no complete one of its own.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoConfig, set_seed

from ..configuration import configuration_path
from ..configuration_hdf import HDFConfig
from ..data.arguments import DataArguments, class_count_lines
from ..data.builders.checks import class_counts
from ..data.clips import ClipDataset
from ..evaluation.environment import environment
from ..evaluation.predictions import predictions_table, write_predictions
from ..evaluation.shared_classes import SharedClasses
from ..evaluation.summary import evaluate_predictions
from ..evaluation.views import predict_views
from ..hub.cards import evaluation_title
from ..hub.client import HubError
from ..hub.release import write_metrics, write_model_card
from ..hub.trainer import HDFTrainer
from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import SHIPPED, checkpoint_path
from ..reports.page import write_report
from ..reports.run_plots import plot_confusion_matrix, plot_training_curves
from ..training.arguments import HDFTrainingArguments
from ..training.checkpointing import CheckpointError
from ..training.distributed import decided_by_first
from ..training.recipes import as_fields, build_processor, deciding_arguments, parse_with_recipe
from ..training.runs import check_output_dir, write_record
from .text import total_lines

# What leaves the trained weights as they are; a recipe is known by what it sets.
FREE = ("recipe", "frame_controls", "cache_clips", "num_views")


@dataclass
class ScriptArguments:
    """Which model, by which recipe."""

    recipe: str = field(default="synthetic", metadata={"help": "Name of a recipe that ships, or a YAML file."})
    preset: str = field(default="base_224", metadata={"help": "Model preset, or a JSON file; starts from scratch."})
    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": f"HDF or VideoMAE checkpoint to start from ({SHIPPED} ships); empty: the preset."},
    )
    model_overrides: str = field(default="{}", metadata={"help": "HDFConfig fields, as JSON."})
    frame_controls: bool = field(
        default=False, metadata={"help": "Also test on the first frame alone and on shuffled frames."}
    )


def parse_arguments(arguments: Sequence[str]) -> tuple[ScriptArguments, DataArguments, HDFTrainingArguments]:
    """Recipe first, command line on top."""
    return parse_with_recipe("train", (ScriptArguments, DataArguments, HDFTrainingArguments), arguments, __doc__)


def build_model(script: ScriptArguments, names: list[str]) -> HDFForVideoClassification:
    """The preset, or the checkpoint, with the classes of the dataset."""
    fields = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    fields["calibration_temperature"] = 1.0  # that of a checkpoint fits its own weights alone
    fields |= as_fields("model_overrides", script.model_overrides)
    start = checkpoint_path(script.model_name_or_path or "")
    if start and AutoConfig.from_pretrained(start).model_type != HDFConfig.model_type:
        return HDFForVideoClassification.from_backbone_pretrained(start, **fields)
    path = start or configuration_path("model", script.preset)
    saved = HDFConfig.from_pretrained(path)
    config, unknown = HDFConfig.from_pretrained(path, return_unused_kwargs=True, **fields)
    if unknown:
        raise SystemExit(f"--model_overrides has unknown fields {sorted(unknown)}.")
    if not start:
        return HDFForVideoClassification(config)
    model = HDFForVideoClassification.from_pretrained(start, config=config, ignore_mismatched_sizes=True)
    if list(saved.id2label.values()) != names:
        print(f"The classes of {start} are others, or in another order: its classifier starts afresh.")
        torch.nn.init.normal_(model.classifier.weight, std=config.backbone_config.initializer_range)
        torch.nn.init.zeros_(model.classifier.bias)
    return model


def main(arguments: Sequence[str]) -> int:
    """Trains; the exit code."""
    try:
        train(arguments)
    except (CheckpointError, HubError) as error:
        print(f"hdf train: error: {error}", file=sys.stderr)
        return 1
    if torch.distributed.is_initialized():  # only now that the trainer is gone, or the exit may hang
        torch.distributed.destroy_process_group()
    return 0


def train(arguments: Sequence[str]) -> None:
    script, data, training = parse_arguments(arguments)
    record = deciding_arguments(training, (script, data), FREE)
    try:
        # Before any work; in one process, as in the others the folder may look otherwise a moment later.
        decided_by_first(lambda: check_output_dir(training.output_dir, record))
    except OSError as error:
        raise SystemExit(f"--output_dir {training.output_dir} cannot be written: {error}") from error
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
    clips = data.clips(splits, processor, training.seed)
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

    probabilities, _ = predict_views(trainer, clips["test"], data.num_views)
    controls = {}
    for order in ("first", "shuffled") if script.frame_controls else ():
        control = ClipDataset(splits["test"], processor, sampling=clips["test"].sampling, frame_order=order)
        controls[f"{order}_war"] = trainer.predict(control).metrics["test_war"]
    if trainer.is_world_process_zero():
        folder = Path(training.output_dir)
        table = predictions_table(splits["test"], probabilities, SharedClasses(names, names))
        write_predictions(table, folder)
        report = evaluate_predictions(table)
        write_results(folder, trainer, script, data, report | ({"controls": controls} if controls else {}))
        if data.dataset == "synthetic":  # no clip of the other datasets may be handed on
            write_test_clips(folder / "test_clips", splits["test"])
    if training.push_to_hub:
        trainer.push_to_hub()
    if trainer.is_world_process_zero():
        print(f"report in {write_report(folder, splits['test'])}")


def write_results(
    folder: Path, trainer: HDFTrainer, script: ScriptArguments, data: DataArguments, report: dict
) -> None:
    """Metrics, pictures and model card beside the weights."""
    metrics = {
        **data.described(as_fields("dataset_overrides", data.dataset_overrides)),
        "split": "test",
        "calibration_temperature": trainer.model.config.calibration_temperature,
        **report,
        "seed": trainer.args.seed,
        "environment": environment(),
    }
    metrics = write_metrics(folder, metrics, script.model_name_or_path or None, sys.argv)
    plot_confusion_matrix(report, folder / "confusion_matrix.png", evaluation_title(metrics))
    plot_training_curves(trainer.state.log_history, folder / "training_curves.png")
    write_model_card(folder)
    print(evaluation_title(metrics))
    print(*total_lines(report), sep="\n")
    for name, value in report.get("controls", {}).items():
        print(f"test {name} {value:.3f}")
    print(f"results in {folder}")


def write_test_clips(folder: Path, rows: Dataset) -> None:
    """One test clip per class as a file, to try `examples/predict.py` on."""
    shutil.rmtree(folder, ignore_errors=True)  # those of an earlier run may show other data
    folder.mkdir()
    labels = rows["label"][:]
    for index, name in enumerate(rows.features["label"].names):
        row = rows[labels.index(index)]
        (folder / f"{name}_{row['clip_id']}.mp4").write_bytes(row["clip"]["bytes"])
