"""Parts of `gpu.py` on correctness: the GPU against the CPU, two processes against one, and a whole training."""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from gpu_settings import Settings, build_trainer, model_config, random_clips
from safetensors.torch import load_file, save_file
from torch import distributed
from transformers import TrainerCallback, set_seed

from modeling_hdf import TINY_SYNTHETIC, HDFForVideoClassification
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ClipCollator, ClipDataset, encode_mp4, render_clip
from modeling_hdf.data.synthetic.builder import SyntheticFacesConfig, clip_factors
from modeling_hdf.inference import load_classifier
from modeling_hdf.pretrained import checkpoint_path

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Largest relative errors that count as agreement: of the logits, and of the gradient of a step.
BOUNDS = {"fp32": (1e-4, 1e-3), "fp16": (1e-2, 5e-2), "bf16": (5e-2, 2e-1)}
STEPS = {"dsm": {}, "sam": {"sam_rho": 0.05}}


class FirstGradient(TrainerCallback):
    """Keeps the first finite gradient that the optimizer would get, and stops. A loss scaler begins with steps whose
    gradient overflows, and skips them."""

    gradient: torch.Tensor | None = None  # (number of parameters,)
    trainer = None

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        # The trainer has measured the norm of the gradient, which takes the loss scale out of it.
        parameters = self.trainer.model.parameters()
        gradient = torch.cat([each.grad.detach().flatten().double().cpu() for each in parameters])
        if self.gradient is None and gradient.isfinite().all():
            self.gradient = gradient
            control.should_training_stop = True


def gradient_of_step(settings: Settings, device: str, precision: str, batch_size: int, **arguments) -> torch.Tensor:
    """The gradient of one step of HDFTrainer on all clips of the agreement, float64."""
    config = model_config(settings.agreement_preset, dam_init="paper")  # with the other, DAM would do nothing yet
    set_seed(0)
    first = FirstGradient()
    first.trainer = build_trainer(
        settings,
        HDFForVideoClassification(config),
        random_clips(config, settings.agreement_clips, "cpu"),
        [first],
        device=device,
        batch_size=batch_size,
        max_steps=30,
        max_grad_norm=0.0,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        **arguments,
    )
    first.trainer.train()
    if first.gradient is None:
        raise ValueError("No step of 30 had a finite gradient.")
    return first.gradient


@torch.inference_mode()
def logits(model: HDFForVideoClassification, pixel_values: torch.Tensor, device: str, precision: str) -> torch.Tensor:
    """The logits `(B, num_labels)` on a device, in autocast unless the precision is fp32; float32 on the CPU."""
    with torch.autocast(device, PRECISIONS[precision], enabled=precision != "fp32"):
        return model.to(device)(pixel_values.to(device)).logits.float().cpu()


def relative_error(measured: torch.Tensor, reference: torch.Tensor) -> float:
    return float((measured - reference).norm() / reference.norm())


def agreement(settings: Settings, precisions: tuple[str, ...] = tuple(BOUNDS)) -> dict:
    """Logits, and one step of DSM and of SAM, in some precisions against fp32 on the CPU; fp16 needs a GPU."""
    torch.backends.cudnn.allow_tf32 = False  # so that fp32 is fp32
    torch.backends.cuda.matmul.allow_tf32 = False
    config = model_config(settings.agreement_preset, dam_init="paper")
    set_seed(0)
    model = HDFForVideoClassification(config).eval()
    clips = torch.stack([row["pixel_values"] for row in random_clips(config, settings.agreement_clips, "cpu")])
    trained, trained_clips = load_classifier(TINY_SYNTHETIC)[0].eval(), rendered_test_clips(14)
    reference = logits(model, clips, "cpu", "fp32")
    trained_reference = logits(trained, trained_clips, "cpu", "fp32")
    whole = partial(gradient_of_step, settings, batch_size=settings.agreement_clips)
    gradients = {name: whole(device="cpu", precision="fp32", **changes) for name, changes in STEPS.items()}
    results = {
        "preset": settings.agreement_preset,
        "clips": settings.agreement_clips,
        "clips_of_the_shipped_model": 14,
    }
    for precision in precisions:
        logit_bound, gradient_bound = BOUNDS[precision]
        ours = logits(trained, trained_clips, settings.device, precision)
        result = {
            "logits": relative_error(logits(model, clips, settings.device, precision), reference),
            "logits_of_the_shipped_model": relative_error(ours, trained_reference),
            "equal_classes_of_the_shipped_model": float(
                (ours.argmax(1) == trained_reference.argmax(1)).float().mean()
            ),
        }
        for name, changes in STEPS.items():
            gradient = whole(device=settings.device, precision=precision, **changes)
            result[f"gradient_{name}"] = relative_error(gradient, gradients[name])
        result["agrees"] = all(
            error <= (logit_bound if name.startswith("logits") else gradient_bound)
            for name, error in result.items()
            if name.startswith(("logits", "gradient"))
        )
        results[precision] = result
    torch.backends.cudnn.allow_tf32 = True
    return results


