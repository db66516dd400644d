"""The stages of training: stills, small and then whole, then stills and rendered clips together."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from augmentation import Draws, augment
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, recall_score
from steps import Step
from torch import nn
from torch.nn import functional as F

from modeling_hdf import HDFConfig, HDFForVideoClassification
from modeling_hdf.data import animate_stills
from modeling_hdf.x3d_layers_hdf import TemporalConvolution

MEAN, STD = 0.5, 0.25  # of the pixels that the model takes, for each colour alike
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Stage:
    """Settings of a stage.

    Attributes:
        name: of its files.
        steps: optimizer steps.
        stills: stills in a batch; as single frames in the first stage, as clips in the second.
        clips: rendered clips in a batch.
        learning_rate: at its peak.
        last: share of the learning rate at the last step.
        strength: of the augmentation, at the first step and from the middle on.
        seed: seed of batches and augmentation.
    """

    name: str
    steps: int
    stills: int
    clips: int
    learning_rate: float
    last: float = 0.0
    strength: tuple[float, float] = (1.0, 1.0)
    weight_decay: float = 0.05
    warmup: int = 200
    smoothing: float = 0.1
    mixed: float = 0.5
    decay_of_average: float = 0.998
    balance: float = 0.5
    seed: int = 0


class Sampler:
    """Indices of stills or clips, drawn class by class: a class of n is drawn in proportion to `n ** balance`."""

    def __init__(self, labels: torch.Tensor, balance: float, seed: int):
        counts = labels.bincount(minlength=7).double()
        self.weights = counts[labels] ** (balance - 1)
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> torch.Tensor:
        """`count` indices, with replacement."""
        return torch.multinomial(self.weights, count, replacement=True, generator=self.generator)


def fold_colours(model: nn.Module) -> None:
    """Makes the stem read luminance: as it is trained on grey pictures, only the sum over its colours is trained."""
    weight = model.hdf.backbone.stem.spatial.weight
    with torch.no_grad():
        weight.copy_(weight.sum(1, keepdim=True) * weight.new_tensor(LUMINANCE)[:, None, None])


def forget_neighbours(model: nn.Module) -> None:
    """Sets the taps of temporal convolutions on other frames to zero: a still that is repeated is then one frame."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, TemporalConvolution):
                centre = module.weight.shape[2] // 2
                module.weight[:, :, :centre] = 0
                module.weight[:, :, centre + 1 :] = 0


def as_pixels(clips: torch.Tensor) -> torch.Tensor:
    """Grey clips `(B, T, 1, H, W)` from 0 to 1 as the model takes them; colours last, which is faster on a CPU."""
    frames = ((clips - MEAN) / STD).expand(-1, -1, 3, -1, -1).flatten(0, 1)
    return frames.contiguous(memory_format=torch.channels_last).unflatten(0, clips.shape[:2])


def resized(clips: torch.Tensor, edge: int) -> torch.Tensor:
    """Clips `(B, T, 1, H, W)` with frames of another edge."""
    if clips.shape[-1] == edge:
        return clips
    frames = F.interpolate(clips.flatten(0, 1), size=(edge, edge), mode="bilinear", antialias=True)
    return frames.unflatten(0, clips.shape[:2])


