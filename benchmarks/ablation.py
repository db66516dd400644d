"""What each part of HDF adds to VideoMAE, at an equal number of training clips, on the embedded synthetic faces.

    python benchmarks/ablation.py               # every arm with every seed; run it again to go on
    python benchmarks/ablation.py --table       # the results as Markdown
    python benchmarks/ablation.py --tune        # the trials on the validation split that settled the open numbers

Every run writes one JSON file. A run whose file is there is skipped; a file of other settings stops the command.

Arms of one seed start from the same random weights and see the same clips in the same order. The last epoch counts:
nothing is chosen by any score. SAM takes two passes per step, so its runs see as many clips in twice the time.
"""

import argparse
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import torch
import transformers
from ablation_settings import ARMS, SEEDS, SETTINGS, TRIALS, TUNING_SEEDS, Arm, Settings, Trial
from ablation_table import results_table, tuning_table
from safetensors.torch import load_file, save_file
from transformers import set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFTrainer, HDFTrainingArguments, HDFVideoProcessor
from modeling_hdf.data import (
    ClipCollator,
    ClipDataset,
    ShiftedSyntheticFaces,
    SyntheticFaces,
    build_augmentation,
)
from modeling_hdf.data.face_dynamics import LABELS
from modeling_hdf.data.synthetic import SPLITS
from modeling_hdf.metrics import classification_report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "ablation"
CLIP_CACHE = ROOT / "outputs" / "ablation_clips"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a file beside `path` that then takes its name, so that `path` is never half written."""
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
    """The clips of a split, decoded once for all runs; `options` are those of [`ClipDataset`]."""
    rows, processor = build_rows(data, split), build_processor(data)
    path = cache / f"{split}_{digest(data)}.safetensors"
    if not path.exists():
        decoded = ClipDataset(rows, processor, cache=True)
        clips = torch.stack([decoded[index]["clip"] for index in range(len(decoded))])
        write_whole(path, lambda part: save_file({"clips": clips}, part))
    dataset = ClipDataset(rows, processor, cache=True, **options)
    dataset.cache = dict(enumerate(zip(load_file(path)["clips"], dataset.labels, strict=True)))
    return dataset


def build_model(settings: dict, seed: int, start: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The model of a run, with the random weights of every other run of this seed and those of the start over them."""
    fields = {
        "num_frames": settings["data"]["num_frames"],
        "image_size": settings["data"]["image_size"],
        "backbone_config": {"model_type": "videomae", **settings["backbone"]},
        "id2label": dict(enumerate(LABELS)),
    }
    set_seed(seed)
    plain = HDFForVideoClassification(HDFConfig(**fields, dam_layers=[]))
    model = HDFForVideoClassification(HDFConfig(**fields, **settings["dam"]))
    # What neither holds are the weights of DAM.
    model.load_state_dict({**plain.state_dict(), **start}, strict=False)
    return model


def train(model: torch.nn.Module, data: dict, training: dict, seed: int, cache: Path) -> tuple[HDFTrainer, float]:
    """Trains for all epochs; returns the trainer and the seconds."""
    flip = build_augmentation("flip", build_processor(data))
    with tempfile.TemporaryDirectory() as folder:
        trainer = HDFTrainer(
            model=model,
            args=HDFTrainingArguments(
                output_dir=folder,
                seed=seed,
                use_cpu=True,
                per_device_eval_batch_size=64,
                save_strategy="no",
                logging_strategy="epoch",
                report_to="none",
                disable_tqdm=True,
                **training,
            ),
            train_dataset=build_clips(data, "train", cache, training=True, augmentation=flip, seed=seed),
            data_collator=ClipCollator(build_processor(data), len(LABELS)),
        )
        begin = time.perf_counter()
        trainer.train()
        return trainer, time.perf_counter() - begin


def start_weights(settings: dict, cache: Path) -> dict[str, torch.Tensor]:
    """The trained backbone that the runs start from; nothing if they start from random weights."""
    start = settings["start"]
    if start is None:
        return {}
    path = cache / f"start_{digest([start, settings['backbone']])}.safetensors"
    if not path.exists():
        model = build_model({**settings, "data": start["data"], "dam": {"dam_layers": []}}, 0, {})
        train(model, start["data"], start["training"], 0, cache)
        weights = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier")}
        write_whole(path, lambda part: save_file(weights, part))
    return load_file(path)


