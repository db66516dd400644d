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
from ..evaluation.robustness import FILE, KINDS, mean_corruption_error, measure_robustness, read_robustness
from ..evaluation.trainings import recorded_training
from ..inference.classifier import load_classifier
from ..reports.plots import plot_robustness
from .measuring import chosen_data, missing_code, prepared_builder
from .outcome import Outcome
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
        raise ValueError(f"--corruptions has {', '.join(unknown)}; choose from {', '.join(known)}.")


def _measure(arguments: argparse.Namespace, baseline: dict | None, output: Path | None) -> Outcome:
    model, processor = load_classifier(arguments.model)
    trained = recorded_training(arguments.model, arguments.dataset)
    for name, value in PROTOCOL.items():  # one uniform view, the same for every model
        setattr(arguments, name, value)
    data = chosen_data(arguments, trained, arguments.split)
    builder = prepared_builder(arguments, trained, data, arguments.split)
    rows = builder.as_dataset(split=arguments.split)
    if arguments.max_clips is not None:
        chosen = np.random.default_rng(arguments.seed).permutation(len(rows))[: arguments.max_clips]
        rows = rows.select(np.sort(chosen))
    result = measure_robustness(
        model.to("cuda" if torch.cuda.is_available() else "cpu").eval(),
        processor,
        rows,
        names=arguments.corruptions,
        severities=sorted(set(arguments.severities)),
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
    )
    lost = {entry["clip_id"]: entry["message"] for entry in result["unreadable"]}
    about = {"dataset": data.dataset, "fold": data.fold, "split": arguments.split}
    result = {
        "title": evaluation_title(**about, num_views=1, peer_protocol=bool(trained.peer_protocol)),
        "model": arguments.model,
        **about,
        **result,
        "unreadable": unreadable_entries(lost),
        "environment": environment(),
        "command": arguments.command_line,
    }
    result["baseline"] = None if baseline is None else baseline["model"]
    result["mean_corruption_error"] = None if baseline is None else mean_corruption_error(result, baseline)
    print("\n".join([*unreadable_lines(result["unreadable"]), *robustness_lines(result)]))
    if output is not None:
        with whole_or_absent(output / "robustness.png") as part:
            plot_robustness(result, part)
        write_json(output / FILE, result)  # last: a folder with this file is complete
        print(f"results in {output}")
    return Outcome(result, code=missing_code("hdf robustness", data, builder, len(lost)))
