"""One HTML page of a run, complete in itself: it loads nothing, so it can be sent, archived and opened anywhere."""

import base64
import json
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
from ..data.frame_sampling import TemporalSampling
from ..evaluation.metrics import expected_calibration_error, reliability
from ..evaluation.predictions import FILES, class_numbers, class_probabilities, confident_errors, read_predictions
from ..evaluation.summary import MIN_GROUP_CLIPS
from ..hub.cards import GATED_DATASETS, evaluation_title
from ..hub.release import public_command, shorten_paths
from ..inference.classifier import load_classifier
from .inspection import ModelView, at_temperature, check_view, look_into
from .plots import (
    MIN_TSNE_CLIPS,
    plot_confusion_matrix,
    plot_features,
    plot_gates,
    plot_reliability,
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
    "limits": "Limits",
    "run": "Run",
}
MAX_ERRORS = 20
_TOTALS = {"WAR": "war", "UAR": "uar", "macro F1": "macro_f1", "calibration error (ECE)": "ece"}
_FIELDS = (
    *("dataset", "fold", "split", "peer_protocol", "temporal_sampling", "sampling_stride", "num_views"),
    "dataset_overrides",
)
_RESULTS = ("war", "uar", "num_clips", "recall", "confusion_matrix")


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
    Writes the page of a run.

    Args:
        folder (`str` or `Path`): output folder of `examples/train.py`, or of `hdf evaluate --output`. It holds
            `metrics.json`; `predictions.parquet` or `.csv`, `trainer_state.json` and `calibration.json` are used where
            they are there (the last two may lie in the model's folder), and the page says what it lacks.
        rows (`datasets.Dataset`, *optional*): the split that `metrics.json` is of. Without it the page has neither
            features nor gates.
        model (`str`, *optional*): folder or Hub repository of the model; by default the folder itself, or the model
            that `metrics.json` names.
        num_clips (`int`, *optional*, defaults to 4): clips to draw the gates of.
        show_frames (`bool`, *optional*, defaults to `False`): whether to draw frames of clips that are not synthetic;
            the page then says that it may not be handed on.
        output (`str` or `Path`, *optional*): the file; `report.html` in the folder by default.

    Returns:
        `Path`: the page.

    Raises:
        FileNotFoundError: if there is no `metrics.json`.
        ValueError: if a file is damaged, or the rows or the model are not those that were measured.
    """
    folder = Path(folder)
    metrics = read_metrics(folder)
    model = model or (str(folder) if (folder / "config.json").is_file() else metrics.get("model"))
    folders = [folder, Path(model)] if model is not None else [folder]
    table = next((read_predictions(folder / name) for name in FILES if (folder / name).is_file()), None)
    config, view = None, None
    if model is not None and rows is not None:
        classifier, processor = load_classifier(model)
        config = classifier.config
        sampling = TemporalSampling(metrics["temporal_sampling"], processor.num_frames, metrics["sampling_stride"])
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
        **_calibration_context(metrics, table, config, _read_json(folders, "calibration.json")),
        **_picture_context(metrics, _read_json(folders, "trainer_state.json")),
        **_feature_context(view, model),
        **_gate_context(view, config, model, num_clips, metrics["dataset"] == "synthetic" or show_frames),
        version=version("hdf-dfer"),
    )
    output = folder / "report.html" if output is None else Path(output)
    output.write_text(text, encoding="utf-8")
    return output


def read_metrics(folder: Path) -> dict:
    """
    The `metrics.json` of a run.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged or lacks a field.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give a folder that training or `hdf evaluate --output` wrote."
        )
    metrics = _read_json([folder], path.name)
    missing = [name for name in (*_FIELDS, *_RESULTS) if name not in metrics]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; evaluate the model again with `hdf evaluate --output`.")
    return metrics


def _read_json(folders: list[Path], name: str) -> dict | None:
    """The file of the first folder that has it."""
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.3f}"
    return environment


def _png(plot: Callable, *arguments) -> str:
    """What a plotting function draws, as a source for an image; the file comes after its arguments."""
    file = BytesIO()
    plot(*arguments, file)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _run_context(metrics: dict, config: HDFConfig | None, frames_of_people: bool) -> dict:
    dataset = metrics["dataset"]
    warnings = []
    if dataset == "synthetic":
        warnings.append("Synthetic data only: rendered faces. These figures say nothing about real faces.")
    if metrics["peer_protocol"]:
        warnings.append(
            f"Peer protocol: the model was selected on the very {metrics['split']} split that it is measured on. The "
            "figures are too high for new data."
        )
    if metrics.get("may_hold_training_clips"):
        warnings.append("The clips may hold some that the model was trained on: both come from folders of videos.")
    across = metrics.get("across_datasets")
    if across is not None:
        removed = ", ".join(across["only_in_model"]) or "none"
        left_out = ", ".join(f"{count} {name}" for name, count in across["left_out"].items()) or "none"
        warnings.append(
            f"The classes of model and dataset differ; measured on those in common: {', '.join(across['shared'])}. "
            f"Clips left out: {left_out}. Taken out of the probabilities: {removed}."
        )
    if frames_of_people and dataset != "synthetic":
        owner = (
            f"the licence-gated dataset {GATED_DATASETS[dataset]}"
            if dataset in GATED_DATASETS
            else "videos of your own"
        )
        warnings.append(f"This page shows frames of {owner}: do not hand it on without the right to.")
    facts = {"dataset": evaluation_title(metrics), "frames": f"{metrics['temporal_sampling']} sampling"}
    for name, key in (("model", "model"), ("starts from", "base_model"), ("seed", "seed")):
        if metrics.get(key) is not None:
            facts[name] = shorten_paths(str(metrics[key]))
    if config is not None:
        layers = ", ".join(map(str, config.dam_layers)) or "none"
        facts["input"] = f"{config.num_frames} frames of {config.image_size} pixels"
        facts["DAM after layers"] = f"{layers}, of {config.num_hidden_layers}"
        facts["calibration temperature"] = f"{config.calibration_temperature:.3g}"
    return {
        "title": f"HDF: {evaluation_title(metrics)}",
        "warnings": warnings,
        "command": public_command(shlex.split(metrics["command"])) if "command" in metrics else None,
        "facts": facts,
        "environment": metrics.get("environment"),
    }


