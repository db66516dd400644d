"""What the checkpoint for real faces keeps under changes of the picture, and whether motion counts.

    python benchmarks/small_faces/robust.py outputs/small_faces/data_48.safetensors [--changes NAME] [--output DIR]
    python benchmarks/small_faces/robust.py --table

The first table is of the stills that training held out (`validation_stills`, see `train.py`), each through the video
processor and the model as a clip of one frame: as they are, as one single frame for the model, in other colours, at
24, 224 and 400 pixels, mirrored, and framed as crops of this package frame a face with other margins. Its second part
finds the face of a still, scaled up, with the detector of the package and crops it with each margin; stills without a
found face are left out of that part. A change may cost at most 3 points of WAR or UAR.

The second table is of the rendered test split: its clips as they are, with their frames shuffled, and the first frame
alone. A model that knows motion loses much on both.

The record `robust.json` in `--output` keeps what was measured, with the checksum of the weights. `--changes` measures
some changes of the stills alone; what the record holds of the same weights stays. `--table` measures nothing.
"""

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from modeling_hdf.data import ClipDataset, SyntheticFaces
from modeling_hdf.data.files import write_json
from modeling_hdf.evaluation import (
    bootstrap_differences,
    bootstrap_intervals,
    classification_scores,
    evaluation_trainer,
    predict_views,
)
from modeling_hdf.evaluation.environment import environment
from modeling_hdf.evaluation.weights import weights_sha256
from modeling_hdf.faces import FaceDetector, NoFaceError, track_faces
from modeling_hdf.faces.detection import cut_square
from modeling_hdf.faces.tracking import crop_squares
from modeling_hdf.inference.classifier import class_names, load_classifier
from modeling_hdf.pretrained import RAW_VIDEO_MODEL, checkpoint_path

ALLOWED = 0.03  # loss of WAR or UAR
MARGINS = (0.0, 0.1, 0.2, 0.3)
USUAL_MARGIN = 0.1  # of `hdf predict`
# Side of the detector's box, as a multiple of the side of FER2013's picture; median, see `augmentation.py`.
BOX = 1.05
EDGES = (24, 224, 400)  # pixels
WARM, COLD = (1.30, 0.92, 0.62), (0.80, 1.03, 1.36)  # factors on red, green, blue that keep the luminance
SEARCHED = 192  # pixels of a still in which a face is searched

RECORD = "robust.json"
RECORDS = Path(__file__).parents[1] / "results" / "small_faces"
AS_THEY_ARE, SINGLE = "as they are", "as one single frame"

Change = Callable[[np.ndarray, int], np.ndarray]  # of a still, `(48, 48, 3)` uint8, and the edge of the model's input


def framed(still: np.ndarray, edge: int, margin: float) -> np.ndarray:
    """The still as a crop of this edge and margin frames the face; beyond the still its border is repeated."""
    side = len(still)
    return cut_square(still, np.array([side / 2, side / 2, side * BOX * (1 + 2 * margin), 0.0]), edge)


def tinted(still: np.ndarray, factors: tuple[float, float, float]) -> np.ndarray:
    return np.clip(np.rint(still * np.array(factors)), 0, 255).astype(np.uint8)


def resized(still: np.ndarray, edge: int) -> np.ndarray:
    return cv2.resize(still, (edge, edge), interpolation=cv2.INTER_AREA if edge < len(still) else cv2.INTER_CUBIC)


CHANGES: dict[str, Change] = {
    AS_THEY_ARE: lambda still, _: still,
    "warm colours": lambda still, _: tinted(still, WARM),
    "cold colours": lambda still, _: tinted(still, COLD),
    **{f"{size} pixels": lambda still, _, s=size: resized(still, s) for size in EDGES},
    "mirrored": lambda still, _: still[:, ::-1],
    **{f"framed with a margin of {margin}": partial(framed, margin=margin) for margin in MARGINS},
}


@torch.inference_mode()
def probabilities(model, processor, pictures: list[np.ndarray], **options) -> np.ndarray:
    """Probabilities `(N, 7)` of pictures, each a clip of one frame; `options` are of the processor."""
    found = []
    for start in range(0, len(pictures), 32):
        clips = [picture[None] for picture in pictures[start : start + 32]]
        inputs = processor(clips, return_tensors="pt", **options)
        found.append(model(**inputs).logits.float().softmax(-1).double().numpy())
    return np.concatenate(found)


