"""What pretraining without labels gives: fine-tuning from it, against from scratch, on a few labelled synthetic faces.

    python benchmarks/pretraining.py           # every seed, from scratch and pretrained; run it again to go on
    python benchmarks/pretraining.py --table   # the results as Markdown

Each seed pretrains a model of its own on all training clips, without their labels. Both arms of a seed then train on
the same few labelled clips in the same order, with equal settings. The last epoch counts: nothing is chosen by any
score. Every run writes one JSON file; a run whose file is there is skipped.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

import datasets
import torch
import transformers
from ablation import digest, finished_run, write_whole
from ablation_table import paired_interval
from safetensors.torch import load_file, save_file
from transformers import VideoMAEForPreTraining, set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFTrainer, HDFTrainingArguments, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import ClipCollator, ClipDataset, SyntheticFaces, build_augmentation
from modeling_hdf.metrics import classification_report
from modeling_hdf.pretraining import PretrainingArguments, PretrainingTrainer, pretraining_config
from modeling_hdf.recipes import build_processor

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "pretraining"
CACHE = ROOT / "outputs" / "pretraining_benchmark"
ARMS = {"scratch": "from scratch", "pretrained": "pretrained on all clips, without labels"}
SEEDS = (0, 1, 2, 3)

# Frames of half the rendered size, in patches of half the preset's: the same tokens for a quarter of the pixels.
BACKBONE = {"preset": "tiny", "image_size": 32, "patch_size": 8}
PRETRAINING = {
    "num_train_epochs": 40,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "mask_ratio": 0.75,  # of 4 x 4 patches; VideoMAE hides 0.9 of 14 x 14
}
# With DSM and half this rate, 24 epochs left both arms on their plateau (results/pretraining/trials, test UAR 0.33 to
# 0.40); with these settings the validation UAR of one seed was 0.45 from scratch and 0.49 after 14 pretraining epochs.
FINE_TUNING = {
    "dsm": False,
    "num_train_epochs": 24,
    "per_device_train_batch_size": 16,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.3,
}
NUM_LABELLED = 350  # 50 people with each class once


def run_settings(arm: str) -> dict:
    """All that decides a run but its seed."""
    settings = {"data": {"num_labelled": NUM_LABELLED}, "backbone": BACKBONE, "fine_tuning": FINE_TUNING}
    return settings | ({"pretraining": PRETRAINING} if arm == "pretrained" else {})


def build_config(names: list[str]) -> HDFConfig:
    """The preset on smaller frames."""
    preset = HDFConfig.from_pretrained(configuration_path("model", BACKBONE["preset"])).backbone_config.to_dict()
    changes = {name: value for name, value in BACKBONE.items() if name != "preset"}
    return HDFConfig(backbone_config={**preset, **changes}, id2label=dict(enumerate(names)))


def build_clips(rows: datasets.Dataset, processor: HDFVideoProcessor, **options) -> ClipDataset:
    """The clips of a split, decoded once and kept in a file for the next run."""
    dataset = ClipDataset(rows, processor, cache=True, **options)
    path = CACHE / f"clips_{rows._fingerprint}_{processor.num_frames}.safetensors"
    if not path.exists():
        clips = torch.stack([dataset._decoded(index, dataset.sampling.view())[0] for index in range(len(dataset))])
        write_whole(path, lambda part: save_file({"clips": clips.contiguous()}, part))
    dataset.cache = dict(enumerate(zip(load_file(path)["clips"], dataset.labels, strict=True)))
    return dataset


def common_arguments(folder: str, seed: int) -> dict:
    return {
        "output_dir": folder, "seed": seed, "use_cpu": True, "save_strategy": "no", "logging_strategy": "epoch",
        "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip


def pretrained_checkpoint(rows: datasets.Dataset, config: HDFConfig, seed: int) -> Path:
    """Folder of the seed's pretrained model, which is made if it is not there."""
    folder = CACHE / f"{digest([BACKBONE, PRETRAINING])}_{seed}"
    if folder.exists():
        return folder
    processor = build_processor(config)
    set_seed(seed)
    part = folder.with_suffix(f".{os.getpid()}")
    trainer = PretrainingTrainer(
        VideoMAEForPreTraining(pretraining_config(config)),
        PretrainingArguments(**common_arguments(str(part), seed), **PRETRAINING),
        build_clips(rows, processor, training=True, augmentation=build_augmentation("flip", processor), seed=seed),
        processor,
    )
    start = time.perf_counter()
    trainer.train()
    trainer.save_model()
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    print(f"pretrained with seed {seed} ({time.perf_counter() - start:.0f} s)", flush=True)
    return folder