def _number_context(metrics: dict) -> dict:
    totals = {name: key for name, key in _TOTALS.items() if key in metrics}
    intervals = metrics.get("intervals")
    note = "No intervals: metrics.json holds none; `hdf evaluate --output` computes them."
    if "bootstrap" in metrics:
        bootstrap = metrics["bootstrap"]
        unit = "clips" if bootstrap["unit"] == "clip" else f"units (column {bootstrap['unit']}) with all their clips"
        note = f"No intervals: all clips are of one {bootstrap['unit']}."
        if intervals is not None:
            note = (
                f"Intervals: bootstrap, {bootstrap['num_resamples']} resamples of {bootstrap['num_units']} {unit}, "
                f"seed {bootstrap['seed']}."
            )
            if None in [*intervals["recall"].values(), *(intervals[key] for key in totals.values())]:
                note += " A dash for an interval: all resamples agree, as for a recall of 0 or 1."
    return {
        "totals": totals,
        "intervals": intervals or {**dict.fromkeys(totals.values()), "recall": dict.fromkeys(metrics["recall"])},
        "interval_note": note,
        "class_counts": [sum(row) for row in metrics["confusion_matrix"]],
        "controls": {name.replace("_", ", "): value for name, value in metrics.get("controls", {}).items()},
        "groups": metrics.get("groups", {}),
        "min_group_clips": MIN_GROUP_CLIPS,
    }


def _error_context(table: pd.DataFrame | None) -> dict:
    if table is None:
        return {"errors": None, "num_errors": None}
    num_errors = int((table["predicted"] != table["label"]).sum())
    return {"errors": confident_errors(table, MAX_ERRORS).to_dict("records"), "num_errors": num_errors}


def _picture_context(metrics: dict, trainer_state: dict | None) -> dict:
    history = [] if trainer_state is None else trainer_state["log_history"]
    return {
        "confusion": _png(lambda file: plot_confusion_matrix(metrics, file, evaluation_title(metrics))),
        "curves": _png(plot_training_curves, history) if history else None,
    }


def reliability_panels(metrics: dict, table: pd.DataFrame | None, temperature: float) -> dict[str, dict]:
    """
    Panels for [`plot_reliability`]: at the temperature of the measurement, at 1, and at the model's present one.

    Args:
        metrics (`dict`): content of `metrics.json`, with `reliability` and `ece`.
        table (`pd.DataFrame`, *optional*): the predictions; without them, or if they are means over views, which no
            temperature turns into others, there is the first panel alone.
        temperature (`float`): the model's present `calibration_temperature`.
    """
    measured = metrics.get("calibration_temperature", 1.0)
    panels = {measured: {"reliability": metrics["reliability"], "ece": metrics["ece"]}}
    if table is not None and metrics["num_views"] == 1:
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
    metrics: dict, table: pd.DataFrame | None, config: HDFConfig | None, calibration: dict | None
) -> dict:
    if "reliability" not in metrics:
        return {"reliability": None, "temperature_note": "", "calibration": calibration}
    measured = metrics.get("calibration_temperature", 1.0)
    temperature = measured if config is None else config.calibration_temperature
    panels = reliability_panels(metrics, table, temperature)
    note = ""
    if temperature != measured:
        note = f"The model's temperature is now {temperature:.3g}; all numbers above are at {measured:.3g}."
    return {"reliability": _png(plot_reliability, panels), "temperature_note": note, "calibration": calibration}


def _why_no_view(model: str | None) -> str:
    if model is None:
        return "There is no model in this folder: name one with `hdf report --model`."
    return "This takes the clips: `hdf report --data-dir` says where they are."


def _feature_context(view: ModelView | None, model: str | None) -> dict:
    if view is None:
        return {"features": None, "no_features": _why_no_view(model)}
    count = len(view.features)
    if count < MIN_TSNE_CLIPS:
        return {"features": None, "no_features": f"{count} clips are too few for t-SNE; it takes {MIN_TSNE_CLIPS}."}
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
        return {"gates": None, "no_gates": f"Left out: {num_clips} clips were asked for."}
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
        "places": "x".join(map(str, config.feature_map_size[1:])),
        "frames_shown": frames_shown,
    }


__all__ = ["MAX_ERRORS", "SECTIONS", "read_metrics", "reliability_panels", "write_report"]