def scores(labels: np.ndarray, values: np.ndarray, names: list[str], base: np.ndarray | None = None) -> dict:
    """WAR, UAR and recall with intervals, and the difference to other probabilities of the same clips."""
    found = classification_scores(labels, values.argmax(1), names)
    intervals = bootstrap_intervals(labels, values)
    result = {name: {"value": found[name], "interval": intervals[name]} for name in ("war", "uar")}
    result["recall"] = {
        name: {"value": found["recall"][name], "interval": interval}
        for name, interval in zip(names, intervals["recall"], strict=True)
    }
    if base is not None:
        other = classification_scores(labels, base.argmax(1), names)
        apart = bootstrap_differences(labels, values, base)
        result["difference"] = {
            name: {"value": found[name] - other[name], "interval": apart[name]} for name in ("war", "uar")
        }
    return result | {"num_clips": len(labels)}


def on_stills(
    model, processor, stills: np.ndarray, labels: np.ndarray, names: list[str], chosen: Collection[str]
) -> dict[str, dict]:
    """Scores of the held-out stills `(N, 48, 48)` as they are, and changed in each chosen way."""
    pictures = [np.repeat(still[..., None], 3, axis=-1) for still in stills]
    edge = processor.crop_size["height"]
    values = {
        name: probabilities(model, processor, [change(picture, edge) for picture in pictures])
        for name, change in CHANGES.items()
        if name in chosen or name == AS_THEY_ARE
    }
    if SINGLE in chosen:
        values[SINGLE] = probabilities(model, processor, pictures, num_frames=1)
    found = {name: scores(labels, each, names, values[AS_THEY_ARE]) for name, each in values.items()}
    del found[AS_THEY_ARE]["difference"]
    return found


def on_found_faces(
    model, processor, stills: np.ndarray, labels: np.ndarray, names: list[str]
) -> tuple[dict[str, dict], int]:
    """Scores of the faces that the detector finds in stills, for each margin; and how many stills have none."""
    detector, crops, kept = FaceDetector(), {margin: [] for margin in MARGINS}, []
    for index, still in enumerate(stills):
        picture = resized(np.repeat(still[..., None], 3, axis=-1), SEARCHED)
        try:
            track = track_faces(picture[None], detector).main()
        except NoFaceError:
            continue
        kept.append(index)
        for margin, cut in crops.items():
            cut.append(cut_square(picture, crop_squares(track, margin)[0], processor.crop_size["height"]))
    if len(kept) < 2:
        raise SystemExit(f"The detector finds a face in {len(kept)} of {len(stills)} stills: are they faces?")
    values = {margin: probabilities(model, processor, cut) for margin, cut in crops.items()}
    base = values[USUAL_MARGIN]
    found = {f"found, margin {margin}": scores(labels[kept], each, names, base) for margin, each in values.items()}
    del found[f"found, margin {USUAL_MARGIN}"]["difference"]
    return found, len(stills) - len(kept)


def on_rendered_clips(model, processor, clips: dict, names: list[str]) -> dict[str, dict]:
    """Scores of the rendered test split, in the order shown, shuffled, and of the first frame alone."""
    builder = SyntheticFaces(**clips)
    builder.download_and_prepare()
    rows = builder.as_dataset(split="test")
    values = {}
    with tempfile.TemporaryDirectory() as unused:
        trainer = evaluation_trainer(model, processor, unused, per_device_eval_batch_size=16, use_cpu=True)
        for order in ("shown", "shuffled", "first"):
            values[order], _ = predict_views(trainer, ClipDataset(rows, processor, frame_order=order))
    labels = np.array(rows["label"][:])
    found = {order: scores(labels, each, names, values["shown"]) for order, each in values.items()}
    del found["shown"]["difference"]
    return found


def cell(figure: dict, sign: str = "") -> str:
    """A share in percent with its interval."""
    text = f"{100 * figure['value']:{sign}.1f}"
    low_high = figure["interval"]
    return text if low_high is None else f"{text} ({100 * low_high[0]:{sign}.1f} to {100 * low_high[1]:{sign}.1f})"


