"""The report: one HTML page of a run. It loads no other file, so it can be sent, archived and opened anywhere."""

import base64
import shlex
from collections.abc import Callable
from importlib import resources
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import datasets
import pandas as pd
from jinja2 import Environment, StrictUndefined

from ..configuration_hdf import HDFConfig
from ..data.arguments import PUBLISHED_DATASETS
from ..data.files import read_json, write_text
from ..data.frame_sampling import TemporalSampling
from ..evaluation.liveness import spread_text
from ..evaluation.metrics import expected_calibration_error, reliability
from ..evaluation.predictions import (
    FILES,
    class_numbers,
    class_probabilities,
    confident_errors,
    measured_clips,
    read_predictions,
)
from ..evaluation.privacy import public_command, shorten_paths
from ..evaluation.results import Results, read_results, start_weights_text
from ..evaluation.robustness import FILE, read_robustness
from ..evaluation.summary import MIN_GROUP_CLIPS
from ..evaluation.trainings import weights_of
from ..inference.classifier import load_classifier
from .inspection import ModelView, at_temperature, check_view, look_into
from .plots import (
    MIN_TSNE_CLIPS,
    plot_confusion_matrix,
    plot_features,
    plot_gates,
    plot_reliability,
    plot_robustness,
    plot_training_curves,
    tsne_perplexity,
)

SECTIONS = {
    "numbers": "Numbers",
    "confusion": "Confusion matrix",
    "errors": "Most confident errors",
    "calibration": "Reliability diagram",
    "curves": "Training curves",
    "features": "Features",
    "gates": "DAM gates",
    "robustness": "Robustness",
    "limits": "Limits",
    "run": "Run",
}
MAX_ERRORS = 20
_TOTALS = {"WAR": "war", "UAR": "uar", "macro F1": "macro_f1", "calibration error (ECE)": "ece"}
# Fields that the report needs.
NEEDED = (
    *("dataset", "fold", "split", "peer_protocol", "temporal_sampling", "sampling_stride", "num_views"),
    *("dataset_overrides", "war", "uar", "num_clips", "recall", "confusion_matrix"),
)


def write_report(
    folder: str | Path,
    rows: datasets.Dataset | None = None,
    *,
    model: str | None = None,
    num_clips: int = 4,
    show_frames: bool = False,
    output: str | Path | None = None,
) -> Path:
    """
    Writes the report of a run.

    Args:
        folder (`str` or `Path`): output folder of `hdf train` or `hdf evaluate --output`, with `metrics.json`. The
            report also uses `predictions.parquet` or `.csv`, `trainer_state.json` and `calibration.json` (the last two
            also from the model's folder), and names the missing files. `robustness.json` fills the section of that
            name.
        rows (`datasets.Dataset`, *optional*): the measured split. Without it the report has no features and gates.
        model (`str`, *optional*): folder or Hub repository of the model; by default the folder itself, or the model
            that `metrics.json` names.
        num_clips (`int`, *optional*, defaults to 4): number of clips whose gates are drawn.
        show_frames (`bool`, *optional*, defaults to `False`): whether to draw frames of real clips; the report then
            warns not to share it.
        output (`str` or `Path`, *optional*): the file; by default `report.html` in the folder.

    Returns:
        `Path`: the HTML file.

    Raises:
        FileNotFoundError: if there is no `metrics.json`.
        ValueError: if a file is damaged, or if rows or model differ from the measured ones.
    """
    folder = Path(folder)
    metrics = read_results(folder, require=NEEDED)
    model = model or (str(folder) if (folder / "config.json").is_file() else metrics.model)
    folders = [folder, Path(model)] if model is not None else [folder]
    table = next((read_predictions(folder / name) for name in FILES if (folder / name).is_file()), None)
    table = None if table is None else measured_clips(table)
    if rows is not None:
        rows = _without(rows, {entry["clip_id"] for entry in metrics.unreadable or ()})
    if model is not None and (rows is not None or Path(model).is_dir()):
        _check_weights(metrics, model)
    config, view = None, None
    if model is not None and rows is not None and not model.endswith(".onnx"):
        classifier, processor = load_classifier(model)
        config = classifier.config
        sampling = TemporalSampling(metrics.temporal_sampling, processor.num_frames, metrics.sampling_stride)
        view = look_into(classifier, processor, rows, sampling, num_clips)
        check_view(view, metrics, table, config.calibration_temperature)
    elif model is not None and Path(model).is_dir():
        config = HDFConfig.from_pretrained(model)
    page = _environment().from_string(
        (resources.files("modeling_hdf.reports") / "templates" / "report.html").read_text("utf-8")
    )
    text = page.render(
        sections=SECTIONS,
        metrics=metrics,
        **_run_context(metrics, config, view is not None and bool(view.gated) and show_frames),
        **_number_context(metrics),
        **_error_context(table),
        **_calibration_context(metrics, table, config, folders),
        **_picture_context(metrics, _read_beside(folders, "trainer_state.json")),
        **_feature_context(view, model),
        **_gate_context(view, config, model, num_clips, metrics.dataset == "synthetic" or show_frames),
        liveness=metrics.gate_liveness,
        spread_text=spread_text,
        **_robustness_context(folders, metrics),
        version=version("hdf-dfer"),
    )
    output = folder / "report.html" if output is None else Path(output)
    write_text(output, text)
    return output


