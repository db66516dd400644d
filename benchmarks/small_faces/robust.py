"""What the checkpoint for real faces keeps under changes of the picture, and whether motion counts.

    python benchmarks/small_faces/robust.py outputs/small_faces/data.safetensors --output DIR

The first table is of the stills that training held out (`validation_stills`, see `train.py`), each through the video
processor and the model as a clip of one frame: as they are, as one single frame for the model, in other colours, at
224 pixels, mirrored, and framed as crops of this package frame a face with other margins. Its second part finds the
face of a still, scaled up, with the detector of the package and crops it with each margin; stills without a found face
are left out of that part. A change may cost at most 3 points of WAR or UAR.

The second table is of the rendered test split: its clips as they are, with their frames shuffled, and the first frame
alone. A model that knows motion loses much on both.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from collections.abc import Callable
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
from modeling_hdf.faces import FaceDetector, NoFaceError, track_faces
from modeling_hdf.faces.detection import cut_square
from modeling_hdf.faces.tracking import crop_squares
from modeling_hdf.inference.classifier import class_names, load_classifier
from modeling_hdf.pretrained import RAW_VIDEO_MODEL

ALLOWED = 0.03  # loss of WAR or UAR
MARGINS = (0.0, 0.1, 0.2, 0.3)
USUAL_MARGIN = 0.1  # of `hdf predict`
# Side of the detector's box, as a multiple of the side of FER2013's picture; median, see `augmentation.py`.
BOX = 1.05
LARGE = 224  # pixels
WARM, COLD = (1.30, 0.92, 0.62), (0.80, 1.03, 1.36)  # factors on red, green, blue that keep the luminance
SEARCHED = 192  # pixels of a still in which a face is searched

Change = Callable[[np.ndarray], np.ndarray]  # of a still, `(48, 48, 3)` uint8


def framed(still: np.ndarray, margin: float) -> np.ndarray:
    """The still as a crop with this margin frames the face; beyond its edge its border is repeated."""
    edge = len(still)
    return cut_square(still, np.array([edge / 2, edge / 2, edge * BOX * (1 + 2 * margin), 0.0]), edge)


def tinted(still: np.ndarray, factors: tuple[float, float, float]) -> np.ndarray:
    return np.clip(np.rint(still * np.array(factors)), 0, 255).astype(np.uint8)


def enlarged(still: np.ndarray, edge: int) -> np.ndarray:
    return cv2.resize(still, (edge, edge), interpolation=cv2.INTER_CUBIC)


CHANGES: dict[str, Change] = {
    "as they are": lambda still: still,
    "warm colours": lambda still: tinted(still, WARM),
    "cold colours": lambda still: tinted(still, COLD),
    f"{LARGE} pixels": lambda still: enlarged(still, LARGE),
    "mirrored": lambda still: still[:, ::-1],
    **{f"framed with a margin of {margin}": lambda still, m=margin: framed(still, m) for margin in MARGINS},
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


def on_stills(model, processor, stills: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, dict]:
    """Scores of the held-out stills `(N, 48, 48)`, changed in each way."""
    pictures = [np.repeat(still[..., None], 3, axis=-1) for still in stills]
    values = {name: probabilities(model, processor, [change(p) for p in pictures]) for name, change in CHANGES.items()}
    values["as one single frame"] = probabilities(model, processor, pictures, num_frames=1)
    found = {name: scores(labels, each, names, values["as they are"]) for name, each in values.items()}
    del found["as they are"]["difference"]
    return found


def on_found_faces(
    model, processor, stills: np.ndarray, labels: np.ndarray, names: list[str]
) -> tuple[dict[str, dict], int]:
    """Scores of the faces that the detector finds in stills, for each margin; and how many stills have none."""
    detector, crops, kept = FaceDetector(), {margin: [] for margin in MARGINS}, []
    for index, still in enumerate(stills):
        picture = enlarged(np.repeat(still[..., None], 3, axis=-1), SEARCHED)
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


def recalls(each: dict) -> list[str]:
    lines = ["| held-out stills as they are | recall, % |", "|---|---|"]
    return lines + [f"| {name} | {cell(figure)} |" for name, figure in each["recall"].items()]


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


def main(given: list[str] | None = None, clips: dict | None = None) -> dict:
    """`clips` are fields of [`SyntheticFaces`], for a quick trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data.safetensors of train.py")
    parser.add_argument("--model", default=RAW_VIDEO_MODEL, help=f"checkpoint, default {RAW_VIDEO_MODEL}")
    parser.add_argument("--searched", type=int, default=1000, help="stills in which faces are searched, default 1000")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for robust.md and robust.json")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    data = load_file(options.data)
    stills, labels = data["validation_stills"].numpy(), data["validation_stills.labels"].numpy()
    model, processor = load_classifier(options.model)
    model.eval()
    names = list(class_names(model))
    some = np.sort(np.random.default_rng(0).permutation(len(stills))[: options.searched])
    found = {"stills": on_stills(model, processor, stills, labels, names)}
    found["found"], lost = on_found_faces(model, processor, stills[some], labels[some], names)
    found["rendered"] = on_rendered_clips(model, processor, clips or {}, names)
    changes = found["stills"] | found["found"]
    parts = [
        [*table(found["stills"], "held-out stills"), *table(found["found"], "held-out stills")[2:]],
        [f"{lost} of {len(some)} stills have no found face. {verdict(changes)}"],
        recalls(found["stills"]["as they are"]),
        table(found["rendered"], "rendered test split"),
    ]
    text = "\n\n".join("\n".join(part) for part in parts) + "\n"
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "robust.md").write_text(text)
        write_json(options.output / "robust.json", found)
    return found


if __name__ == "__main__":
    main()
