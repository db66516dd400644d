"""Train HDF by a recipe, evaluate it on the test split, and leave a folder that is ready for the Hub.

    accelerate launch examples/train.py                                # the embedded synthetic faces
    accelerate launch examples/train.py --recipe my.yaml --sam_rho 0.05  # own recipe; arguments override it

A recipe is a YAML file with any of the arguments below (`--help` lists them).
"""

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
from modeling_hdf.data import ClipCollator, ClipDataset, SyntheticFaces
from modeling_hdf.hub import write_model_card
from modeling_hdf.metrics import classification_report
from modeling_hdf.reports import plot_confusion_matrix, plot_training_curves


@dataclass
class ScriptArguments:
    """What to train on what."""

    recipe: str = field(default="synthetic", metadata={"help": "Name of a recipe that ships, or a YAML file."})
    preset: str = field(default="base_224", metadata={"help": "Model preset, or a JSON file; starts from scratch."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "HDF or VideoMAE checkpoint to start from instead of a preset."}
    )
    model_overrides: str = field(default="{}", metadata={"help": "HDFConfig fields, as JSON."})
    dataset: str = field(default="synthetic", metadata={"help": "Dataset: synthetic."})
    dataset_overrides: str = field(default="{}", metadata={"help": "Builder fields, as JSON."})
    cache_clips: bool = field(default=False, metadata={"help": "Keep decoded clips in memory."})
    frame_controls: bool = field(
        default=False, metadata={"help": "Also test on the first frame alone and on shuffled frames."}
    )


def parse_arguments() -> tuple[ScriptArguments, HDFTrainingArguments]:
    """Recipe first, command line on top."""
    parser = HfArgumentParser((ScriptArguments, HDFTrainingArguments), description=__doc__)
    arguments = sys.argv[1:]
    name = arguments[arguments.index("--recipe") + 1] if "--recipe" in arguments[:-1] else ScriptArguments.recipe
    recipe = yaml.safe_load(configuration_path("train", name).read_text())
    unknown = sorted(set(recipe) - {action.dest for action in parser._actions})
    if unknown:
        parser.error(f"recipe {name!r} has unknown arguments {unknown}")
    parser.set_defaults(**recipe)
    script, training = parser.parse_args_into_dataclasses()
    for option in ("model_overrides", "dataset_overrides"):
        if isinstance(getattr(script, option), str):
            setattr(script, option, json.loads(getattr(script, option)))
    return script, training


def build_model(script: ScriptArguments) -> HDFForVideoClassification:
    if script.model_name_or_path is None:
        preset = configuration_path("model", script.preset)
        return HDFForVideoClassification(HDFConfig.from_pretrained(preset, **script.model_overrides))
    if AutoConfig.from_pretrained(script.model_name_or_path).model_type == HDFConfig.model_type:
        return HDFForVideoClassification.from_pretrained(script.model_name_or_path, **script.model_overrides)
    return HDFForVideoClassification.from_backbone_pretrained(script.model_name_or_path, **script.model_overrides)


def main() -> None:
    script, training = parse_arguments()
    set_seed(training.seed)
    if script.dataset != "synthetic":
        raise SystemExit(f"Unknown dataset {script.dataset!r}; choose synthetic.")
    builder = SyntheticFaces(**script.dataset_overrides)
    with training.main_process_first(desc="rendering the dataset"):
        builder.download_and_prepare()
    splits = builder.as_dataset()

    model = build_model(script)
    size = model.config.image_size
    processor = HDFVideoProcessor(
        num_frames=model.config.num_frames, size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    clips = {
        name: ClipDataset(rows, processor, flip=name == "train", cache=script.cache_clips)
        for name, rows in splits.items()
    }
    trainer = HDFTrainer(
        model=model,
        args=training,
        data_collator=ClipCollator(processor, model.config.num_labels),
        train_dataset=clips["train"],
        eval_dataset=clips["validation"],
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()

    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    prediction = trainer.predict(clips["test"], metric_key_prefix="test")
    report = classification_report(prediction.label_ids, prediction.predictions.argmax(-1), names)
    if script.frame_controls:
        report["controls"] = {}
        for order in ("first", "shuffled"):
            control = ClipDataset(splits["test"], processor, frame_order=order)
            report["controls"][f"{order}_war"] = trainer.predict(control).metrics["test_war"]
    if trainer.is_world_process_zero():
        write_results(Path(training.output_dir), trainer, script, report)
        write_test_clips(Path(training.output_dir) / "test_clips", splits["test"])


def write_results(folder: Path, trainer: HDFTrainer, script: ScriptArguments, report: dict) -> None:
    """Metrics, pictures and model card beside the weights."""
    metrics = {
        "dataset": script.dataset,
        "split": "test",
        **report,
        "seed": trainer.args.seed,
        "command": shlex.join(["accelerate", "launch", *sys.argv]),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    plot_confusion_matrix(report, folder / "confusion_matrix.png", f"{script.dataset}, test split")
    plot_training_curves(trainer.state.log_history, folder / "training_curves.png")
    write_model_card(folder)
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
