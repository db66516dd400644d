"""Trials of a DAM whose gates may only suppress (`dam_gate="suppress"`), measured on the validation split alone.

    python benchmarks/gate_trials.py               # every run with every seed; run it again to continue
    python benchmarks/gate_trials.py --table       # the results as Markdown, and what the rule says

The small X3D of `controlled_ablation.py` for 20 epochs, half of those of its table, with its tuning seeds. The arms
are none, normalized (free gates) and suppress (normalized, with gates that may only suppress). In the plain condition,
none and normalized are trials that chose the epochs of that ablation; they are read, not repeated. With foreign frames
in training, two seeds are run, and measured also on all validation clips under the corruption *foreign*.

The rule, fixed before the first run. The option stays if one of these holds, else it goes:

1. plain: its mean validation UAR over the three seeds is above that of none and above that of normalized;
2. foreign: its UAR on foreign frames (mean of severities 2 and 4) is above that of none and above that of normalized
   with each of the two seeds, and its mean UAR on clean clips is at most 1 point below that of either.
"""

import argparse
from pathlib import Path

import datasets
import torch
from controlled_ablation import CLIP_CACHE, do_run, record_of
from controlled_ablation import RESULTS as CONTROLLED
from controlled_analysis import digit_array
from controlled_settings import BACKBONES, CONVERGENCE_ARMS, TUNING_SEEDS, Backbone, run_settings

from modeling_hdf.evaluation.metrics import uar

RESULTS = CONTROLLED.parent / "gate_trials"
SUPPRESS = "suppress"
ARMS = (*CONVERGENCE_ARMS, SUPPRESS)
EPOCH_FACTOR = 2
SEEDS = {"plain": TUNING_SEEDS, "foreign": TUNING_SEEDS[:2]}
CLEAN_LOSS = 1.0  # points that the rule allows


def planned_runs(results: Path, recorded: Path, backbone: Backbone) -> list[dict]:
    """Path, settings, names, test sets of every run; `recorded` is the folder of the plain runs of both other arms."""
    runs = []
    for condition, seeds in SEEDS.items():
        for seed in seeds:
            for arm in ARMS:
                settings = run_settings(backbone, "normalized" if arm == SUPPRESS else arm, condition, EPOCH_FACTOR)
                if arm == SUPPRESS:
                    settings["dam"] = settings["dam"] | {"dam_gate": "suppress"}
                about = {
                    "backbone": "x3d", "condition": condition, "arm": arm, "epoch_factor": EPOCH_FACTOR, "seed": seed
                }  # fmt: skip
                folder = recorded if condition == "plain" and arm != SUPPRESS else results
                run = {
                    "path": folder / f"{'_'.join(map(str, about.values()))}.json",
                    "settings": settings,
                    "about": about,
                    "splits": ("validation",),
                }
                if condition == "foreign":
                    number = backbone.data["num_validation"]
                    run["corrupted"] = {"split": "validation", "names": ["foreign"], "num_clips": number}
                runs.append(run)
    return runs


def scores_of(record: dict) -> dict[str, float]:
    """UAR in points on clean validation clips, and on those with foreign frames (mean of severities) if measured."""
    truth = digit_array(record["truth"]["validation"])
    scores = {"clean": 100 * uar(truth, digit_array(record["answers"]["validation"]))}
    foreign = [100 * uar(truth, digit_array(text)) for text in record["corrupted"].values()]
    return scores | ({"foreign": sum(foreign) / len(foreign)} if foreign else {})


def scores_by_run(records: list[dict]) -> dict[tuple[str, str], dict[int, dict[str, float]]]:
    """[`scores_of`] the records, by condition and arm, then by seed."""
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for record in records:
        found.setdefault((record["condition"], record["arm"]), {})[record["seed"]] = scores_of(record)
    return found


def mean_of(scores: dict[int, dict[str, float]], test_set: str) -> float:
    """Mean over the seeds."""
    return sum(each[test_set] for each in scores.values()) / len(scores)


def rule_says(records: list[dict]) -> dict[str, bool | None]:
    """Whether the option stays by each part of the rule; None while runs of that part are missing."""
    scores, answers = scores_by_run(records), {}
    for condition, seeds in SEEDS.items():
        arms = [scores.get((condition, arm), {}) for arm in ARMS]
        *others, suppress = arms
        if any(set(each) != set(seeds) for each in arms):
            answers[condition] = None
        elif condition == "plain":
            answers[condition] = all(mean_of(suppress, "clean") > mean_of(each, "clean") for each in others)
        else:
            answers[condition] = all(
                mean_of(suppress, "clean") >= mean_of(each, "clean") - CLEAN_LOSS
                and all(suppress[seed]["foreign"] > each[seed]["foreign"] for seed in seeds)
                for each in others
            )
    return answers


def trials_table(records: list[dict]) -> str:
    """UAR of every seed and their mean, by condition, test set and arm; then the rule's answers."""
    seeds = [str(seed) for seed in TUNING_SEEDS]
    lines = [
        f"| training | validation clips | arm | {' | '.join(seeds)} | mean |",
        "| --- | --- | --- |" + " --- |" * (len(seeds) + 1),
    ]
    for (condition, arm), scores in sorted(
        scores_by_run(records).items(), key=lambda item: (list(SEEDS).index(item[0][0]), ARMS.index(item[0][1]))
    ):
        for test_set in ("clean", "foreign") if condition == "foreign" else ("clean",):
            cells = [f"{scores[seed][test_set]:.1f}" if seed in scores else "" for seed in TUNING_SEEDS]
            mean = f"{mean_of(scores, test_set):.1f}"
            lines.append(f"| {condition} | {test_set} | {arm} | {' | '.join(cells)} | {mean} |")
    words = {True: "it stays", False: "it goes", None: "not decided, runs are missing"}
    return "\n".join(lines + [""] + [f"{name}: {words[answer]}" for name, answer in rule_says(records).items()])


def liveness_lines(records: list[dict]) -> str:
    """Relative spread of the gates over clips after training, and the share of answers that need it."""
    lines = ["| training | arm | seed | temporal, by DAM | frequency, by DAM | answers that flip, % |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for record in records:
        live = record["liveness"]["trained"]
        if live["layers"]:
            spreads = [
                ", ".join(f"{layer[branch]:.3f}" for layer in live["layers"].values())
                for branch in ("temporal", "frequency")
            ]
            about = f"{record['condition']} | {record['arm']} | {record['seed']}"
            lines.append(f"| {about} | {spreads[0]} | {spreads[1]} | {100 * live['flipped']:.1f} |")
    return "\n".join(lines)


def main(backbone: Backbone = BACKBONES["x3d"]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the results of finished runs, and run nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument(
        "--recorded", type=Path, default=CONTROLLED / "convergence", help="folder of the plain runs of the other arms"
    )
    parser.add_argument("--clip-cache", type=Path, default=CLIP_CACHE, help="folder of the decoded clips")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # so that results do not depend on the number of cores
    datasets.disable_progress_bars()
    runs = planned_runs(arguments.results, arguments.recorded, backbone)
    found = [record_of(run) for run in runs]
    missing = [run for run, record in zip(runs, found, strict=True) if record is None]
    if arguments.table:
        records = [record for record in found if record is not None]
        print(f"{trials_table(records)}\n\n{liveness_lines(records)}")
        if missing:
            print(f"\n{len(missing)} of {len(runs)} runs are missing.")
        return
    print(f"{len(missing)} of {len(runs)} runs to do", flush=True)
    for run in missing:
        do_run(run, arguments.clip_cache)


if __name__ == "__main__":
    main()
