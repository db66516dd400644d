"""Parts of `gpu.py` on cost: training and inference against plain transformers, torch.compile, and the loader."""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from gpu_settings import Settings, build_trainer, model_config, random_clips, synchronize, write_clips
from transformers import Trainer, TrainerCallback, VideoMAEForVideoClassification, set_seed

from modeling_hdf import HDFForVideoClassification, HDFTrainer
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ClipCollator, ClipDataset, ClipMixing, TemporalSampling, build_augmentation
from modeling_hdf.training.recipes import build_processor

# Arms of the training: fields of HDFConfig, training arguments. The first one is VideoMAE under the stock Trainer.
STOCK = "transformers"
ARMS = {
    STOCK: ({}, {}),
    "plain": ({"dam_layers": []}, {"dsm": False}),
    "dam": ({}, {"dsm": False}),
    "dsm": ({}, {}),
    "sam": ({}, {"sam_rho": 0.05}),
    "checkpointing": ({}, {"gradient_checkpointing": True}),
}


class Stopwatch(TrainerCallback):
    """Seconds from the step after the warm-up to the end of the last step, and nothing between them waits."""

    seconds = 0.0

    def __init__(self, settings: Settings):
        self.settings = settings

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.settings.warm_steps:
            synchronize(self.settings)
            self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps:
            synchronize(self.settings)
            self.seconds = time.perf_counter() - self.start


def allocated(settings: Settings) -> int:
    return torch.cuda.memory_allocated() if settings.is_cuda else 0


def peak_gib(settings: Settings, call: Callable[[], object], before: int) -> float | None:
    """Peak of the memory during `call` above `before`, in GiB; None without a GPU."""
    if not settings.is_cuda:
        call()
        return None
    torch.cuda.reset_peak_memory_stats()
    call()
    return round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)


def plain_videomae(preset: str) -> VideoMAEForVideoClassification:
    config = model_config(preset)
    config.backbone_config.num_labels = config.num_labels
    return VideoMAEForVideoClassification(config.backbone_config)


def arm_trainer(settings: Settings, preset: str, arm: str, **more) -> tuple[Trainer, Stopwatch]:
    """The trainer of an arm, on clips that already lie on the device, and its stopwatch."""
    fields, arguments = ARMS[arm]
    config = model_config(preset, **fields)
    set_seed(0)
    stopwatch = Stopwatch(settings)
    trainer = build_trainer(
        settings,
        plain_videomae(preset) if arm == STOCK else HDFForVideoClassification(config),
        random_clips(config, settings.batch_size, settings.device),
        [stopwatch],
        trainer_class=Trainer if arm == STOCK else HDFTrainer,
        batch_size=settings.batch_size,
        max_steps=settings.warm_steps + settings.steps,
        bf16=settings.bf16,
        dataloader_pin_memory=False,
        **arguments | more,
    )
    return trainer, stopwatch


def time_in_turn(settings: Settings, trainers: dict[str, tuple[Trainer, Stopwatch]]) -> dict[str, float]:
    """Fastest seconds per step of each trainer; they take turns, so that a slow phase of the machine meets all."""
    fastest = dict.fromkeys(trainers, float("inf"))
    for _ in range(settings.rounds):
        for name, (trainer, stopwatch) in trainers.items():
            trainer.train()
            fastest[name] = min(fastest[name], stopwatch.seconds / settings.steps)
    return fastest


def as_rates(settings: Settings, seconds: dict[str, float], base: str) -> dict[str, dict]:
    """Clips per second of each arm, and its time as a ratio to that of `base`."""
    return {
        name: {
            "clips_per_second": round(settings.batch_size / value, 2),
            f"time / {base}": round(value / seconds[base], 3),
        }
        for name, value in seconds.items()
    }


def training_speed(settings: Settings, preset: str) -> dict:
    """Clips per second and peak memory of a training step in each arm."""
    trainers, peaks = {}, {}
    for arm in ARMS:
        before = allocated(settings)
        trainers[arm] = arm_trainer(settings, preset, arm)
        peaks[arm] = peak_gib(settings, trainers[arm][0].train, before)
    rates = as_rates(settings, time_in_turn(settings, trainers), STOCK)
    return {arm: rate | {"peak_gib": peaks[arm]} for arm, rate in rates.items()}