def train_and_evaluate(settings: dict, seed: int, splits: tuple[str, ...], cache: Path) -> dict:
    """One run: what was measured on each split, the training log and the seconds of training."""
    data, start = settings["data"], start_weights(settings, cache)
    trainer, seconds = train(build_model(settings, seed, start), data, settings["training"], seed, cache)
    measured = {}
    for split in splits:
        output = trainer.predict(build_clips(data, split, cache))
        measured[split] = classification_report(output.label_ids, output.predictions.argmax(-1), list(LABELS))
    kept = ("epoch", "loss", "loss_ce", "loss_sc", "lambda_ce", "lambda_sc", "g")
    log = [{name: round(entry[name], 4) for name in kept if name in entry} for entry in trainer.state.log_history]
    return {
        "start_digest": hashlib.sha256(b"".join(w.numpy().tobytes() for w in start.values())).hexdigest()[:16],
        "results": measured,
        "seconds": round(seconds, 1),
        "log": [entry for entry in log if "loss" in entry],
    }


def digest(settings: dict | list) -> str:
    """Short name of settings; equal settings have equal names."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def finished_run(path: Path, settings: dict) -> dict | None:
    """What a run wrote; `None` before it. Raises `SystemExit` for a file of other settings."""
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    if digest(record["settings"]) == digest(settings):
        return record
    was, now = ({**s, "start": s["start"] or {}} for s in (record["settings"], settings))
    differences = [
        f"{group}.{name} was {was[group].get(name)!r}, is {now[group].get(name)!r}"
        for group in now
        for name in sorted(was[group].keys() | now[group].keys())
        if was[group].get(name) != now[group].get(name)
    ]
    raise SystemExit(
        f"{path} was measured with other settings: {'; '.join(differences)}. Move it away, or give another --results."
    )


def run(path: Path, name: str, arm: Arm, seed: int, settings: Settings, splits: tuple[str, ...], cache: Path) -> None:
    """One run, written as a whole or not at all; a finished one is left alone."""
    run_settings = arm.run_settings(settings)
    if finished_run(path, run_settings) is not None:
        return
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    record = {
        "run": name,
        "seed": seed,
        "settings": run_settings,
        "settings_digest": digest(run_settings),
        "commit": commit or None,
        "command": shlex.join(["python", *sys.argv]),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        **train_and_evaluate(run_settings, seed, splits, cache),
    }
    write_whole(path, lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))
    scores = "  ".join(f"{split} UAR {report['uar']:.3f}" for split, report in record["results"].items())
    print(f"{name} seed {seed}: {scores}  ({record['seconds']:.0f} s)", flush=True)


def planned_runs(arguments: argparse.Namespace, settings: Settings, trials: dict[str, Trial]) -> list[tuple]:
    """Path, name, arm, seed, settings and splits of each run asked for; seed by seed, so that arms keep pace."""
    if arguments.tune:
        return [
            (
                arguments.results / "tuning" / f"{name}_{seed}.json",
                name,
                ARMS[trials[name].arm],
                seed,
                trials[name].settings.changed(**trials[name].changes),
                ("validation",),
            )
            for seed in arguments.seeds or TUNING_SEEDS
            for name in arguments.only or trials
        ]
    return [
        (
            arguments.results / f"{name}_{seed}.json",
            name,
            ARMS[name],
            seed,
            settings,
            ("validation", "test", "shifted"),
        )
        for seed in arguments.seeds or SEEDS
        for name in arguments.only or ARMS
    ]


def main(settings: Settings = SETTINGS, trials: dict[str, Trial] = TRIALS) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", action="store_true", help="the trials on the validation split")
    parser.add_argument("--table", action="store_true", help="print the results that are there, and run nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some arms, or with --tune some trials")
    parser.add_argument("--seeds", nargs="+", type=int, help=f"default {SEEDS}, with --tune {TUNING_SEEDS}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--clip-cache", type=Path, default=CLIP_CACHE, help="folder of the decoded clips")
    arguments = parser.parse_args()
    known = trials if arguments.tune else ARMS
    unknown = sorted(set(arguments.only or ()) - known.keys())
    if unknown:
        parser.error(f"--only has unknown names {unknown}; choose from {', '.join(known)}")

    torch.set_num_threads(1)  # results then do not depend on the number of cores
    datasets.disable_progress_bars()
    runs = planned_runs(arguments, settings, trials)
    records = [finished_run(path, arm.run_settings(changed)) for path, _, arm, _, changed, _ in runs]
    missing = [f"{name} {seed}" for (_, name, _, seed, _, _), record in zip(runs, records, strict=True) if not record]
    if arguments.table:
        done = [record for record in records if record]
        print(tuning_table(done) if arguments.tune else results_table(done))
        if missing:
            print(f"\n{len(missing)} of {len(runs)} runs are missing: {', '.join(missing)}.")
        return
    print(f"{len(missing)} of {len(runs)} runs to do", flush=True)
    for entry in runs:
        run(*entry, arguments.clip_cache)


if __name__ == "__main__":
    main()
