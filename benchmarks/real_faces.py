"""WAR, UAR, recall per class and speed on real faces, of a checkpoint of this package beside other packages.

    python benchmarks/real_faces.py fer2013=FOLDER [folder=PORTRAITS] [ravdess=FOLDER] [cremad=FOLDER] --output DIR
    ... --fer                # also the package fer==25.10.3
    ... --face-api FOLDER    # also the expression network of the npm package @vladmandic/face-api, unpacked there

Of FER2013 its PrivateTest is measured, of the other datasets every clip; `--split` chooses another part. `folder` is
one with a sub-folder of pictures or videos for each class. All models see the same crops: FER2013's pictures as they
are, of all others the main face as `hdf predict` cuts it out. Of a video, a model of stills sees the frames that the
checkpoint sees, and its probabilities are averaged. Clips without a face are named and count for no model.

It prints tables, and with `--output` writes `results.md` and `results.json`. See `docs/real-faces.md` for the
environment that the other packages need.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and OpenCV are imported
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

from functools import partial
from pathlib import Path

import numpy as np
import torch
from real_faces_data import KINDS, Crops, read_rows
from real_faces_models import Model, face_api_model, fer_model, our_model
from real_faces_tables import as_markdown
from timing import ratio_of_times, seconds_in_turn

from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data.files import write_json
from modeling_hdf.evaluation import SharedClasses, bootstrap_differences, evaluate_predictions, predictions_table
from modeling_hdf.evaluation.environment import environment
from modeling_hdf.evaluation.predictions import class_numbers, class_probabilities, measured_clips
from modeling_hdf.pretrained import RAW_VIDEO_MODEL

TIMED = 24  # clips


def classify(models: dict[str, Model], rows, crops_of: Crops) -> tuple[dict[str, np.ndarray], dict[int, str], list]:
    """The probabilities `(N, 7)` of each model, the errors by row, and the crops of the first clips."""
    probabilities = {name: np.full((len(rows), len(EMOTIONS)), 1 / len(EMOTIONS)) for name in models}
    lost, first = {}, []
    for index, row in enumerate(rows):
        try:
            crops = crops_of(row)
        except (OSError, ValueError) as error:
            lost[index] = str(error)
            continue
        if len(first) < TIMED:
            first.append(crops)
        for name, model in models.items():
            probabilities[name][index] = model(crops)
    return probabilities, lost, first


def speeds(models: dict[str, Model], clips: list[np.ndarray], rounds: int) -> dict[str, dict]:
    """Milliseconds per clip of each model, and its time as a ratio to that of the first."""

    def all_clips(model: Model) -> None:
        for clip in clips:
            model(clip)

    seconds = seconds_in_turn({name: partial(all_clips, model) for name, model in models.items()}, rounds)
    ours = next(iter(seconds.values()))
    return {
        name: {"milliseconds": 1000 * min(values) / len(clips), **ratio_of_times(values, ours)}
        for name, values in seconds.items()
    }


def difference(ours: dict, peer: dict, tables: list) -> dict[str, dict]:
    """Our WAR and UAR minus those of a peer, with intervals from paired resamples."""
    unit = ours["bootstrap"]["unit"]
    units = None if unit == "clip" else tables[0][unit].to_numpy()
    intervals = {}
    if ours["bootstrap"]["num_units"] > 1:
        first, second = map(class_probabilities, tables)
        intervals = bootstrap_differences(class_numbers(tables[0]), first, second, units)
    return {name: {"value": ours[name] - peer[name], "interval": intervals.get(name)} for name in ("war", "uar")}


def measure(models: dict[str, Model], kind: str, path: str, split: str | None, rounds: int) -> dict:
    """All figures on one dataset; the first model is ours."""
    rows, crops_of, title, notes = read_rows(kind, path, split)
    classes = SharedClasses(list(EMOTIONS), rows.features["label"].names)
    rows, left_out = classes.select(rows)
    probabilities, lost, clips = classify(models, rows, crops_of)
    if not clips:
        raise SystemExit(f"{path}: none of its {len(rows)} clips can be measured; the first: {lost[0]}")
    names = rows["clip_id"][:]
    tables = {
        name: measured_clips(predictions_table(rows, values, classes, lost)) for name, values in probabilities.items()
    }
    scores = {name: evaluate_predictions(table) for name, table in tables.items()}
    ours, *peers = models
    return {
        "title": title,
        "notes": notes
        + [f"{count} clips of {name} are left out: no class of the models" for name, count in left_out.items()],
        "not_measured": {str(names[index]): message for index, message in lost.items()},
        "models": scores,
        "differences": {peer: difference(scores[ours], scores[peer], [tables[ours], tables[peer]]) for peer in peers},
        "speed": speeds(models, clips, rounds),
    }


def dataset(text: str) -> tuple[str, str]:
    kind, _, path = text.partition("=")
    if kind not in KINDS or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is no KIND=PATH, with one of {', '.join(KINDS)} as KIND")
    if not Path(path).exists():
        raise argparse.ArgumentTypeError(f"{path}: there is no such file or folder")
    return kind, path


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", nargs="+", type=dataset, metavar="KIND=PATH", help=f"KIND is one of {', '.join(KINDS)}"
    )
    parser.add_argument("--model", default=RAW_VIDEO_MODEL, help=f"checkpoint, default {RAW_VIDEO_MODEL}")
    parser.add_argument("--fer", action="store_true", help="also the package fer")
    parser.add_argument("--face-api", metavar="FOLDER", help="also the network of face-api, from its unpacked package")
    parser.add_argument("--split", choices=("train", "validation", "test", "all"), help="default: see above")
    parser.add_argument("--rounds", type=int, default=7, help="of the timing, default 7")
    parser.add_argument("--output", type=Path, metavar="DIR")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    options = arguments(given)
    torch.set_num_threads(1)
    models = {Path(options.model).name: our_model(options.model)}
    if options.fer:
        models["fer"] = fer_model()
    if options.face_api:
        models["face-api"] = face_api_model(options.face_api)
    found = [measure(models, kind, path, options.split, options.rounds) for kind, path in options.data]
    text = "\n".join(as_markdown(each) for each in found)
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "results.md").write_text(text)
        write_json(options.output / "results.json", {"results": found, "environment": environment()})


if __name__ == "__main__":
    main()
