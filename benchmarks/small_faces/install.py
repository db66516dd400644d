"""Measures the trained checkpoint on its held-out stills, and puts it into the package with its card.

    python benchmarks/small_faces/install.py [--trained outputs/small_faces]
    python benchmarks/small_faces/install.py --card

The weights are stored in half precision if that changes no answer on the held-out stills and rendered clips. `--card`
measures nothing: it writes the card of the checkpoint that ships again, with what `robust.py` has recorded of it.
"""

import argparse
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from robust import RECORD, RECORDS, SINGLE
from safetensors.torch import load_file, save_file

from modeling_hdf import SMALL_FACES, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.evaluation import evaluate_predictions, gate_liveness
from modeling_hdf.evaluation.environment import environment
from modeling_hdf.evaluation.predictions import PREFIX
from modeling_hdf.evaluation.results import Results, read_results
from modeling_hdf.evaluation.trainings import training_results
from modeling_hdf.hub.release import write_model_card
from modeling_hdf.inference.classifier import load_classifier
from modeling_hdf.reports.plots import plot_confusion_matrix, plot_training_curves

HERE = Path(__file__).parent
BATCH = 64
COMMANDS = (
    "python benchmarks/small_faces/train.py --data-dir fer2013",
    "python benchmarks/small_faces/install.py",
    "python benchmarks/small_faces/robust.py outputs/small_faces/data_48.safetensors --searched 300",
    "python benchmarks/small_faces/install.py --card",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, default=Path("outputs/small_faces"))
    parser.add_argument("--card", action="store_true", help="only write the card again")
    options = parser.parse_args()
    target = Path(SMALL_FACES)
    if not options.card:
        install(options.trained, target)
    file = RECORDS / RECORD
    write_card(target, options.trained, json.loads(file.read_text()) if file.exists() else {})


def install(trained: Path, target: Path) -> None:
    """Measures the checkpoint in the folder of `train.py`, and writes it into `target` with what belongs to it."""
    model, processor = load_classifier(str(trained / "checkpoint"))
    data = load_file(trained / f"data_{model.config.image_size}.safetensors")
    model.eval()
    shown = data["validation_stills"][:, None], data["validation_clips"]
    logits = [logits_of(model, processor, clips) for clips in shown]
    halved = all_halved(model)
    same = all(
        (before.argmax(1) == logits_of(halved, processor, clips).argmax(1)).all()
        for before, clips in zip(logits, shown, strict=True)
    )
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    write_model(halved if same else model, processor, target, torch.float16 if same else torch.float32)
    shutil.copy(HERE / "LICENSE.md", target)
    scores = evaluate_predictions(as_table(model, logits[0], data["validation_stills.labels"]))
    results = training_results(
        target,
        None,
        (),
        dataset="fer2013",
        fold=None,
        peer_protocol=False,
        temporal_sampling="uniform",
        num_views=1,
        split="validation",
        calibration_temperature=model.config.calibration_temperature,
        seed=0,
        gate_liveness=gate_liveness(model, [as_pixels(processor, clips[:BATCH]) for clips in shown]),
        environment=environment(),
        **scores,
    )
    results.write(target)
    plot_confusion_matrix(scores, target / "confusion_matrix.png", "FER2013, held-out tenth of its training pictures")
    curve = json.loads((trained / "curve.json").read_text())
    plot_training_curves(as_history(curve, len(data["stills"])), target / "training_curves.png")
    print(f"WAR {scores['war']:.4f}, UAR {scores['uar']:.4f}; weights in half precision: {same}; {target}")


def write_card(target: Path, trained: Path, robust: dict) -> None:
    """
    Writes what the card tells of the training into `metrics.json`, and the card.

    Args:
        target: folder with the weights and their results.
        trained: folder of `train.py`.
        robust: record of `robust.py`; one of other weights is left out.
    """
    results = read_results(target)
    curve = json.loads((trained / "curve.json").read_text())
    robust = robust if robust.get("weights_sha256") == results.weights_sha256 else {}
    sections = {
        "What the figures are of": figures_section(results),
        "The training run": training_section(curve, robust.get("stills", {}).get(SINGLE)),
    }
    if "rendered" in robust:
        sections["Motion"] = motion_section(robust["rendered"])
    told = {"command": "\n".join(COMMANDS), "card_sections": sections}
    told["trainings"] = [{"base_model": None, "dataset": "fer2013,synthetic"}]
    replace(results, **told).write(target)
    write_model_card(target)


def as_pixels(processor: HDFVideoProcessor, clips: torch.Tensor) -> torch.Tensor:
    """Grey uint8 clips `(B, T, H, W)` as the model takes them, through the video processor."""
    videos = [clip[:, :, :, None].expand(-1, -1, -1, 3).numpy() for clip in clips]
    return processor(videos, return_tensors="pt").pixel_values


@torch.inference_mode()
def logits_of(model: HDFForVideoClassification, processor: HDFVideoProcessor, clips: torch.Tensor) -> torch.Tensor:
    """Logits `(N, 7)` of grey uint8 clips `(N, T, H, W)`; a still is a clip of one frame."""
    return torch.cat([model(as_pixels(processor, part)).logits for part in clips.split(BATCH)])


def all_halved(model: HDFForVideoClassification) -> HDFForVideoClassification:
    """A copy whose weights are rounded to half precision, and which computes as before."""
    copy = HDFForVideoClassification(model.config).eval()
    weights = model.state_dict()
    copy.load_state_dict({name: w.half().float() if w.is_floating_point() else w for name, w in weights.items()})
    return copy