def _check_weights(metrics: Results, model: str) -> None:
    """Raises a `ValueError` if the model has other weights now than those that were measured."""
    measured, present = metrics.weights_sha256, weights_of(model)  # earlier files have none, nor has an ONNX folder
    if None not in (measured, present) and measured != present:
        raise ValueError(
            f"{metrics.source} is of other weights than {model} holds now (`weights_sha256`): evaluate this model, or "
            "name the folder of the measured one with --model."
        )


def _without(rows: datasets.Dataset, clip_ids: set[str]) -> datasets.Dataset:
    return rows.select([index for index, each in enumerate(rows["clip_id"]) if each not in clip_ids])


def _read_beside(folders: list[Path], name: str) -> dict | None:
    """Reads the file in the first folder that has it."""
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    return None if path is None else read_json(path, "Restore it, or remove it: the report does not need it.")


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.3f}"
    return environment


def _png(plot: Callable, *arguments) -> str:
    """The picture of a plotting function as the source of an HTML image; the function takes the file last."""
    file = BytesIO()
    plot(*arguments, file)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _run_context(metrics: Results, config: HDFConfig | None, frames_of_people: bool) -> dict:
    dataset = metrics.dataset
    warnings = []
    if dataset == "synthetic":
        warnings.append("Synthetic data only: rendered faces. These numbers do not apply to real faces.")
    if metrics.peer_protocol:
        warnings.append(
            f"Peer protocol: the model was selected on the measured {metrics.split} split. The numbers are too high "
            "for new data."
        )
    if metrics.may_hold_training_clips:
        warnings.append(
            "The measured clips may include some that the model was trained or selected on: the record of its "
            "training does not tell."
        )
    across = metrics.across_datasets
    if across is not None:
        removed = ", ".join(across["only_in_model"]) or "none"
        left_out = _counts(across["left_out"]) or "none"
        warnings.append(
            f"The classes of model and dataset differ; measured on the shared classes: {', '.join(across['shared'])}. "
            f"Clips left out: {left_out}. Classes removed from the probabilities: {removed}."
        )
    if metrics.unreadable:
        total = len(metrics.unreadable) + metrics.num_clips
        warnings.append(f"{len(metrics.unreadable)} of {total} clips could not be read, and count in no figure.")
    if frames_of_people and dataset != "synthetic":
        owner = PUBLISHED_DATASETS[dataset][0] if dataset in PUBLISHED_DATASETS else "your own videos"
        warnings.append(f"This report shows frames of {owner}: share it only if you have the right to.")
    facts = {"dataset": metrics.title, "frames": metrics.frames}
    for name, key in (
        *(("model", "model"), ("commit on the Hub", "model_revision")),
        *(("starts from", "base_model"), ("seed", "seed")),
    ):
        if getattr(metrics, key) is not None:
            facts[name] = shorten_paths(str(getattr(metrics, key)))
    weights = "".join(map(start_weights_text, metrics.known_trainings[:1]))
    if weights:
        facts["weights of the start"] = weights
    if metrics.weights_sha256 is not None:
        facts["weights (SHA-256)"] = ", ".join(f"{name} {digest}" for name, digest in metrics.weights_sha256.items())
    if config is not None:
        layers = ", ".join(map(str, config.dam_layers)) or "none"
        facts["input"] = f"{config.num_frames} frames of {config.image_size} pixels"
        facts["DAM after layers"] = f"{layers}, of {config.num_hidden_layers}"
        facts["calibration temperature"] = f"{config.calibration_temperature:.3g}"
    return {
        "title": f"HDF: {metrics.title}",
        "warnings": warnings,
        "command": None if metrics.command is None else public_command(shlex.split(metrics.command)),
        "facts": facts,
        "environment": metrics.environment,
    }