def train_and_evaluate(arm: str, seed: int) -> dict:
    """One run: what was measured on the test split, and the seconds of fine-tuning."""
    builder = SyntheticFaces()
    builder.download_and_prepare()
    rows = builder.as_dataset()
    names = rows["train"].features["label"].names
    config = build_config(names)
    start = pretrained_checkpoint(rows["train"], config, seed) if arm == "pretrained" else None
    set_seed(seed)
    if start is None:
        model = HDFForVideoClassification(config)
    else:
        model = HDFForVideoClassification.from_backbone_pretrained(str(start), id2label=config.id2label)
    processor = build_processor(config)
    labelled = build_clips(
        rows["train"], processor, training=True, augmentation=build_augmentation("flip", processor), seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = HDFTrainer(
            model=model,
            args=HDFTrainingArguments(**common_arguments(folder, seed), per_device_eval_batch_size=64, **FINE_TUNING),
            data_collator=ClipCollator(processor, len(names)),
            train_dataset=torch.utils.data.Subset(labelled, range(NUM_LABELLED)),
        )
        begin = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begin
        output = trainer.predict(build_clips(rows["test"], processor))
    report = classification_report(output.label_ids, output.predictions.argmax(-1), names)
    return {"results": {"test": report}, "seconds": round(seconds, 1)}


def run(path: Path, arm: str, seed: int) -> None:
    """One run, written as a whole or not at all; a finished one is left alone."""
    settings = run_settings(arm)
    if finished_run(path, settings) is not None:
        return
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    record = {
        "run": arm,
        "seed": seed,
        "settings": settings,
        "commit": commit or None,
        "command": shlex.join(["python", *sys.argv]),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        **train_and_evaluate(arm, seed),
    }
    write_whole(path, lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))
    report = record["results"]["test"]
    print(f"{arm} seed {seed}: test WAR {report['war']:.3f}  UAR {report['uar']:.3f}", flush=True)


def table(records: list[dict]) -> str:
    """WAR and UAR of both arms on the test split, and their paired differences."""
    lines = ["| fine-tuning | seeds | test WAR, % | test UAR, % |", "|---|---|---|---|"]
    scores = {
        arm: {
            record["seed"]: [100 * record["results"]["test"][name] for name in ("war", "uar")]
            for record in records
            if record["run"] == arm
        }
        for arm in ARMS
    }
    for arm, title in ARMS.items():
        if scores[arm]:
            means = " | ".join(f"{mean(column):.1f}" for column in zip(*scores[arm].values(), strict=True))
            lines.append(f"| {title} | {len(scores[arm])} | {means} |")
    seeds = sorted(scores["scratch"].keys() & scores["pretrained"].keys())
    if len(seeds) > 1:
        cells = []
        for index in range(2):
            values = [[scores[arm][seed][index] for seed in seeds] for arm in ("pretrained", "scratch")]
            middle, low, high = paired_interval(*values)
            cells.append(f"{middle:+.1f} ({low:+.1f} to {high:+.1f})")
        lines.append(f"| paired difference (95 %) | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the results that are there, and run nothing")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help=f"default {SEEDS}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # results then do not depend on the number of cores
    datasets.disable_progress_bars()
    runs = [(RESULTS / f"{arm}_{seed}.json", arm, seed) for seed in arguments.seeds for arm in ARMS]
    if not arguments.table:
        for entry in runs:
            run(*entry)
    records = [finished_run(path, run_settings(arm)) for path, arm, _ in runs]
    done = [record for record in records if record]
    print(table(done))
    if len(done) < len(runs):
        print(f"\n{len(runs) - len(done)} of {len(runs)} runs are missing.")


if __name__ == "__main__":
    main()