def write_model(
    model: HDFForVideoClassification, processor: HDFVideoProcessor, folder: Path, dtype: torch.dtype
) -> None:
    """Weights in `dtype`, configuration and processor, without the code, which the package itself is."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    for code in folder.glob("*.py"):
        code.unlink()
    for name in ("config.json", "video_preprocessor_config.json"):
        content = json.loads((folder / name).read_text())
        content.pop("auto_map", None)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    file = folder / "model.safetensors"
    weights = {name: w.to(dtype) if w.is_floating_point() else w for name, w in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    file.chmod(0o644)


def as_table(model: HDFForVideoClassification, logits: torch.Tensor, labels: torch.Tensor) -> pd.DataFrame:
    """The table of predictions of the held-out stills."""
    names = np.asarray(list(model.config.id2label.values()))
    probabilities = logits.softmax(1).numpy()
    return pd.DataFrame(
        {
            "clip_id": [f"still{index}" for index in range(len(labels))],
            "label": names[labels.numpy()],
            "predicted": names[probabilities.argmax(1)],
            **{PREFIX + name: probabilities[:, number] for number, name in enumerate(names)},
        }
    )


def as_text(figure: dict) -> str:
    """A share with its interval, if it has one."""
    interval = figure["interval"]
    return f"{figure['value']:.4f}" + ("" if interval is None else f" ({interval[0]:.4f} to {interval[1]:.4f})")


def figures_section(results: Results) -> str:
    """What pictures the figures are of, and what follows from that."""
    spreads = [each["temporal"] for each in results.gate_liveness["layers"].values()]
    fixed = ": they are nearly fixed masks" if max(spreads) < 0.01 else ""
    ece = as_text({"value": results.ece, "interval": results.intervals["ece"]})
    return f"""\
WAR, UAR and recalls are of {results.num_clips} pictures, a tenth of FER2013's Training part, held out by a hash of
the pixels, each shown as a clip of one repeated frame. They are not of its PublicTest or PrivateTest. The choices of
the training were made on the same tenth, so they are slightly too high.

The figures of the DAM gates are of {BATCH} of these pictures and {BATCH} rendered validation clips. The gates per
frame differ between these clips by {100 * min(spreads):.2f} to {100 * max(spreads):.2f} % of their mean{fixed}.

The probabilities are calibrated: the logits are divided by {results.calibration_temperature:.3f}. The expected
calibration error is then {ece}. The temperature was fitted on the same pictures, so this error
is slightly too low.

The model is weak on fear, sadness and anger. Motion was learnt from rendered faces alone. Beyond groups of rendered
faces, nothing about groups of people was measured. The page "Real faces" of the documentation of `hdf-dfer` has these
figures, and what the size, the colours and the margin of a picture change."""


def training_section(curve: list[dict], shipped: dict | None) -> str:
    """Minutes of the training on each machine, the scores at the end of each stage, and those of the weights that
    ship, from the record of `robust.py`."""
    seconds = {}
    for now, after in pairwise([*curve, None]):
        if after is None or after["stage"] != now["stage"] or after["seconds"] < now["seconds"]:  # it was resumed
            seconds[now["device"]] = seconds.get(now["device"], 0) + now["seconds"]
    took = " and ".join(f"{each / 60:.1f} minutes on {device}" for device, each in seconds.items())
    stages = {entry["stage"]: entry for entry in curve}
    lines = [
        f"It took {took}, seed 0.",
        "The teacher, a ResNet-18, learnt from the same stills; it does not ship.",
        "The stages `larger` and `balanced` see pictures of 64 pixels, those before them 48. What ships lies halfway",
        "between the weights at the start of `balanced`, whose sums over neighbours are zero already, and at its end;",
        "films of two men took part in this choice. Scores on the held-out stills as single frames, after each stage,",
        "and of what ships (95 % interval):",
        "",
        "| stage | steps | WAR | UAR |",
        "|---|---|---|---|",
    ]
    for name, end in stages.items():
        lines.append(f"| `{name}` | {end['step']} | {end['stills_war']:.4f} | {end['stills_uar']:.4f} |")
    if shipped is not None:
        lines.append(f"| what ships | | {as_text(shipped['war'])} | {as_text(shipped['uar'])} |")
    return "\n".join(lines)


def motion_section(rendered: dict[str, dict]) -> str:
    """Scores on the rendered test split, from the record of `robust.py`."""
    lines = [
        f"The test split of the rendered clips, {rendered['shown']['num_clips']} clips of rendered people whom the"
        " training did not show (95 % interval):",
        "",
        "| frames | WAR | UAR |",
        "|---|---|---|",
    ]
    names = {"shown": "in order", "shuffled": "shuffled", "first": "the first alone"}
    for key, name in names.items():
        lines.append(f"| {name} | {as_text(rendered[key]['war'])} | {as_text(rendered[key]['uar'])} |")
    return "\n".join(lines)


def as_history(curve: list[dict], num_stills: int) -> list[dict]:
    """The learning curve without the teacher's, over the epochs, as [`plot_training_curves`] takes it."""
    curve = [entry for entry in curve if entry["stage"] != "teacher"]
    history, done = [], 0
    for now, before in zip(curve, [None, *curve], strict=False):
        new_stage = before is None or before["stage"] != now["stage"]
        done += now["pictures"] - (0 if new_stage else before["pictures"])
        told = {"loss": "loss", "stills_war": "eval_war", "stills_uar": "eval_uar"}
        history.append({"epoch": done / num_stills} | {told[key]: now[key] for key in told if key in now})
    return history


if __name__ == "__main__":
    main()