def time_calls(settings: Settings, calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Fastest seconds per call, in turn."""
    fastest = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        for _ in range(settings.warm_steps):
            call()
    for _ in range(settings.rounds):
        for name, call in calls.items():
            synchronize(settings)
            start = time.perf_counter()
            for _ in range(settings.steps):
                call()
            synchronize(settings)
            fastest[name] = min(fastest[name], (time.perf_counter() - start) / settings.steps)
    return fastest


def _inference_model(settings: Settings, model: torch.nn.Module) -> torch.nn.Module:
    return model.eval().to(settings.device, torch.bfloat16 if settings.bf16 else torch.float32)


def _batch(settings: Settings, preset: str) -> torch.Tensor:
    rows = random_clips(model_config(preset), settings.batch_size, settings.device)
    return torch.stack([row["pixel_values"] for row in rows]).to(torch.bfloat16 if settings.bf16 else torch.float32)


@torch.inference_mode()
def inference_speed(settings: Settings, preset: str) -> dict:
    """Clips per second and peak memory of inference: VideoMAE of transformers, HDF without and with DAM."""
    pixel_values = _batch(settings, preset)
    calls, peaks = {}, {}
    builders = {
        STOCK: lambda: plain_videomae(preset),
        "plain": lambda: HDFForVideoClassification(model_config(preset, dam_layers=[])),
        "hdf": lambda: HDFForVideoClassification(model_config(preset)),
    }
    for name, build in builders.items():
        before = allocated(settings)
        model = _inference_model(settings, build())
        calls[name] = lambda model=model: model(pixel_values)
        peaks[name] = peak_gib(settings, calls[name], before)
    rates = as_rates(settings, time_calls(settings, calls), STOCK)
    return {name: rate | {"peak_gib": peaks[name]} for name, rate in rates.items()}


def speed(settings: Settings, name: str) -> dict:
    """Training and inference with the preset called `name`."""
    preset = settings.presets[name]
    shared = {"preset": preset, "batch_size": settings.batch_size, "bf16": settings.bf16}
    return shared | {"training": training_speed(settings, preset), "inference": inference_speed(settings, preset)}


def compiled(settings: Settings) -> dict:
    """The gain of torch.compile for the first preset, in inference and in a DSM step."""
    preset = next(iter(settings.presets.values()))
    pixel_values = _batch(settings, preset)
    model = _inference_model(settings, HDFForVideoClassification(model_config(preset)))
    fast = torch.compile(model)
    start = time.perf_counter()
    with torch.inference_mode():
        fast(pixel_values)
        compile_seconds = {"inference": round(time.perf_counter() - start, 1)}
        calls = {"eager": lambda: model(pixel_values), "compiled": lambda: fast(pixel_values)}
        result = {"preset": preset, "inference": as_rates(settings, time_calls(settings, calls), "eager")}
    # `dsm_scaling="features"`, the default, does not compile; eager is measured with the same scaling. One after the
    # other: the compiled trainer sets environment variables, and shares its state with every other trainer.
    build = partial(arm_trainer, settings, preset, "dsm", dsm_scaling="parameters")
    seconds = time_in_turn(settings, {"eager": build()})
    try:
        trainer, stopwatch = build(torch_compile=True)
        start = time.perf_counter()
        trainer.train()
        compile_seconds["training"] = round(time.perf_counter() - start, 1)
        seconds |= time_in_turn(settings, {"compiled": (trainer, stopwatch)})
    finally:
        for name in [name for name in os.environ if name.startswith("ACCELERATE_DYNAMO_")]:
            del os.environ[name]
    result["training"] = as_rates(settings, seconds, "eager")
    return result | {"seconds_of_first_run": compile_seconds}


class WaitingTrainer(HDFTrainer):
    """Measures the time that the device waits for batches, after the batches that the workers hold ready."""

    first_timed_step = 0
    waited = 0.0
    start = None
    settings: Settings

    def get_batch_samples(self, *arguments):
        synchronize(self.settings)
        start = time.perf_counter()
        if self.start is None and self.state.global_step == self.first_timed_step:
            self.start = start
        batches = super().get_batch_samples(*arguments)
        synchronize(self.settings)
        if self.start is not None:
            self.waited += time.perf_counter() - start
        return batches


def loader(settings: Settings) -> dict:
    """Share of the time of a DSM training that waits for clips, with the recipe of DFEW, files in the page cache."""
    workers = min(settings.loader_workers, os.cpu_count() - 1)
    results = {"workers": workers, "batch_size": settings.batch_size, "augmentation": "strong, mixup, cutmix"}
    with tempfile.TemporaryDirectory() as folder:
        for kind, rows in write_clips(settings, Path(folder)).items():
            results[kind] = waiting(settings, rows, workers)
    return results


def waiting(settings: Settings, rows: list[dict], workers: int) -> dict:
    """Clips per second of a training on these files, and the share of the time that waits for them."""
    preset = next(iter(settings.presets.values()))
    config = model_config(preset)
    processor = build_processor(config.backbone_config)
    held_ready = 2 * max(workers, 1)  # PyTorch's prefetch factor: batches that are finished before they are asked for
    steps = held_ready + settings.loader_steps
    clips = ClipDataset(
        rows * (steps * settings.batch_size // len(rows) + 1),
        processor,
        sampling=TemporalSampling("segments", processor.num_frames),
        training=True,
        augmentation=build_augmentation("strong", processor),
    )
    mixing = ClipMixing(len(EMOTIONS), mixup_alpha=0.8, cutmix_alpha=1.0)
    trainer = build_trainer(
        settings,
        HDFForVideoClassification(config),
        clips,
        [],
        trainer_class=WaitingTrainer,
        batch_size=settings.batch_size,
        data_collator=ClipCollator(processor, len(EMOTIONS), mixing),
        max_steps=steps,
        bf16=settings.bf16,
        dataloader_num_workers=workers,
        dataloader_pin_memory=settings.is_cuda,
    )
    trainer.settings, trainer.first_timed_step = settings, held_ready
    trainer.train()
    synchronize(settings)
    seconds = time.perf_counter() - trainer.start
    return {
        "clips_per_second": round(settings.loader_steps * settings.batch_size / seconds, 2),
        "waiting_share": round(trainer.waited / seconds, 4),
        "steps": settings.loader_steps,
    }
