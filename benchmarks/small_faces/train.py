"""Trains the checkpoint for real faces that ships with the package.

    python benchmarks/small_faces/train.py --data-dir FOLDER_WITH_FER2013

`FOLDER_WITH_FER2013` is what the builder `FER2013` takes: `fer2013.csv`, `icml_face_data.csv` or folders of images;
only its Training part is used. The command runs in steps, each of which is skipped if its result lies in `--output`:

1. `data_48.safetensors`: the stills, a tenth of them held out (by a hash of their pixels, so copies stay on one side),
   and the rendered clips of `SyntheticFaces`, grey, 48 x 48.
2. `teacher.safetensors`: a larger network, trained on stills.
3. `stills.safetensors`: weights trained on stills, with the teacher's answers beside the labels.
4. `clips.safetensors`: those weights trained on stills, shown as clips too, and rendered clips.
5. `data_64.safetensors`: the pictures again, 64 x 64, and what weights between those of 3 and 4 answer to the stills.
6. `larger.safetensors`: those weights trained on larger pictures of both kinds, with these answers beside the labels
   of stills, so that a face in a wide margin gets the answer of one that fills the picture.
7. `balanced.safetensors`: those weights trained on, while the weights on neighbouring frames sum to zero: motion then
   counts by its changes alone, and a still face keeps the answer of its single frame.
8. `checkpoint/`: weights between those before and after step 7, calibrated on the held-out stills.

Steps 2 to 7 go on where they were stopped. Steps 2 to 4 take minutes on a GPU and days on a few cores; steps 6 and 7
take one and a half hours on two cores.
`--divide 32 --steps 4 4 4 4 4` shows anywhere that all run, and that two runs give the same weights.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from teacher import Teacher
from training import (
    Stage,
    balance_neighbours,
    fold_colours,
    forget_neighbours,
    load_stage,
    predict,
    take_statistics,
    train_stage,
)

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path
from modeling_hdf.evaluation.calibration import fit_temperature

SEED = 0
FIRST_EDGE = 48  # pixels, in steps 1 to 4
TAUGHT = 0.7  # weight of the teacher beside the labels
REMEMBERED = 0.5  # weight of the answers of step 5, beside the labels
SHARE_OF_CLIPS = 0.75  # of the weights after step 4, beside those after step 3
SHARE_OF_BALANCED = 0.5  # of the weights after step 7, beside those before it
PRESET = configuration_path("model", "x3d_faces")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="FER2013 as its builder takes it; needed for steps 1 and 5")
    parser.add_argument("--output", type=Path, default=Path("outputs/small_faces"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--steps", type=int, nargs=5, default=(3000, 2900, 500, 1800, 200), help="optimizer steps of the stages"
    )
    parser.add_argument("--divide", type=int, default=1, help="divide the batches by so much, for a trial")
    parser.add_argument("--save-every", type=int, default=500, help="steps between two saves and validations")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop at a save after so long")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(SEED)
    run = partial(run_stage, options=options, device=device, started=time.monotonic())
    small = learn(load_pictures(options, FIRST_EDGE, device), run, options)
    config = HDFConfig.from_pretrained(PRESET)
    data = load_pictures(options, config.image_size, device, small)
    model = HDFForVideoClassification(config).to(device)
    model.load_state_dict(small.state_dict())
    enlarge(model, data, run, options)
    finish(model, data, options.output / "checkpoint", is_trial=options.divide > 1)


def load_pictures(
    options: argparse.Namespace, edge: int, device: torch.device, model: torch.nn.Module | None = None
) -> dict[str, torch.Tensor]:
    """The pictures of an edge, prepared if they do not lie in the folder of the run; with a model of steps 2 to 4,
    what it answers to the stills too."""
    file = options.output / f"data_{edge}.safetensors"
    if not file.exists():
        from preparation import prepare

        found = prepare(options.data_dir, edge)
        if model is not None:
            stills = load_file(options.output / f"data_{FIRST_EDGE}.safetensors", str(device))["stills"]
            found["stills.answers"] = answers(model, stills)
        save_file(found, file)
    return load_file(file, str(device))


def answers(model: torch.nn.Module, stills: torch.Tensor) -> torch.Tensor:
    """Probabilities `(N, 7)` of stills `(N, H, W)`, the mean of those of a still and of its mirror image."""
    return sum(predict(model, each).softmax(1) for each in (stills, stills.flip(-1))) / 2


def learn(data: dict[str, torch.Tensor], run: Callable, options: argparse.Namespace) -> HDFForVideoClassification:
    """Steps 2 to 4."""
    # DAM starts as the identity, so the last stage starts with the answers of the one before.
    config, without_dam = (
        HDFConfig.from_pretrained(PRESET, image_size=FIRST_EDGE, **fields) for fields in ({}, {"dam_layers": []})
    )
    teacher, stills, model = Teacher(config), HDFForVideoClassification(without_dam), HDFForVideoClassification(config)
    forget_neighbours(stills)
    # Weak augmentation at first: a network learns much faster from faces that it sees as they are.
    growing = {"strength": (0.3, 1.0)}
    mixture = {"stills": 256, "moving": 96, "clips": 96}
    steps = options.steps
    run(teacher, data, Stage("teacher", steps[0], 1.5e-3, stills=512, weight_decay=0.3, **growing))
    run(stills, data, Stage("stills", steps[1], 4e-3, stills=1024, taught=TAUGHT, seed=10, **growing), teacher)
    model.load_state_dict(stills.state_dict(), strict=False)
    run(model, data, Stage("clips", steps[2], 1e-3, decay=850, **mixture, taught=TAUGHT, seed=20), teacher)
    blend(model, load_file(options.output / "stills.safetensors"), SHARE_OF_CLIPS)
    return model


def enlarge(
    model: HDFForVideoClassification, data: dict[str, torch.Tensor], run: Callable, options: argparse.Namespace
) -> None:
    """Steps 6 and 7, with the weights of step 5. Stills and clips are in every batch, so that what motion teaches
    cannot part from what stills do."""
    mixture = {"stills": 128, "moving": 12, "clips": 6}
    larger = Stage("larger", options.steps[3], 1e-3, **mixture, remembered=REMEMBERED, seed=30)
    if not (options.output / "larger.safetensors").exists():
        take_statistics(model, data, divided(larger, options.divide))
    run(model, data, larger)
    mixture = {"stills": 96, "moving": 8, "clips": 16}
    settings = {"balanced": True, "warmup": 50, "remembered": REMEMBERED}
    balance_neighbours(model)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    run(model, data, Stage("balanced", options.steps[4], 3e-4, **mixture, **settings, seed=40))
    blend(model, before, SHARE_OF_BALANCED)


def run_stage(
    network: torch.nn.Module,
    data: dict[str, torch.Tensor],
    stage: Stage,
    teacher: torch.nn.Module | None = None,
    *,
    options: argparse.Namespace,
    device: torch.device,
    started: float,
) -> None:
    """Loads a finished stage, or trains it and adds its learning curve to the record."""
    network.to(device)
    if load_stage(network, stage.name, options.output):
        return
    record = options.output / "curve.json"
    curve = json.loads(record.read_text()) if record.exists() else []
    curve += train_stage(
        network,
        data,
        divided(stage, options.divide),
        options.output,
        teacher=teacher,
        save_every=options.save_every,
        minutes=options.minutes - (time.monotonic() - started) / 60,
    )
    record.write_text(json.dumps(curve, indent=1) + "\n")


def divided(stage: Stage, by: int) -> Stage:
    """The stage with smaller batches."""
    return replace(stage, **{name: -(-getattr(stage, name) // by) for name in ("stills", "moving", "clips")})


def blend(model: torch.nn.Module, before: dict[str, torch.Tensor], share: float) -> None:
    """Weights between those before and after a stage (Wortsman et al. 2022, https://arxiv.org/abs/2109.01903), with a
    share of those after: they keep more of what stills taught."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in before:
                weight.copy_(before[name].to(weight).lerp(weight, share))


def finish(
    model: HDFForVideoClassification, data: dict[str, torch.Tensor], folder: Path, is_trial: bool = False
) -> None:
    """Folds the colours, fits the temperature on the held-out stills as clips, and saves model and processor. After
    the few steps of a trial there may be no temperature that fits; it stays 1 then."""
    fold_colours(model)
    logits = predict(model, data["validation_stills"][:, None].expand(-1, model.config.num_frames, -1, -1))
    labels = data["validation_stills.labels"].cpu()
    try:
        model.config.calibration_temperature = fit_temperature(logits.numpy(), labels.numpy())
    except ValueError as error:
        if not is_trial:
            raise
        print(f"Not calibrated. {error}")
    model.save_pretrained(folder)
    edge = model.config.image_size
    HDFVideoProcessor(
        num_frames=model.config.num_frames,
        size={"shortest_edge": edge},
        crop_size={"height": edge, "width": edge},
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    ).save_pretrained(folder)


if __name__ == "__main__":
    main()
