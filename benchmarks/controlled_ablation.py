"""The second ablation: DAM and DSM against a control, by the protocol of docs/ablation-protocol.md.

    python benchmarks/controlled_ablation.py                    # every run; run it again to continue
    python benchmarks/controlled_ablation.py --backbones x3d --seeds 0 --conditions plain
    python benchmarks/controlled_ablation.py --convergence      # how many epochs are enough, on the validation split
    python benchmarks/controlled_ablation.py --table            # the contrasts as Markdown
    python benchmarks/controlled_ablation.py --liveness         # how far the gates differ between clips

A run takes minutes of one core and writes one JSON file with all its predictions; a run whose file exists is skipped.
Runs are ordered so that all arms of a seed are finished before the next seed starts. On Linux, X3D trains faster, with
the same results, in a process that keeps its memory:
    export THP_MEM_ALLOC_ENABLE=1 MALLOC_TOP_PAD_=300000000
    export MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_MMAP_THRESHOLD_=8000000000
"""

import argparse
import itertools
import json
from pathlib import Path

import datasets
import torch
from controlled_analysis import chosen_epochs, convergence_table, liveness_table, results_table
from controlled_run import clips_of_splits, train_and_measure
from controlled_settings import (
    ARMS,
    BACKBONES,
    CONDITIONS,
    CONVERGENCE_ARMS,
    EPOCH_FACTORS,
    SEEDS,
    TUNING_SEEDS,
    Backbone,
    run_settings,
)
from synthetic_runs import digest, finished_run, provenance, write_whole

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "controlled_ablation"
CLIP_CACHE = ROOT / "outputs" / "ablation_clips"


def planned_runs(arguments: argparse.Namespace, backbones: dict[str, Backbone]) -> list[dict]:
    """Path, settings, names and splits of each requested run, ordered by epochs, then by seed."""
    if arguments.convergence:
        arms, conditions, seeds, factors = CONVERGENCE_ARMS, ("plain",), TUNING_SEEDS, EPOCH_FACTORS
        folder, splits = arguments.results / "convergence", ("validation",)
    else:
        arms, conditions, seeds, factors = arguments.arms, arguments.conditions, SEEDS, (None,)
        folder, splits = arguments.results, ("validation", "test", "shifted")
    runs = []
    for factor, seed, condition, name, arm in itertools.product(
        factors, arguments.seeds or seeds, conditions, arguments.backbones, arms
    ):
        chosen = factor or backbones[name].epoch_factor
        if chosen is None:
            raise SystemExit(f"{name} has no number of epochs: run --convergence, and set its `epoch_factor`.")
        about = {"backbone": name, "condition": condition, "arm": arm, "epoch_factor": chosen, "seed": seed}
        runs.append(
            {
                "path": folder / f"{'_'.join(map(str, about.values()))}.json",
                "settings": run_settings(backbones[name], arm, condition, chosen),
                "about": about,
                "splits": splits,
            }
        )
    return runs


def clips_path(run: dict) -> Path:
    """The file of true classes and people, which runs on the same clips share."""
    return run["path"].with_name(f"clips_{digest([run['settings']['data'], run['splits']])}.json")


def record_of(run: dict) -> dict | None:
    """The record of a run with the classes and people of its clips; None before the run."""
    record = finished_run(run["path"], run["settings"])
    return None if record is None else record | json.loads(clips_path(run).read_text())


def do_run(run: dict, cache: Path) -> None:
    """Does one run and writes its file completely or not at all."""
    if not clips_path(run).exists():
        clips = clips_of_splits(run["settings"]["data"], run["splits"])
        write_whole(clips_path(run), lambda part: part.write_text(json.dumps(clips) + "\n"))
    record = {
        **run["about"],
        "settings": run["settings"],
        **provenance(),
        **train_and_measure(run["settings"], run["about"]["seed"], run["splits"], cache),
    }
    write_whole(run["path"], lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))
    whole, training = record["seconds_with_measuring"], record["seconds"]
    print(f"{run['path'].stem}: {whole:.0f} s, of these {training:.0f} s of training", flush=True)


def is_decided(run: dict, records: list[dict]) -> bool:
    """Whether shorter trials already tell the number of epochs of this trial's backbone."""
    return chosen_epochs([record for record in records if record["backbone"] == run["about"]["backbone"]]) is not None


def parsed_arguments(backbones: dict[str, Backbone]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--convergence", action="store_true", help="the trials that choose the number of epochs")
    parser.add_argument("--table", action="store_true", help="print the results of finished runs, and run nothing")
    parser.add_argument("--liveness", action="store_true", help="print the liveness of the gates of finished runs")
    parser.add_argument("--backbones", nargs="+", choices=list(backbones), default=list(backbones))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=["plain", "foreign"])
    parser.add_argument("--seeds", nargs="+", type=int, help=f"default {SEEDS}, with --convergence {TUNING_SEEDS}")
    parser.add_argument("--num-runs", type=int, help="stop after as many runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--clip-cache", type=Path, default=CLIP_CACHE, help="folder of the decoded clips")
    return parser.parse_args()


def main(backbones: dict[str, Backbone] = BACKBONES) -> None:
    arguments = parsed_arguments(backbones)
    torch.set_num_threads(1)  # so that results do not depend on the number of cores
    datasets.disable_progress_bars()
    runs = planned_runs(arguments, backbones)
    found = [record_of(run) for run in runs]
    records = [record for record in found if record is not None]
    missing = [run for run, record in zip(runs, found, strict=True) if record is None]
    if arguments.convergence:
        missing = [run for run in missing if not is_decided(run, records)]
    if arguments.table or arguments.liveness:
        table = convergence_table if arguments.convergence else results_table
        print(liveness_table(records) if arguments.liveness else table(records))
        if missing:
            print(f"\n{len(missing)} of {len(runs)} runs are missing.")
        return
    print(f"{len(missing)} of {len(runs)} runs to do", flush=True)
    for run in missing[: arguments.num_runs]:
        if not (arguments.convergence and is_decided(run, records)):
            do_run(run, arguments.clip_cache)
            records.append(record_of(run))


if __name__ == "__main__":
    main()