def table(found: dict[str, dict], what: str) -> list[str]:
    lines = [f"| {what} | number | WAR, % | UAR, % | difference of WAR | of UAR |", "|---|---|---|---|---|---|"]
    for name, each in found.items():
        cells = [name, str(each["num_clips"]), cell(each["war"]), cell(each["uar"])]
        apart = each.get("difference")
        cells += [cell(apart[key], sign="+") if apart else "" for key in ("war", "uar")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def verdict(found: dict[str, dict]) -> str:
    """The change that costs most, and whether that is allowed."""
    losses = {
        (name, key): -each["difference"][key]["value"]
        for name, each in found.items()
        if "difference" in each
        for key in ("war", "uar")
    }
    (name, key), loss = max(losses.items(), key=lambda item: item[1])
    met = "met" if loss <= ALLOWED else "MISSED"
    return f"Largest loss: {100 * loss:.1f} points of {key.upper()} ({name}). At most {100 * ALLOWED:.0f}: {met}."


def measure(options: argparse.Namespace, clips: dict) -> dict:
    """The figures that are asked for, with the checksum of the weights that they are of."""
    data = load_file(options.data)
    stills, labels = data["validation_stills"].numpy(), data["validation_stills.labels"].numpy()
    model, processor = load_classifier(options.model)
    model.eval()
    names = list(class_names(model))
    found = {"weights_sha256": weights_sha256(checkpoint_path(options.model)), "environment": environment()}
    found["stills"] = on_stills(model, processor, stills, labels, names, options.changes or {*CHANGES, SINGLE})
    if options.changes:
        return found
    some = np.sort(np.random.default_rng(0).permutation(len(stills))[: options.searched])
    found["searched"] = len(some)
    found["found"], found["without_face"] = on_found_faces(model, processor, stills[some], labels[some], names)
    found["rendered"] = on_rendered_clips(model, processor, clips, names)
    return found


def merged(earlier: dict, new: dict) -> dict:
    """The new record with what the earlier one has beyond it, if both are of the same weights."""
    if earlier.get("weights_sha256") != new["weights_sha256"]:
        return new
    stills = earlier["stills"] | new["stills"]
    return earlier | new | {"stills": {name: stills[name] for name in (*CHANGES, SINGLE) if name in stills}}


def text_of(record: dict) -> str:
    """The tables of a record, and what its changes cost."""
    stills, found = record["stills"], record.get("found", {})
    parts = [[*table(stills, "held-out stills"), *table(found, "held-out stills")[2:]]]
    lost = f"{record['without_face']} of {record['searched']} stills have no found face. " if found else ""
    parts.append([lost + verdict(stills | found)])
    if "rendered" in record:
        parts.append(table(record["rendered"], "rendered test split"))
    return "\n\n".join("\n".join(part) for part in parts)


def main(given: list[str] | None = None, clips: dict | None = None) -> dict:
    """`clips` are fields of [`SyntheticFaces`], for a quick trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="data_48.safetensors of train.py")
    parser.add_argument("--model", default=RAW_VIDEO_MODEL, help=f"checkpoint, default {RAW_VIDEO_MODEL}")
    parser.add_argument("--searched", type=int, default=1000, help="stills in which faces are searched, default 1000")
    parser.add_argument("--changes", nargs="+", metavar="NAME", choices=(*CHANGES, SINGLE), help="measure only these")
    parser.add_argument("--output", type=Path, metavar="DIR", default=RECORDS, help=f"folder of {RECORD}")
    parser.add_argument("--table", action="store_true", help="print the tables of the record")
    options = parser.parse_args(given)
    file = options.output / RECORD
    record = json.loads(file.read_text()) if file.exists() else {}
    if not options.table:
        if options.data is None:
            parser.error("Give the data_48.safetensors of train.py, or --table.")
        torch.set_num_threads(1)
        record = merged(record, measure(options, clips or {}))
        options.output.mkdir(parents=True, exist_ok=True)
        write_json(file, record)
    print(text_of(record))
    return record


if __name__ == "__main__":
    main()
