"""Train HDF by a recipe, evaluate it on the test split, and leave a folder that is ready for the Hub.

    accelerate launch examples/train.py                                # the embedded synthetic faces
    accelerate launch examples/train.py --recipe dfew --data-dir DFEW --fold 1
    accelerate launch examples/train.py --recipe my.yaml --sam_rho 0.05  # own recipe; arguments override it

A recipe is a YAML file with any of the arguments below (`--help` lists them).
"""

import argparse
import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from datasets import Dataset
from transformers import AutoConfig, HfArgumentParser, set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFTrainer, HDFTrainingArguments, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import ClipDataset, DataArguments, class_count_lines, class_counts, predict_views
from modeling_hdf.hub import write_model_card
from modeling_hdf.metrics import classification_report
from modeling_hdf.reports import evaluation_title, plot_confusion_matrix, plot_training_curves


@dataclass
class ScriptArguments:
    """Which model, by which recipe."""

    recipe: str = field(default="synthetic", metadata={"help": "Name of a recipe that ships, or a YAML file."})
    preset: str = field(default="base_224", metadata={"help": "Model preset, or a JSON file; starts from scratch."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "HDF or VideoMAE checkpoint to start from; empty: the preset."}
    )
    model_overrides: str = field(default="{}", metadata={"help": "HDFConfig fields, as JSON."})
    frame_controls: bool = field(
        default=False, metadata={"help": "Also test on the first frame alone and on shuffled frames."}
    )


def parse_arguments() -> tuple[ScriptArguments, DataArguments, HDFTrainingArguments]:
    """Recipe first, command line on top."""
    parser = HfArgumentParser((ScriptArguments, DataArguments, HDFTrainingArguments), description=__doc__)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default=ScriptArguments.recipe)
    name = first.parse_known_args()[0].recipe
    recipe = yaml.safe_load(configuration_path("train", name).read_text())
    unknown = sorted(set(recipe) - {action.dest for action in parser._actions})
    if unknown:
        parser.error(f"recipe {name!r} has unknown arguments {unknown}")
    parser.set_defaults(**recipe)
    return parser.parse_args_into_dataclasses()


def as_fields(overrides: str | dict) -> dict:
    """Overrides: a mapping in a recipe, JSON on the command line."""
    return json.loads(overrides) if isinstance(overrides, str) else overrides


def build_model(script: ScriptArguments, names: list[str]) -> HDFForVideoClassification:
    fields = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    fields |= as_fields(script.model_overrides)
    if not script.model_name_or_path:
        preset = configuration_path("model", script.preset)
        return HDFForVideoClassification(HDFConfig.from_pretrained(preset, **fields))
    if AutoConfig.from_pretrained(script.model_name_or_path).model_type == HDFConfig.model_type:
        return HDFForVideoClassification.from_pretrained(script.model_name_or_path, **fields)
    return HDFForVideoClassification.from_backbone_pretrained(script.model_name_or_path, **fields)


def main() -> None:
    script, data, training = parse_arguments()
    set_seed(training.seed)
    with training.main_process_first(desc="preparing the dataset"):
        builder = data.builder(as_fields(data.dataset_overrides))
        builder.download_and_prepare()
    splits = builder.as_dataset()
    if training.process_index == 0:
        print(*class_count_lines(class_counts(splits), data.peer_protocol), sep="\n", flush=True)

    names = splits["train"].features["label"].names
    model = build_model(script, names)
    size = model.config.image_size
    processor = HDFVideoProcessor(
        num_frames=model.config.num_frames, size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    clips = data.clips(splits, processor, training.seed)
    trainer = HDFTrainer(
        model=model,
        args=training,
        data_collator=data.collator(processor, len(names), training.dsm),
        train_dataset=clips["train"],
        eval_dataset=clips["validation"],
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()

    probabilities, labels = predict_views(trainer, clips["test"], data.num_views)
    report = classification_report(labels, probabilities.argmax(-1), names)
    if script.frame_controls:
        report["controls"] = {}
        for order in ("first", "shuffled"):
            control = ClipDataset(splits["test"], processor, sampling=clips["test"].sampling, frame_order=order)
            report["controls"][f"{order}_war"] = trainer.predict(control).metrics["test_war"]
    if trainer.is_world_process_zero():
        write_results(Path(training.output_dir), trainer, data, report)
        if data.dataset == "synthetic":  # no clip of the other datasets may be handed on
            write_test_clips(Path(training.output_dir) / "test_clips", splits["test"])


def write_results(folder: Path, trainer: HDFTrainer, data: DataArguments, report: dict) -> None:
    """Metrics, pictures and model card beside the weights."""
    metrics = {
        "dataset": data.dataset,
        "fold": data.fold,
        "split": "test",
        "peer_protocol": data.peer_protocol,
        "temporal_sampling": data.temporal_sampling,
        "num_views": data.num_views,
        **report,
        "seed": trainer.args.seed,
        "command": shlex.join(["accelerate", "launch", *sys.argv]),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    plot_confusion_matrix(report, folder / "confusion_matrix.png", evaluation_title(metrics))
    plot_training_curves(trainer.state.log_history, folder / "training_curves.png")
    write_model_card(folder)
    print(evaluation_title(metrics))
    print(f"test WAR {report['war']:.3f}  UAR {report['uar']:.3f}  ({report['num_clips']} clips)")
    for name, value in report.get("controls", {}).items():
        print(f"test {name} {value:.3f}")
    print(f"results in {folder}")


def write_test_clips(folder: Path, rows: Dataset) -> None:
    """One test clip per class as a file, to try `examples/predict.py` on."""
    folder.mkdir(exist_ok=True)
    labels = rows["label"][:]
    for index, name in enumerate(rows.features["label"].names):
        row = rows[labels.index(index)]
        (folder / f"{name}_{row['clip_id']}.mp4").write_bytes(row["clip"]["bytes"])


if __name__ == "__main__":
    main()