def _counts(by_class: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in by_class.items())


def _number_context(metrics: Results) -> dict:
    totals = {name: key for name, key in _TOTALS.items() if getattr(metrics, key) is not None}
    intervals = metrics.intervals
    note = "No intervals: metrics.json holds none; `hdf evaluate --output` computes them."
    if metrics.bootstrap is not None:
        bootstrap = metrics.bootstrap
        unit = "clips" if bootstrap["unit"] == "clip" else f"units (column {bootstrap['unit']}) with all their clips"
        note = f"No intervals: all clips belong to one {bootstrap['unit']}."
        if intervals is not None:
            note = (
                f"Intervals: bootstrap, {bootstrap['num_resamples']} resamples of {bootstrap['num_units']} {unit}, "
                f"seed {bootstrap['seed']}."
            )
            if None in [*intervals["recall"].values(), *(intervals[key] for key in totals.values())]:
                note += " A dash in place of an interval: all resamples agree, as for a recall of 0 or 1."
    return {
        "totals": totals,
        "intervals": intervals or {**dict.fromkeys(totals.values()), "recall": dict.fromkeys(metrics.recall)},
        "interval_note": note,
        "class_counts": [sum(row) for row in metrics.confusion_matrix],
        "controls": {name.replace("_", ", "): value for name, value in (metrics.controls or {}).items()},
        "groups": metrics.groups or {},
        "min_group_clips": MIN_GROUP_CLIPS,
    }


def _error_context(table: pd.DataFrame | None) -> dict:
    if table is None:
        return {"errors": None, "num_errors": None}
    num_errors = int((table["predicted"] != table["label"]).sum())
    return {"errors": confident_errors(table, MAX_ERRORS).to_dict("records"), "num_errors": num_errors}


def _picture_context(metrics: Results, trainer_state: dict | None) -> dict:
    history = [] if trainer_state is None else trainer_state["log_history"]
    return {
        "confusion": _png(lambda file: plot_confusion_matrix(metrics.to_dict(), file, metrics.title)),
        "curves": _png(plot_training_curves, history) if history else None,
    }


def reliability_panels(metrics: Results, table: pd.DataFrame | None, temperature: float) -> dict[str, dict]:
    """
    Panels for [`plot_reliability`]: at the temperature of the measurement, at 1, and at the model's present
    temperature.

    Args:
        metrics ([`Results`]): content of `metrics.json`, with `reliability` and `ece`.
        table (`pd.DataFrame`, *optional*): the predictions. Without them, or if they are means over views, which
            cannot be converted to another temperature, there is only the first panel.
        temperature (`float`): the model's present `calibration_temperature`.
    """
    measured = metrics.calibration_temperature or 1.0
    panels = {measured: {"reliability": metrics.reliability, "ece": metrics.ece}}
    if table is not None and metrics.num_views == 1:
        labels = class_numbers(table)
        for other in {1.0, temperature} - {measured}:
            probabilities = at_temperature(class_probabilities(table), measured, other)
            panels[other] = {
                "reliability": reliability(labels, probabilities),
                "ece": expected_calibration_error(labels, probabilities),
            }
    return {
        f"temperature {value:.3g}" + (", as measured" if value == measured else ""): panels[value]
        for value in sorted(panels)
    }