class Batches:
    """Random batches of a stage: views of stills and of rendered clips, with soft targets."""

    def __init__(self, data: dict[str, torch.Tensor], stage: Stage, config: HDFConfig, device: torch.device):
        self.data, self.stage, self.device = data, stage, device
        self.num_frames, self.edge = config.num_frames, config.image_size
        self.samplers = {
            name: Sampler(data[f"{name}.labels"].cpu(), stage.balance, stage.seed + index)
            for index, name in enumerate(("stills", "clips"))
        }
        self.draws = Draws(stage.seed + 2, device)
        self.drawn = 0

    @property
    def generators(self) -> list[torch.Generator]:
        """All sources of random numbers."""
        return [*(sampler.generator for sampler in self.samplers.values()), self.draws.generator]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            weak, strong = self.stage.strength
            strength = weak + (strong - weak) * min(1.0, 2 * self.drawn / self.stage.steps)
            self.drawn += 1
            parts, labels = [], []
            for name, count in (("stills", self.stage.stills), ("clips", self.stage.clips)):
                if count:
                    chosen = self.samplers[name].draw(count).to(self.device)
                    views = self.data[name][chosen].float() / 255
                    parts.append(augment(self._as_clips(views), self.draws, strength))
                    labels.append(self.data[f"{name}.labels"][chosen])
            clips, targets = torch.cat(parts), F.one_hot(torch.cat(labels), 7).float()
            if self.draws.number(0, 1) < self.stage.mixed:
                clips, targets = self._mixed(clips, targets)
            yield as_pixels(resized(clips, self.edge)), targets * (1 - self.stage.smoothing) + self.stage.smoothing / 7

    def _as_clips(self, views: torch.Tensor) -> torch.Tensor:
        """Clips `(B, T, 1, H, W)` from stills `(B, H, W)` or clips `(B, T, H, W)`."""
        if views.ndim == 4:
            return views[:, :, None]
        if not self.stage.clips:
            return views[:, None, None]
        half = len(views) // 2  # the others do not move at all
        still = views[half:, None, None].expand(-1, self.num_frames, -1, -1, -1)
        return torch.cat([animate_stills(views[:half, None], self.num_frames, self.draws.generator), still])

    def _mixed(self, clips: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) of each clip with another of the batch."""
        order = torch.randperm(len(clips), generator=self.draws.generator).to(clips.device)
        share = self.draws.number(0, 0.5)
        return clips.lerp(clips[order], share), targets.lerp(targets[order], share)


def predict(model: nn.Module, clips: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Logits `(N, 7)` of grey uint8 stills `(N, H, W)` or clips `(N, T, H, W)`, on the CPU."""
    model.eval()
    edge = model.config.image_size
    logits = []
    with torch.inference_mode():
        for batch in clips.split(batch_size if clips.ndim == 3 else batch_size // 8):
            batch = batch.float() / 255
            batch = batch[:, None, None] if batch.ndim == 3 else batch[:, :, None]
            logits.append(model(as_pixels(resized(batch, edge))).logits.float().cpu())
    return torch.cat(logits)


def scores(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """WAR and UAR."""
    predicted, labels = logits.argmax(1).numpy(), labels.cpu().numpy()
    return {
        "war": float(accuracy_score(labels, predicted)),
        "uar": float(recall_score(labels, predicted, average="macro", zero_division=0)),
    }


def validate(
    model: nn.Module, data: dict[str, torch.Tensor], num_frames: int, with_clips: bool = True
) -> dict[str, float]:
    """Scores on the held-out stills, as single frames and as clips of one repeated frame, and on rendered clips."""
    stills, labels = data["validation_stills"], data["validation_stills.labels"]
    found = {f"stills_{name}": value for name, value in scores(predict(model, stills), labels).items()}
    if not with_clips:
        return found
    repeated = torch.cat([predict(model, part[:, None].expand(-1, num_frames, -1, -1)) for part in stills.split(512)])
    found |= {f"repeated_{name}": value for name, value in scores(repeated, labels).items()}
    clips = predict(model, data["validation_clips"])
    return found | {f"clips_{n}": value for n, value in scores(clips, data["validation_clips.labels"]).items()}


def train_stage(
    model: HDFForVideoClassification,
    data: dict[str, torch.Tensor],
    stage: Stage,
    folder: Path,
    *,
    save_every: int = 500,
    minutes: float = math.inf,
) -> list[dict]:
    """
    Trains a stage and leaves the model with its averaged weights; goes on where an earlier call stopped.

    Args:
        model: on its device; its start is that of the stage.
        data: uint8 pictures and their labels, on the same device, see `prepare`.
        stage: settings.
        folder: for the state of an unfinished run, and the averaged weights of a finished one.
        save_every: steps between two saves, with a validation at each.
        minutes: when to stop after a save.

    Returns:
        `list[dict]`: the learning curve.

    Raises:
        TimeoutError: if the minutes are over before the stage is.
    """
    num_frames = model.config.num_frames
    finished, unfinished = folder / f"{stage.name}.safetensors", folder / f"{stage.name}.unfinished.pt"
    started = time.monotonic()
    for weight in model.parameters():
        if weight.ndim == 4:  # of an ordinary convolution
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=partial(_average, decay=stage.decay_of_average), use_buffers=True
    )
    take_step = Step(model, stage.weight_decay)
    batches = Batches(data, stage, model.config, take_step.device)
    parts = {"model": model, "average": average, "optimizer": take_step.optimizer}
    done, curve = 0, []
    if unfinished.exists():
        done, curve = _restore(unfinished, stage, parts, batches)

    batch = iter(batches)
    for step in range(done + 1, stage.steps + 1):
        model.train()
        loss = take_step(*next(batch), stage.learning_rate * _rate(step - 1, stage))
        average.update_parameters(model)
        if step % save_every == 0 or step == stage.steps:
            found = validate(average.module, data, num_frames, with_clips=stage.clips > 0)
            elapsed = time.monotonic() - started
            curve.append({"stage": stage.name, "step": step, "loss": loss.item(), "seconds": elapsed, **found})
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in curve[-1].items()}, flush=True)
            if step < stage.steps:
                generators = [generator.get_state() for generator in batches.generators]
                state = {name: part.state_dict() for name, part in parts.items()}
                state |= {"stage": asdict(stage), "generators": generators, "done": step, "curve": curve}
                torch.save(state, unfinished)
                if elapsed > 60 * minutes:
                    raise TimeoutError(f"stopped after step {step}; run the command again to go on")
    model.load_state_dict(average.module.state_dict())
    save_file({name: value.contiguous().cpu() for name, value in model.state_dict().items()}, finished)
    unfinished.unlink(missing_ok=True)
    return curve


def load_stage(model: nn.Module, name: str, folder: Path) -> bool:
    """Loads the weights of a finished stage; returns whether there are any."""
    finished = folder / f"{name}.safetensors"
    if finished.exists():
        model.load_state_dict(load_file(finished))
    return finished.exists()


def _restore(file: Path, stage: Stage, parts: dict, batches: Batches) -> tuple[int, list[dict]]:
    """Puts the state of an unfinished run back; returns its steps and its learning curve."""
    state = torch.load(file, weights_only=True, map_location=batches.device)
    if state["stage"] != asdict(stage):
        raise ValueError(f"{file} is of a run with other settings; remove it to start again.")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    for generator, saved in zip(batches.generators, state["generators"], strict=True):
        generator.set_state(saved.cpu())
    batches.drawn = state["done"]
    return state["done"], state["curve"]


@torch.no_grad()
def _average(averages: list[torch.Tensor], values: list[torch.Tensor], updates: torch.Tensor, decay: float) -> None:
    """Moving average of weights and of the statistics of norms, which forgets its first values fast."""
    if not averages[0].is_floating_point():  # counts of batches
        for average, value in zip(averages, values, strict=True):
            average.copy_(value)
        return
    done = int(updates)
    torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + done) / (10 + done)))


def _rate(step: int, stage: Stage) -> float:
    """Share of the learning rate: a linear warm-up, then half a cosine down to `stage.last`."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    cosine = math.cos(math.pi * min(1, (step - stage.warmup) / max(1, stage.steps - stage.warmup)))
    return stage.last + (1 - stage.last) * 0.5 * (1 + cosine)
