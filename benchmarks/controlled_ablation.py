"""The second ablation: DAM and DSM against a control, by the protocol of docs/ablation-protocol.md.

    python benchmarks/controlled_ablation.py                    # every run; run it again to continue
    python benchmarks/controlled_ablation.py --backbones x3d --seeds 0 --conditions plain
    python benchmarks/controlled_ablation.py --convergence      # how many epochs are enough, on the validation split
    python benchmarks/controlled_ablation.py --table            # the contrasts as Markdown

A run takes minutes of one core and writes one JSON file with all its predictions; a run whose file exists is skipped.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import datasets
import torch
from controlled_analysis import convergence_table, results_table
from controlled_conditions import training_clips
from controlled_settings import (
    ARMS,
    BACKBONES,
    CONDITIONS,
    CORRUPTED_CLIPS,
    CORRUPTED_SEVERITIES,
    EPOCH_FACTORS,
    LIVENESS_CLIPS,
    NUM_STARTS,
    SEEDS,
    TUNING_SEEDS,
    Backbone,
    run_settings,
)
from synthetic_runs import (
    build_clips,
    build_config,
    build_processor,
    build_rows,
    common_arguments,
    finished_run,
    pretrained_checkpoint,
    provenance,
    write_whole,
)
from torch.utils.data import DataLoader
from transformers import set_seed

from modeling_hdf import HDFForVideoClassification, HDFTrainer, HDFTrainingArguments
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ClipCollator
from modeling_hdf.data.clips import ClipDataset
from modeling_hdf.evaluation import gate_liveness
from modeling_hdf.evaluation.robustness import CLEAN, CorruptedClips, all_conditions, predicted_classes

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "controlled_ablation"
CLIP_CACHE = ROOT / "outputs" / "ablation_clips"


def build_model(settings: dict, seed: int, cache: Path) -> HDFForVideoClassification:
    """The model of a run; its start and its head are those of all arms with this seed."""
    names = dict(enumerate(EMOTIONS))

    def build(dam: dict) -> HDFForVideoClassification:
        set_seed(seed)
        if settings["start"] is None:
            return HDFForVideoClassification(build_config(settings, **dam))
        start = pretrained_checkpoint(settings, seed % NUM_STARTS, cache)
        return HDFForVideoClassification.from_backbone_pretrained(str(start), id2label=names, **dam)

    plain, model = build({"dam_layers": []}), build(settings["dam"])
    model.load_state_dict(plain.state_dict(), strict=False)  # DAM drew random numbers before the head
    return model


def liveness(model: HDFForVideoClassification, clips: ClipDataset) -> dict:
    """[`gate_liveness`] on the first validation clips."""
    collator = ClipCollator(clips.processor, len(EMOTIONS))
    first = torch.utils.data.Subset(clips, range(min(LIVENESS_CLIPS, len(clips))))
    return gate_liveness(model, DataLoader(first, 64, collate_fn=lambda items: collator(items)["pixel_values"]))


def digits(classes) -> str:
    """Predicted or true classes as a text with one digit per clip."""
    return "".join(str(int(label)) for label in classes)


def corrupted_answers(model: HDFForVideoClassification, data: dict) -> dict[str, str]:
    """Predicted classes of the first test clips under every corruption, by `"NAME SEVERITY"`."""
    rows = build_rows(data, "test")
    rows = rows.select(range(min(CORRUPTED_CLIPS, len(rows))))
    processor = build_processor(data)
    conditions = [each for each in all_conditions(severities=CORRUPTED_SEVERITIES) if each != CLEAN]
    clips = CorruptedClips(rows, processor, conditions, seed=0)
    answers = torch.stack(
        [torch.as_tensor(predicted_classes(model, processor, clips[i][1])) for i in range(len(rows))]
    )
    return {f"{name} {level}": digits(answers[:, k]) for k, (name, level) in enumerate(conditions)}


def train_and_measure(settings: dict, seed: int, splits: tuple[str, ...], cache: Path) -> dict:
    """One run: its predictions, the liveness of its gates, the losses, and the seconds of training."""
    data, model = settings["data"], build_model(settings, seed, cache)
    validation = build_clips(data, "validation", cache)
    live = {"start": liveness(model, validation)}
    clips = training_clips(data, settings["condition"], seed, len(EMOTIONS), cache)
    with tempfile.TemporaryDirectory() as folder:
        arguments = HDFTrainingArguments(
            **common_arguments(folder, seed), per_device_eval_batch_size=64, **settings["training"]
        )
        collator = ClipCollator(build_processor(data), len(EMOTIONS))
        trainer = HDFTrainer(model=model, args=arguments, train_dataset=clips, data_collator=collator)
        begin = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begin
        live["trained"] = liveness(model, validation)
        answers, truth = {}, {}
        for split in splits:
            output = trainer.predict(build_clips(data, split, cache))
            answers[split], truth[split] = digits(output.predictions.argmax(-1)), digits(output.label_ids)
    corrupted = corrupted_answers(model.eval(), data) if "test" in splits else {}
    return {
        "answers": answers,
        "truth": truth,
        "people": {split: [str(each) for each in build_rows(data, split)["identity"]] for split in splits},
        "corrupted": corrupted,
        "liveness": live,
        "losses": [round(entry["loss"], 4) for entry in trainer.state.log_history if "loss" in entry],
        "seconds": round(seconds, 1),
    }


def planned_runs(arguments: argparse.Namespace, backbones: dict[str, Backbone]) -> list[dict]:
    """Path, settings, names, seed and splits of each requested run, ordered by seed."""
    runs = []
    if arguments.convergence:
        arms, conditions, seeds, factors = ("none", "normalized"), ("plain",), TUNING_SEEDS, EPOCH_FACTORS
        folder, splits = arguments.results / "convergence", ("validation",)
    else:
        arms, conditions, seeds, factors = arguments.arms, arguments.conditions, SEEDS, (1,)
        folder, splits = arguments.results, ("validation", "test", "shifted")
    for seed in arguments.seeds or seeds:
        for condition in conditions:
            for name in arguments.backbones:
                for arm in arms:
                    for factor in factors:
                        about = {"backbone": name, "condition": condition, "arm": arm, "epoch_factor": factor}
                        file = "_".join([*map(str, about.values()), str(seed)])
                        settings = run_settings(backbones[name], arm, condition, factor)
                        runs.append(
                            {
                                "path": folder / f"{file}.json",
                                "settings": settings,
                                "about": about | {"seed": seed},
                                "splits": splits,
                            }
                        )
    return runs


def do_run(run: dict, cache: Path) -> None:
    """Does one run and writes its file completely or not at all."""
    record = {
        **run["about"],
        "settings": run["settings"],
        **provenance(),
        **train_and_measure(run["settings"], run["about"]["seed"], run["splits"], cache),
    }
    write_whole(run["path"], lambda part: part.write_text(json.dumps(record, indent=1) + "\n"))
    print(f"{run['path'].stem}: {record['seconds']:.0f} s of training", flush=True)


def main(backbones: dict[str, Backbone] = BACKBONES) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--convergence", action="store_true", help="the trials that choose the number of epochs")
    parser.add_argument("--table", action="store_true", help="print the results of finished runs, and run nothing")
    parser.add_argument("--backbones", nargs="+", choices=list(backbones), default=list(backbones))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=["plain", "foreign"])
    parser.add_argument("--seeds", nargs="+", type=int, help=f"default {SEEDS}, with --convergence {TUNING_SEEDS}")
    parser.add_argument("--num-runs", type=int, help="stop after as many runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--clip-cache", type=Path, default=CLIP_CACHE, help="folder of the decoded clips")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # so that results do not depend on the number of cores
    datasets.disable_progress_bars()
    runs = planned_runs(arguments, backbones)
    records = [finished_run(run["path"], run["settings"]) for run in runs]
    missing = [run for run, record in zip(runs, records, strict=True) if record is None]
    if arguments.table:
        done = [record for record in records if record is not None]
        print(convergence_table(done) if arguments.convergence else results_table(done))
        if missing:
            print(f"\n{len(missing)} of {len(runs)} runs are missing.")
        return
    print(f"{len(missing)} of {len(runs)} runs to do", flush=True)
    for run in missing[: arguments.num_runs]:
        do_run(run, arguments.clip_cache)


if __name__ == "__main__":
    main()