def rendered_test_clips(count: int) -> torch.Tensor:
    """The first test clips of the embedded data, ready for the shipped model: `(count, T, 3, H, W)`."""
    config, rows = SyntheticFacesConfig(), []
    for index in range(count):
        factors = clip_factors(config, "test", index)
        frames = render_clip(factors, config.image_size, config.seed, (2, index))
        content = encode_mp4(frames, factors.fps, factors.compression)
        rows.append({"clip": {"bytes": content, "path": f"{index}.mp4"}, "label": EMOTIONS.index(factors.label)})
    _, processor = load_classifier(TINY_SYNTHETIC)
    clips = ClipDataset(rows, processor)
    return ClipCollator(processor, len(EMOTIONS))([clips[index] for index in range(count)])["pixel_values"]


def _ddp_process(settings: Settings, folder: str, rank: int, backend: str) -> None:
    """One of two processes on the same device, like the first ones of two machines; process 0 writes the gradient."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
    os.environ["MASTER_ADDR"] = "127.0.0.1"  # accelerate asks for it, but the processes meet at the file
    distributed.init_process_group(backend, f"file://{folder}/rendezvous", rank=rank, world_size=2)
    half = settings.agreement_clips // 2
    gradient = gradient_of_step(settings, settings.device, "fp32", half, ddp_backend=backend)
    if rank == 0:
        save_file({"gradient": gradient}, Path(folder) / "gradient.safetensors")
    distributed.destroy_process_group()


def ddp(settings: Settings, backend: str = "gloo") -> dict:
    """
    One DSM step of two processes on one card against one process with the whole batch.

    NCCL refuses two processes on one card, so they talk over gloo, through the host: speed would mean nothing.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            context.Process(target=_ddp_process, args=(settings, folder, rank, backend), daemon=True)
            for rank in range(2)
        ]
        for worker in workers:
            worker.start()
        reference = gradient_of_step(settings, settings.device, "fp32", settings.agreement_clips)
        for worker in workers:
            worker.join(60)
        codes = [worker.exitcode for worker in workers]
        for worker in workers:
            worker.kill()
        if codes != [0, 0]:
            raise RuntimeError(f"the two processes ended with {codes} (None: not within 60 s)")
        gradient = load_file(Path(folder) / "gradient.safetensors")["gradient"]
    error = relative_error(gradient, reference)
    return {"processes": 2, "backend": backend, "gradient_dsm": error, "agrees": error <= BOUNDS["fp32"][1]}


def training(settings: Settings) -> dict:
    """
    `hdf train` of the tiny preset on the embedded data, against the figure of the shipped checkpoint from a CPU.

    It agrees if the CPU's UAR lies in the 95 % interval of this run.
    """
    published = json.loads((Path(checkpoint_path(TINY_SYNTHETIC)) / "metrics.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "modeling_hdf", "train", "--output_dir", "run", *settings.training_arguments]
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder)  # not the source, if it is here
        if run.returncode:
            raise RuntimeError(f"hdf train ended with {run.returncode}: {run.stderr[-2000:]}")
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    low, high = metrics["intervals"]["uar"]
    figures = {
        place: {"war": run["war"], "uar": run["uar"], "uar_interval": run["intervals"]["uar"]}
        for place, run in (("gpu", metrics), ("cpu", published))
    }
    return figures | {"agrees": low <= published["uar"] <= high}
