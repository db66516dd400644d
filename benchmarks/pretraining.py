"""Measures the gain of pretraining without labels: fine-tuning on few labelled synthetic faces, against from scratch.

    python benchmarks/pretraining.py           # every seed, from scratch and pretrained; run it again to continue
    python benchmarks/pretraining.py --table   # the results as Markdown
    python benchmarks/pretraining.py --tune    # the trials on the validation split

Each seed pretrains its own model on all training clips without labels. Both arms of a seed then train on the same few
labelled clips in the same order, with equal settings. The last epoch counts; no score selects an epoch. Every run
writes one JSON file; a run whose file exists is skipped.
"""

import argparse
import json
from pathlib import Path

import datasets
import torch
from pretraining_settings import SEEDS, SETTINGS, TRIALS, TUNING_SEEDS, changed
from pretraining_table import ARMS, results_table, tuning_table
from synthetic_runs import (
    build_clips,
    build_config,
    digest,
    finished_run,
    pretrained_checkpoint,
    provenance,
    train,
    write_whole,
)
from transformers import set_seed

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.evaluation.metrics import classification_scores

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "pretraining"
CACHE = ROOT / "outputs" / "pretraining_benchmark"


def run_settings(arm: str, settings: dict) -> dict:
    """All settings of a run except the seed."""
    return {**settings, "start": settings["start"] if arm == "pretrained" else None}


def train_and_evaluate(settings: dict, seed: int, split: str, cache: Path) -> dict:
    """One run; returns the measurements on the split, losses and seconds."""
    pretraining = {}
    if settings["start"] is None:
        set_seed(seed)
        model = HDFForVideoClassification(build_config(settings))
    else:
        folder = pretrained_checkpoint(settings, seed, cache)
        pretraining = json.loads((folder / "pretraining.json").read_text())
        set_seed(seed)
        model = HDFForVideoClassification.from_backbone_pretrained(str(folder), id2label=dict(enumerate(EMOTIONS)))
    trainer, seconds = train(model, settings["data"], settings["fine_tuning"], seed, cache)
    output = trainer.predict(build_clips(settings["data"], split, cache))
    scores = classification_scores(output.label_ids, output.predictions.argmax(-1), list(EMOTIONS))
    return {
        "results": {split: scores},
        "seconds": round(seconds, 1),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "pretraining": pretraining,
    }


def run(path: Path, arm: str, settings: dict, seed: int, split: str, cache: Path) -> None:
    """Does one run and writes its file completely or not at all; skips a finished run."""
    if finished_run(path, settings) is not None:
        return
    record = {
        "run": arm,
        "seed": seed,
        "settings": settings,
        **provenance(),
        **train_and_evaluate(settings, seed, split, cache),
    }
    write_whole(path, lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))
    scores = record["results"][split]
    print(
        f"{path.stem}: {split} WAR {scores['war']:.3f}  UAR {scores['uar']:.3f}  loss {record['losses'][-1]:.2f}  "
        f"({record['pretraining'].get('seconds', 0):.0f} + {record['seconds']:.0f} s)",
        flush=True,
    )


def planned_runs(arguments: argparse.Namespace) -> list[tuple]:
    """Path, arm, settings, seed and split of each requested run; trials with equal settings share a run."""
    if not arguments.tune:
        return [
            (arguments.results / f"{arm}_{seed}.json", arm, run_settings(arm, SETTINGS), seed, "test")
            for seed in arguments.seeds or SEEDS
            for arm in ARMS
        ]
    runs = {}
    for seed in arguments.seeds or TUNING_SEEDS:
        for name in arguments.only or TRIALS:
            for arm in ARMS:
                settings = run_settings(arm, changed(TRIALS[name]))
                path = arguments.results / "tuning" / f"{arm}_{digest(settings)}_{seed}.json"
                runs[path] = (path, arm, settings, seed, "validation")
    return list(runs.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", action="store_true", help="the trials on the validation split")
    parser.add_argument("--table", action="store_true", help="print the results of finished runs, and run nothing")
    parser.add_argument("--only", nargs="+", choices=TRIALS, metavar="NAME", help="with --tune: some trials")
    parser.add_argument("--seeds", nargs="+", type=int, help=f"default {SEEDS}, with --tune {TUNING_SEEDS}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of decoded clips and pretrained models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # so that results do not depend on the number of cores
    datasets.disable_progress_bars()
    runs = planned_runs(arguments)
    if not arguments.table:
        for entry in runs:
            run(*entry, arguments.cache)
    records = [finished_run(path, settings) for path, _, settings, _, _ in runs]
    done = [record for record in records if record]
    print(tuning_table(done) if arguments.tune else results_table(done))
    if len(done) < len(runs):
        print(f"\n{len(runs) - len(done)} of {len(runs)} runs are missing.")


if __name__ == "__main__":
    main()
