"""Trials of DSM's forms on balanced classes, a long tail and noisy labels, measured on the validation split alone.

    python benchmarks/dsm_trials.py               # every trial with every seed; run it again to continue
    python benchmarks/dsm_trials.py --table       # the results as Markdown

Model, data and conditions are those of X3D in `controlled_ablation.py`, at its base epochs, a quarter of those of its
table; the seeds are its tuning seeds. Every run writes one JSON file. A run whose file exists is skipped.
"""

import argparse
import itertools
from pathlib import Path

import datasets
import torch
from ablation_table import paired_interval
from controlled_ablation import CLIP_CACHE, do_run, record_of
from controlled_analysis import uar_of
from controlled_settings import ARMS, BACKBONES, TUNING_SEEDS, Backbone, run_settings

RESULTS = Path(__file__).parent / "results" / "dsm_trials"
BASELINE = "none"
# The long tail has 206 clips instead of 700: twice the epochs are 59 % of the steps.
EPOCH_FACTORS = {"plain": 1, "long_tail": 2, "noise": 1}
TITLES = {"plain": "balanced", "long_tail": "long tail, 50:1", "noise": "20 % of the labels wrong"}
_RATIO = ARMS["dsm"][1]
# Fields of the training.
TRIALS = {
    BASELINE: ARMS[BASELINE][1],
    "ratio_0.1": _RATIO | {"dsm_ratio": 0.1},
    "ratio_0.3": _RATIO,
    "ratio_1": _RATIO | {"dsm_ratio": 1.0},
}


def planned_runs(arguments: argparse.Namespace, backbone: Backbone) -> list[dict]:
    """Path, settings, names and splits of each requested run, ordered by seed."""
    runs = []
    for seed, condition, trial in itertools.product(arguments.seeds, arguments.conditions, arguments.trials):
        settings = run_settings(backbone, BASELINE, condition, EPOCH_FACTORS[condition])
        settings["training"] = settings["training"] | TRIALS[trial]
        about = {"condition": condition, "trial": trial, "seed": seed}
        path = arguments.results / f"{'_'.join(map(str, about.values()))}.json"
        runs.append({"path": path, "settings": settings, "about": about, "splits": ("validation",)})
    return runs


def trials_table(records: list[dict]) -> str:
    """Mean validation UAR of the trials in each condition, and the differences to the baseline, paired by seed."""
    lines = [
        "| condition | trial | seeds | validation UAR, % | difference (95 %) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for condition, trial in itertools.product(EPOCH_FACTORS, TRIALS):
        scores, reference = (
            {r["seed"]: uar_of(r, "validation") for r in records if (r["condition"], r["trial"]) == (condition, name)}
            for name in (trial, BASELINE)
        )
        if not scores:
            continue
        seeds, difference = sorted(scores.keys() & reference.keys()), ""
        if trial != BASELINE and len(seeds) > 1:
            middle, low, high = paired_interval([scores[s] for s in seeds], [reference[s] for s in seeds])
            difference = f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"
        mean = sum(scores.values()) / len(scores)
        lines.append(f"| {TITLES[condition]} | {trial} | {len(scores)} | {mean:.1f} | {difference} |")
    return "\n".join(lines)


def main(backbone: Backbone = BACKBONES["x3d"]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the results of finished runs, and run nothing")
    parser.add_argument("--trials", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--conditions", nargs="+", choices=list(EPOCH_FACTORS), default=list(EPOCH_FACTORS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(TUNING_SEEDS))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--clip-cache", type=Path, default=CLIP_CACHE, help="folder of the decoded clips")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # so that results do not depend on the number of cores
    datasets.disable_progress_bars()
    runs = planned_runs(arguments, backbone)
    found = [record_of(run) for run in runs]
    missing = [run for run, record in zip(runs, found, strict=True) if record is None]
    if arguments.table:
        print(trials_table([record for record in found if record is not None]))
        if missing:
            print(f"\n{len(missing)} of {len(runs)} runs are missing.")
        return
    print(f"{len(missing)} of {len(runs)} runs to do", flush=True)
    for run in missing:
        do_run(run, arguments.clip_cache)


if __name__ == "__main__":
    main()
