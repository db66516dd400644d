"""What `gpu.py` measures on, and the trainers and clips that its parts share."""

import io
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch
from PIL import Image
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from modeling_hdf import HDFConfig, HDFTrainer, HDFTrainingArguments
from modeling_hdf.configuration import configuration_path
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ClipFactors, encode_mp4, render_clip

FPS = 25


@dataclass(frozen=True)
class Settings:
    """
    Sizes of the measurements; the defaults are for one large GPU.

    Attributes:
        device: where to measure; the reference of the agreement is always the CPU.
        presets: model preset of each row of the speed tables.
        agreement_preset, agreement_clips: model and batch of the agreement with the CPU.
        batch_size: clips per step of the speed measurements.
        warm_steps, steps, rounds: steps before and within a timed run, and timed runs, of which the fastest counts.
        bf16: whether to train in bfloat16 autocast and to infer in bfloat16.
        loader_clips, loader_frames, loader_size: rendered files of the loader's part, their frames and their edge.
        loader_steps: timed steps with the real loader, after the batches that its workers hold ready.
        loader_workers: processes that read clips.
        training_arguments: further arguments of the `hdf train` of the embedded data.
    """

    device: str = "cuda"
    presets: dict[str, str] = field(default_factory=lambda: {"16x160": "base_160", "16x224": "base_224"})
    agreement_preset: str = "base_160"
    agreement_clips: int = 4
    batch_size: int = 32
    warm_steps: int = 2
    steps: int = 8
    rounds: int = 3
    bf16: bool = True
    loader_clips: int = 32
    loader_frames: int = 70  # DFEW's median
    loader_size: int = 224
    loader_steps: int = 60
    loader_workers: int = 15
    training_arguments: tuple[str, ...] = ()

    @property
    def is_cuda(self) -> bool:
        return self.device == "cuda"


def model_config(preset: str, **fields) -> HDFConfig:
    """The configuration of a preset with the seven emotions."""
    return HDFConfig.from_pretrained(configuration_path("model", preset), **fields)


def synchronize(settings: Settings) -> None:
    if settings.is_cuda:
        torch.cuda.synchronize()


def random_clips(config: HDFConfig, count: int, device: str) -> list[dict]:
    """Normal noise with labels in pairs, so that every anchor of the contrastive loss has a positive."""
    generator = torch.Generator().manual_seed(0)
    shape = (config.num_frames, 3, config.image_size, config.image_size)
    return [
        {"pixel_values": torch.randn(shape, generator=generator).to(device), "labels": index // 2 % len(EMOTIONS)}
        for index in range(count)
    ]


def build_trainer(
    settings: Settings,
    model: torch.nn.Module,
    rows: list[dict],
    callbacks: list[TrainerCallback],
    *,
    device: str | None = None,
    trainer_class: type[Trainer] = HDFTrainer,
    batch_size: int,
    optimizers: tuple = (None, None),
    data_collator=None,
    **arguments,
) -> Trainer:
    """A quiet trainer that writes nothing; `arguments` go to its training arguments."""
    arguments_class = HDFTrainingArguments if issubclass(trainer_class, HDFTrainer) else TrainingArguments
    training = arguments_class(
        output_dir=tempfile.gettempdir(),
        per_device_train_batch_size=batch_size,
        use_cpu=(device or settings.device) == "cpu",
        lr_scheduler_type="constant",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        **arguments,
    )
    set_seed(0)
    trainer = trainer_class(
        model, training, train_dataset=rows, callbacks=callbacks, optimizers=optimizers, data_collator=data_collator
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _render(arguments: tuple[int, int, int]) -> tuple[bytes, list[bytes]]:
    """One clip as MP4, and as JPEG frames."""
    index, length, size = arguments
    factors = ClipFactors(
        label=EMOTIONS[index % 7], identity=index, duration=length / FPS, fps=FPS, noise=2.0, head_motion=2.0
    )
    frames = render_clip(factors, size, 0, (0, index))
    pictures = []
    for frame in frames:
        with io.BytesIO() as file:
            Image.fromarray(frame).save(file, "JPEG", quality=90)
            pictures.append(file.getvalue())
    return encode_mp4(frames, FPS, 23.0), pictures


def write_clips(settings: Settings, folder: Path) -> dict[str, list[dict]]:
    """Rows of the same clips as MP4 files and as folders of JPEG frames, like the two forms of DFEW."""
    jobs = [(index, settings.loader_frames, settings.loader_size) for index in range(settings.loader_clips)]
    rows: dict[str, list[dict]] = {"frames": [], "mp4": []}
    with ProcessPoolExecutor(settings.loader_workers, get_context("fork")) as pool:
        for index, (video, pictures) in enumerate(pool.map(_render, jobs)):
            (folder / f"{index}.mp4").write_bytes(video)
            (folder / str(index)).mkdir()
            paths = [folder / str(index) / f"{number:05d}.jpg" for number in range(len(pictures))]
            for path, picture in zip(paths, pictures, strict=True):
                path.write_bytes(picture)
            clips = {
                "frames": {"path": None, "frames": [str(path) for path in paths]},
                "mp4": {"path": str(folder / f"{index}.mp4"), "frames": None},
            }
            for kind, clip in clips.items():
                rows[kind].append({"clip": clip, "label": index % len(EMOTIONS)})
    return rows