def _calibration_context(
    metrics: Results, table: pd.DataFrame | None, config: HDFConfig | None, folders: list[Path]
) -> dict:
    notes, calibration = [], _read_beside(folders, "calibration.json")
    if calibration is not None and _is_of_other_weights(calibration, folders, metrics):
        notes.append("Left out: calibration.json is of other weights than this page.")
        calibration = None
    if metrics.reliability is None:
        return {"reliability": None, "temperature_note": " ".join(notes), "calibration": calibration}
    measured = metrics.calibration_temperature or 1.0
    temperature = measured if config is None else config.calibration_temperature
    panels = reliability_panels(metrics, table, temperature)
    if temperature != measured:
        notes.append(f"The model's temperature is now {temperature:.3g}; all numbers above are at {measured:.3g}.")
    picture = _png(plot_reliability, panels)
    return {"reliability": picture, "temperature_note": " ".join(notes), "calibration": calibration}


def _is_of_other_weights(beside: dict, folders: list[Path], metrics: Results) -> bool:
    """Whether the checksums of a file beside the model tell that it is of other weights than the page."""
    measured = beside.get("weights_sha256")  # earlier files have none
    weights = metrics.weights_sha256
    if weights is None:
        known = [weights_of(str(folder)) for folder in folders if folder.is_dir()]
        weights = next((found for found in known if found is not None), None)
    return None not in (measured, weights) and measured != weights


def _robustness_context(folders: list[Path], metrics: Results) -> dict:
    """The section of `robustness.json`, unless its checksums tell that it is of other weights than the page."""
    path = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
    if path is None:
        why = "Not measured: run `hdf robustness --output` with this folder or the model's."
        return {"robustness": None, "no_robustness": why}
    result = read_robustness(path)
    if _is_of_other_weights(result, folders, metrics):
        why = f"Left out: {FILE} is of other weights than this page. Run `hdf robustness` again with this model."
        return {"robustness": None, "no_robustness": why}
    levels = sorted({level for each in result["corruptions"].values() for level in each["severities"]}, key=int)
    across = result.get("across_datasets")
    return {
        "robustness": result,
        "severities": levels,
        "robustness_picture": _png(plot_robustness, result),
        "robustness_left_out": "" if across is None else _counts(across["left_out"]),
        "baseline": None if result.get("baseline") is None else shorten_paths(result["baseline"]),
    }


def _why_no_view(model: str | None) -> str:
    if model is None:
        return "This folder holds no model: name a model with `hdf report --model`."
    if model.endswith(".onnx"):
        return "The layers of an ONNX file cannot be seen: evaluate the model that it was exported from."
    return "This needs the clips: give their folder with `hdf report --data-dir`."


def _feature_context(view: ModelView | None, model: str | None) -> dict:
    if view is None:
        return {"features": None, "no_features": _why_no_view(model)}
    count = len(view.features)
    if count < MIN_TSNE_CLIPS:
        return {"features": None, "no_features": f"{count} clips are too few for t-SNE; it needs {MIN_TSNE_CLIPS}."}
    picture = _png(plot_features, view.features, view.labels, view.names)
    return {"features": picture, "view": view, "perplexity": tsne_perplexity(count)}


def _gate_context(
    view: ModelView | None, config: HDFConfig | None, model: str | None, num_clips: int, frames_shown: bool
) -> dict:
    if config is not None and not config.dam_layers:
        return {"gates": None, "no_gates": "This model has no DAM layers."}
    if view is None:
        return {"gates": None, "no_gates": _why_no_view(model)}
    if not view.gated:
        return {"gates": None, "no_gates": f"Left out: {num_clips} clips were requested."}
    terms = {"t": config.dam_temporal, "s": config.dam_frequency}
    active = [f"w<sub>{x}</sub> (1 + g<sub>{x}</sub>)" for x, is_on in terms.items() if is_on]
    gates = [
        {
            "source": _png(lambda file, clip=clip: plot_gates(clip, file, frames_shown)),
            "description": f"Gates of {clip.clip_id}: true {clip.label}, predicted {clip.predicted}",
        }
        for clip in view.gated
    ]
    return {
        "gates": gates,
        "formula": f"({' + '.join(active)}) / 2" if len(active) == 2 else active[0],
        "frames_shown": frames_shown,
    }


__all__ = ["MAX_ERRORS", "NEEDED", "SECTIONS", "reliability_panels", "write_report"]
