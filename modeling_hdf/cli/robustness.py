"""`hdf robustness`: a model on corrupted clips."""

import argparse
from pathlib import Path

import numpy as np
import torch

from ..data.files import whole_or_absent, write_json
from ..data.locks import folder_lock
from ..evaluation.environment import environment
from ..evaluation.privacy import unreadable_entries
from ..evaluation.provenance import PROTOCOL
from ..evaluation.results import evaluation_title
from ..evaluation.robustness import (
    FILE,
    KINDS,
    REFERENCE_FRAMES,
    all_conditions,
    check_baseline,
    clips_of_shared_classes,
    clips_sha256,
    mean_corruption_error,
    measure_robustness,
    read_robustness,
)
from ..evaluation.trainings import is_selected_on, measured_weights, recorded_training
from ..inference.classifier import load_classifier
from ..reports.plots import plot_robustness
from .measuring import chosen_data, missing_code, prepared_builder
from .outcome import Outcome
from .parser import WrongCallError
from .text import robustness_lines, unreadable_lines


def run(arguments: argparse.Namespace) -> Outcome:
    """Prints the table, and writes it with `--output`; the exit code is 1 if too many clips could not be read."""
    _check_names(arguments.corruptions)
    baseline = None if arguments.baseline is None else read_robustness(arguments.baseline)
    if arguments.output is None:
        return _measure(arguments, baseline, None)
    output = Path(arguments.output)
    with folder_lock(output, "hdf robustness"):
        if (output / FILE).exists():
            raise ValueError(f"{output} holds the {FILE} of another run; give an --output of its own.")
        return _measure(arguments, baseline, output)


def _check_names(names: list[str] | None) -> None:
    known = [name for kind in KINDS.values() for name in kind]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise WrongCallError(f"--corruptions has {', '.join(unknown)}; choose from {', '.join(known)}.")


def _measure(arguments: argparse.Namespace, baseline: dict | None, output: Path | None) -> Outcome:
    model, processor = load_classifier(arguments.model)
    trained = recorded_training(arguments.model, arguments.dataset)
    for name, value in PROTOCOL.items():  # one uniform view, the same for every model
        setattr(arguments, name, value)
    data = chosen_data(arguments, trained, arguments.split)
    builder, _ = prepared_builder(arguments, trained, data, arguments.split)
    rows = builder.as_dataset(split=arguments.split)
    chosen = np.arange(len(rows))
    if arguments.max_clips is not None:
        chosen = np.sort(np.random.default_rng(arguments.seed).permutation(len(rows))[: arguments.max_clips])
    about = {"dataset": data.dataset, "fold": data.fold, "split": arguments.split}
    is_selected = is_selected_on(trained, data.dataset, arguments.split)
    overrides = data.described(arguments.overrides)["dataset_overrides"]
    title = evaluation_title(**about, num_views=1, peer_protocol=is_selected)
    if baseline is not None:  # before the work, not after it
        measured = clips_of_shared_classes(model, rows, chosen)[1]
        clips = {"num_clips": len(measured), "clips_sha256": clips_sha256(rows, measured)}
        _check_baseline(arguments, baseline, {"title": title, "dataset_overrides": overrides, **clips})
    result = measure_robustness(
        model.to("cuda" if torch.cuda.is_available() else "cpu").eval(),
        processor,
        rows,
        chosen=chosen,
        names=arguments.corruptions,
        severities=sorted(set(arguments.severities)),
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
        progress=not (arguments.quiet or arguments.json),
    )
    lost = {entry["clip_id"]: entry["message"] for entry in result["unreadable"]}
    result = {
        "title": title,
        "model": arguments.model,
        **about,
        "dataset_overrides": overrides,
        **result,
        "unreadable": unreadable_entries(lost),
        **measured_weights(arguments.model),
        "environment": environment(),
        "command": arguments.command_line,
    }
    result |= _compared(result, baseline)
    print("\n".join([*unreadable_lines(result["unreadable"]), *robustness_lines(result)]))
    if output is not None:
        with whole_or_absent(output / "robustness.png") as part:
            plot_robustness(result, part)
        write_json(output / FILE, result)  # last: a folder with this file is complete
        print(f"results in {output}")
    return Outcome(result, code=missing_code("hdf robustness", data, builder, len(lost)))


def _check_baseline(arguments: argparse.Namespace, baseline: dict, alike: dict) -> None:
    """Refuses a baseline of another measurement. How many of the clips can be read is not known yet."""
    told = baseline | {"num_clips": baseline["num_clips"] + len(baseline["unreadable"])}
    alike |= {"seed": arguments.seed, "reference_frames": REFERENCE_FRAMES}
    check_baseline(told, alike, all_conditions(arguments.corruptions, arguments.severities))


def _compared(result: dict, baseline: dict | None) -> dict:
    """The fields of `robustness.json` that compare it with a baseline. If other clips could be read, there is no mean
    corruption error."""
    if baseline is None:
        return {"baseline": None, "baseline_num_clips": None, "mean_corruption_error": None}
    lost, lost_there = ({entry["clip_id"] for entry in each["unreadable"]} for each in (result, baseline))
    return {
        "baseline": baseline["model"],
        "baseline_num_clips": baseline["num_clips"],
        "mean_corruption_error": mean_corruption_error(result, baseline) if lost == lost_there else None,
    }
