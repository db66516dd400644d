"""Trains the checkpoint for real faces that ships with the package.

    python benchmarks/small_faces/train.py --data-dir FOLDER_WITH_FER2013

`FOLDER_WITH_FER2013` is what the builder `FER2013` takes: `fer2013.csv`, `icml_face_data.csv` or folders of images;
only its Training part is used. The command runs in steps, each of which is skipped if its result lies in `--output`:

1. `data.safetensors`: the stills, a tenth of them held out (by a hash of their pixels, so copies stay on one side),
   and the rendered clips of `SyntheticFaces`, grey, 48 x 48.
2. `teacher.safetensors`: a larger network, trained on stills.
3. `stills.safetensors`: weights trained on stills, with the teacher's answers beside the labels.
4. `clips.safetensors`: those weights trained on stills, shown as clips too, and rendered clips.
5. `checkpoint/`: weights between those of 3 and 4, calibrated on the held-out stills.

Steps 2 to 4 go on where they were stopped. They take minutes on a GPU and days on a few cores: there `--divide 32
--steps 4 4 4` shows that they run, and that two runs give the same weights.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from teacher import Teacher
from training import Stage, fold_colours, forget_neighbours, load_stage, predict, train_stage

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path
from modeling_hdf.evaluation.calibration import fit_temperature

SEED = 0
TAUGHT = 0.7  # weight of the teacher beside the labels
SHARE_OF_CLIPS = 0.75  # of the weights after the last stage, beside those before it


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="FER2013 as its builder takes it; needed for step 1")
    parser.add_argument("--output", type=Path, default=Path("outputs/small_faces"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, nargs=3, default=(3000, 2900, 500), help="optimizer steps of the stages")
    parser.add_argument("--divide", type=int, default=1, help="divide the batches by so much, for a trial")
    parser.add_argument("--save-every", type=int, default=500, help="steps between two saves and validations")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop at a save after so long")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "data.safetensors"
    if not file.exists():
        from preparation import prepare

        save_file(prepare(options.data_dir), file)
    device = torch.device(options.device)
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    data = {name: tensor.to(device) for name, tensor in load_file(file).items()}
    torch.manual_seed(SEED)
    preset = configuration_path("model", "x3d_faces")
    # DAM starts as the identity, so the last stage starts with the answers of the one before.
    config, without_dam = (HDFConfig.from_pretrained(preset, **fields) for fields in ({}, {"dam_layers": []}))
    teacher, stills, model = Teacher(config), HDFForVideoClassification(without_dam), HDFForVideoClassification(config)
    forget_neighbours(stills)
    # Weak augmentation at first: a network learns much faster from faces that it sees as they are.
    growing = {"strength": (0.3, 1.0)}
    mixture = {"stills": 256, "moving": 96, "clips": 96}
    stages = (
        (teacher, Stage("teacher", options.steps[0], 1.5e-3, stills=512, weight_decay=0.3, **growing)),
        (stills, Stage("stills", options.steps[1], 4e-3, stills=1024, taught=TAUGHT, seed=10, **growing)),
        (model, Stage("clips", options.steps[2], 1e-3, decay=850, **mixture, taught=TAUGHT, seed=20)),
    )
    record = options.output / "curve.json"
    started = time.monotonic()
    for network, stage in stages:
        network.to(device)
        if network is model:
            model.load_state_dict(stills.state_dict(), strict=False)
        if not load_stage(network, stage.name, options.output):
            stage = divided(stage, options.divide)
            left = options.minutes - (time.monotonic() - started) / 60
            curve = json.loads(record.read_text()) if record.exists() else []
            curve += train_stage(
                network,
                data,
                stage,
                options.output,
                teacher=None if network is teacher else teacher,
                save_every=options.save_every,
                minutes=left,
            )
            record.write_text(json.dumps(curve, indent=1) + "\n")
    blend(model, load_file(options.output / "stills.safetensors"))
    finish(model, data, options.output / "checkpoint")


def divided(stage: Stage, by: int) -> Stage:
    """The stage with smaller batches."""
    return replace(stage, **{name: -(-getattr(stage, name) // by) for name in ("stills", "moving", "clips")})


def blend(model: HDFForVideoClassification, before: dict[str, torch.Tensor]) -> None:
    """Weights between those before and after the last stage (Wortsman et al. 2022, https://arxiv.org/abs/2109.01903):
    chosen on validation, they keep more of what stills taught."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in before:
                weight.copy_(before[name].to(weight).lerp(weight, SHARE_OF_CLIPS))


def finish(model: HDFForVideoClassification, data: dict[str, torch.Tensor], folder: Path) -> None:
    """Folds the colours, fits the temperature on the held-out stills as clips, and saves model and processor."""
    fold_colours(model)
    logits = predict(model, data["validation_stills"][:, None].expand(-1, model.config.num_frames, -1, -1))
    labels = data["validation_stills.labels"].cpu()
    model.config.calibration_temperature = fit_temperature(logits.numpy(), labels.numpy())
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
