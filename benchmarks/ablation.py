"""Measures what each part of HDF adds to VideoMAE on the embedded synthetic faces, at equal training clips.

    python benchmarks/ablation.py               # every arm with every seed; run it again to continue
    python benchmarks/ablation.py --table       # the results as Markdown
    python benchmarks/ablation.py --tune        # the trials on the validation split that chose the defaults

Every run writes one JSON file. A run whose file exists is skipped; a file of other settings stops the command.

All runs start from one backbone, pretrained like VideoMAE on the training clips without labels. Arms of one seed share
the random weights of the head and see the same clips in the same order. The last epoch counts; no score selects an
epoch. SAM needs two passes per step, so its runs see the same number of clips in twice the time.
"""

import argparse
import hashlib
import json
from pathlib import Path

import datasets
import torch
from ablation_settings import ARMS, SEEDS, SETTINGS, TRIALS, TUNING_SEEDS, Arm, Settings, Trial
from ablation_table import results_table, tuning_table
from synthetic_runs import build_clips, digest, finished_run, pretrained_checkpoint, provenance, train, write_whole
from transformers import set_seed

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.evaluation.metrics import classification_scores

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "ablation"
CLIP_CACHE = ROOT / "outputs" / "ablation_clips"


def build_model(settings: dict, seed: int, cache: Path) -> HDFForVideoClassification:
    """The model of a run, with the backbone shared by all runs and the head shared by all runs of this seed."""
    start = str(pretrained_checkpoint(settings, 0, cache))
    names = dict(enumerate(EMOTIONS))
    set_seed(seed)
    plain = HDFForVideoClassification.from_backbone_pretrained(start, id2label=names, dam_layers=[])
    model = HDFForVideoClassification.from_backbone_pretrained(start, id2label=names, **settings["dam"])
    model.classifier.load_state_dict(plain.classifier.state_dict())
    return model


def train_and_evaluate(settings: dict, seed: int, splits: tuple[str, ...], cache: Path) -> dict:
    """One run; returns the measurements on each split, the training log and the seconds of training."""
    model = build_model(settings, seed, cache)
    start = hashlib.sha256()
    for name, value in model.state_dict().items():
        if ".dam." not in name and not name.startswith("classifier."):
            start.update(value.numpy().tobytes())
    trainer, seconds = train(model, settings["data"], settings["training"], seed, cache)
    measured = {}
    for split in splits:
        output = trainer.predict(build_clips(settings["data"], split, cache))
        measured[split] = classification_scores(output.label_ids, output.predictions.argmax(-1), list(EMOTIONS))
    kept = ("epoch", "loss", "loss_ce", "loss_sc", "lambda_ce", "lambda_sc", "g")
    log = [{name: round(entry[name], 4) for name in kept if name in entry} for entry in trainer.state.log_history]
    return {
        "start_digest": start.hexdigest()[:16],
        "results": measured,
        "seconds": round(seconds, 1),
        "log": [entry for entry in log if "loss" in entry],
    }


def run(path: Path, name: str, arm: Arm, seed: int, settings: Settings, splits: tuple[str, ...], cache: Path) -> None:
    """Does one run and writes its file completely or not at all; skips a finished run."""
    run_settings = arm.run_settings(settings)
    if finished_run(path, run_settings) is not None:
        return
    record = {
        "run": name,
        "seed": seed,
        "settings": run_settings,
        "settings_digest": digest(run_settings),
        **provenance(),
        **train_and_evaluate(run_settings, seed, splits, cache),
    }
    write_whole(path, lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))
    scores = "  ".join(f"{split} UAR {measured['uar']:.3f}" for split, measured in record["results"].items())
    print(f"{name} seed {seed}: {scores}  ({record['seconds']:.0f} s)", flush=True)


def planned_runs(arguments: argparse.Namespace, settings: Settings, trials: dict[str, Trial]) -> list[tuple]:
    """Path, name, arm, seed, settings and splits of each requested run, ordered by seed."""
    if arguments.tune:
        return [
            (
                arguments.results / "tuning" / f"{name}_{seed}.json",
                name,
                ARMS[trials[name].arm],
                seed,
                settings.changed(**trials[name].changes),
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
    parser.add_argument("--table", action="store_true", help="print the results of finished runs, and run nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some arms, or with --tune some trials")
    parser.add_argument("--seeds", nargs="+", type=int, help=f"default {SEEDS}, with --tune {TUNING_SEEDS}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--clip-cache", type=Path, default=CLIP_CACHE, help="folder of the decoded clips")
    arguments = parser.parse_args()
    known = trials if arguments.tune else ARMS
    unknown = sorted(set(arguments.only or ()) - known.keys())
    if unknown:
        parser.error(f"--only has unknown names {unknown}; choose from {', '.join(known)}")

    torch.set_num_threads(1)  # so that results do not depend on the number of cores
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
