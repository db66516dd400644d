"""The stages of training: on stills, then on stills and rendered clips together, with a teacher or without."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from augmentation import Draws, augment
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, recall_score
from torch import nn
from torch.nn import functional as F

from modeling_hdf import HDFConfig
from modeling_hdf.batch_norm_hdf import GlobalBatchNorm
from modeling_hdf.data import animate_stills

MEAN, STD = 0.5, 0.25  # of the pixels that the model takes, for each colour alike
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Stage:
    """Settings of a stage.

    Attributes:
        name: of its files.
        steps: optimizer steps.
        learning_rate: at its peak.
        decay: steps after which the learning rate is 0, by default all; the average of the weights makes up for a
            stage that ends before.
        stills: stills in a batch, as single frames.
        moving: further stills in a batch, as clips.
        clips: rendered clips in a batch.
        taught: weight of the teacher's answers to stills, beside their labels.
        remembered: weight of the answers that the data holds to the stills as they are, beside their labels.
        balanced: whether [`balance_neighbours`] follows each step.
        strength: of the augmentation, at the first step and from the middle on.
        weight_decay: of matrices and kernels, see [`make_optimizer`].
        warmup: steps in which the learning rate grows to its peak.
        smoothing: of the labels.
        mixed: share of the batches with mixup.
        decay_of_average: of the weights.
        balance: exponent of the classes' frequencies, see [`Sampler`].
        seed: seed of batches and augmentation.
    """

    name: str
    steps: int
    learning_rate: float
    decay: int = 0
    stills: int = 128
    moving: int = 0
    clips: int = 0
    taught: float = 0.0
    remembered: float = 0.0
    balanced: bool = False
    strength: tuple[float, float] = (1.0, 1.0)
    weight_decay: float = 0.05
    warmup: int = 200
    smoothing: float = 0.1
    mixed: float = 0.5
    decay_of_average: float = 0.998
    balance: float = 0.5
    seed: int = 0


class Part(NamedTuple):
    """A part of a batch.

    Attributes:
        clips: `(B, T, 3, H, W)`, as the model takes them.
        targets: soft labels `(B, 7)`.
        stills: which of them show a still: shares `(B, 1)`.
    """

    clips: torch.Tensor
    targets: torch.Tensor
    stills: torch.Tensor


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
    """Sets the weights on neighbouring frames to zero: the answer to a repeated frame is then that to the frame."""
    with torch.no_grad():
        for weights in model.hdf.backbone_kind.weights_on_neighbours(model.hdf.backbone):
            weights.zero_()


def balance_neighbours(model: nn.Module) -> None:
    """Makes the weights on neighbouring frames sum to zero, so that they see changes alone: the answer to a repeated
    frame is then nearly that to the frame."""
    weights = model.hdf.backbone_kind.weights_on_neighbours(model.hdf.backbone)
    with torch.no_grad():
        for before, after in zip(weights[::2], weights[1::2], strict=True):
            mean = torch.cat([before, after], 2).mean(2, keepdim=True)
            before -= mean
            after -= mean


def as_pixels(clips: torch.Tensor) -> torch.Tensor:
    """Grey clips `(B, T, 1, H, W)` from 0 to 1 as the model takes them."""
    return ((clips - MEAN) / STD).expand(-1, -1, 3, -1, -1)


class Batches:
    """Random batches of a stage: views of stills and of rendered clips, with soft targets."""

    def __init__(self, data: dict[str, torch.Tensor], stage: Stage, config: HDFConfig, device: torch.device):
        self.data, self.stage, self.device = data, stage, device
        self.num_frames = config.num_frames
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

    def __iter__(self) -> Iterator[list[Part]]:
        """Batches as lists of parts: single frames, and clips if the stage has any."""
        while True:
            weak, strong = self.stage.strength
            strength = weak + (strong - weak) * min(1.0, 2 * self.drawn / self.stage.steps)
            self.drawn += 1
            views, targets = self._views("stills", self.stage.stills)
            parts = [self._part(views[:, None, None], targets, len(targets), strength)]
            if self.stage.clips:
                views, targets = self._views("stills", self.stage.moving)
                clips, targets_of_clips = self._views("clips", self.stage.clips)
                clips = torch.cat([self._moving(views), clips[:, :, None]])
                parts.append(self._part(clips, torch.cat([targets, targets_of_clips]), len(targets), strength))
            yield parts

    def _views(self, name: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Stills `(B, H, W)` or clips `(B, T, H, W)`, from 0 to 1, and soft labels `(B, 7)`."""
        chosen = self.samplers[name].draw(count).to(self.device)
        smoothing, remembered = self.stage.smoothing, self.stage.remembered
        targets = F.one_hot(self.data[f"{name}.labels"][chosen], 7).float() * (1 - smoothing) + smoothing / 7
        if remembered and name == "stills":
            targets = targets.lerp(self.data["stills.answers"][chosen], remembered)
        return self.data[name][chosen].float() / 255, targets

    def _moving(self, stills: torch.Tensor) -> torch.Tensor:
        """Stills `(B, H, W)` as clips `(B, T, 1, H, W)`, half of which do not move at all."""
        half = (len(stills) + 1) // 2
        frozen = stills[half:, None, None].expand(-1, self.num_frames, -1, -1, -1)
        return torch.cat([animate_stills(stills[:half, None], self.num_frames, self.draws.generator), frozen])

    def _part(self, clips: torch.Tensor, targets: torch.Tensor, stills: int, strength: float) -> Part:
        """Random views of clips, the first `stills` of which are of stills."""
        taught = (torch.arange(len(targets), device=clips.device) < stills)[:, None].float()
        part = Part(augment(clips, self.draws, strength), targets, taught)
        if self.draws.number(0, 1) < self.stage.mixed:
            part = self._mixed(part)
        return part._replace(clips=as_pixels(part.clips))

    def _mixed(self, part: Part) -> Part:
        """Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) of each clip with another of the batch."""
        order = torch.randperm(len(part.clips), generator=self.draws.generator).to(self.device)
        share = self.draws.number(0, 0.5)
        return Part(*(values.lerp(values[order], share) for values in part))


def freeze_statistics(model: nn.Module) -> None:
    """Leaves gains and statistics of batch norms as they are: single frames and clips then pass the same norms."""
    for module in model.modules():
        if isinstance(module, GlobalBatchNorm):
            module.weight.requires_grad_(False)


@torch.no_grad()
def take_statistics(model: nn.Module, data: dict[str, torch.Tensor], stage: Stage, batches: int = 100) -> None:
    """Takes the statistics of the batch norms anew, as means over batches of the stills of a stage."""
    device = next(model.parameters()).device
    stage = replace(stage, clips=0, mixed=0.0)
    norms = {m: m.momentum for m in model.modules() if isinstance(m, GlobalBatchNorm)}
    model.train()
    for number, (part,) in enumerate(islice(Batches(data, stage, model.config, device), batches), 1):
        for norm in norms:
            norm.momentum = 1 / number
        model(part.clips)
    for norm, momentum in norms.items():
        norm.momentum = momentum


def predict(model: nn.Module, clips: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Logits `(N, 7)` of grey uint8 stills `(N, H, W)` or clips `(N, T, H, W)`, on the CPU."""
    model.eval()
    logits = []
    with torch.inference_mode():
        for batch in clips.split(batch_size if clips.ndim == 3 else batch_size // 8):
            batch = batch.float() / 255
            batch = batch[:, None, None] if batch.ndim == 3 else batch[:, :, None]
            logits.append(model(as_pixels(batch)).logits.float().cpu())
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
    """Scores on the held-out stills, on a fifth of them as clips of one repeated frame, and on rendered clips."""
    stills, labels = data["validation_stills"], data["validation_stills.labels"]
    found = {f"stills_{name}": value for name, value in scores(predict(model, stills), labels).items()}
    if not with_clips:
        return found
    repeated = predict(model, stills[::5, None].expand(-1, num_frames, -1, -1))
    found |= {f"repeated_{name}": value for name, value in scores(repeated, labels[::5]).items()}
    clips = predict(model, data["validation_clips"])
    return found | {f"clips_{n}": value for n, value in scores(clips, data["validation_clips.labels"]).items()}


def make_optimizer(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices and kernels alone, not on DAM."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if p.ndim >= 2 and "dam" not in name]
    others = [p for name, p in trained if p.ndim < 2 or "dam" in name]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, fused=True)


def take_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, parts: list[Part], teacher: nn.Module | None, taught: float
) -> torch.Tensor:
    """A step on the cross-entropy with soft targets, under bfloat16; returns its mean over all parts. The teacher
    answers to the views that the model sees, of clips to the middle frame (Beyer et al. 2022, https://arxiv.org/abs/2106.05237)."""
    total = sum(len(part.targets) for part in parts)
    losses = []
    optimizer.zero_grad(set_to_none=True)
    for clips, targets, stills in parts:
        with torch.autocast(clips.device.type, torch.bfloat16, cache_enabled=False):
            if teacher is not None:
                with torch.no_grad():
                    targets = targets.lerp(teacher(clips).logits.float().softmax(-1), taught * stills)
            logits = model(clips).logits
        loss = F.cross_entropy(logits.float(), targets, reduction="sum") / total
        loss.backward()
        losses.append(loss.detach())
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return sum(losses)


def train_stage(
    model: nn.Module,
    data: dict[str, torch.Tensor],
    stage: Stage,
    folder: Path,
    *,
    teacher: nn.Module | None = None,
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
        teacher: a trained network, on the same device.
        save_every: steps between two saves, with a validation at each.
        minutes: when to stop after a save.

    Returns:
        `list[dict]`: the learning curve.

    Raises:
        TimeoutError: if the minutes are over before the stage is.
    """
    finished, unfinished = folder / f"{stage.name}.safetensors", folder / f"{stage.name}.unfinished.pt"
    started = time.monotonic()
    if stage.clips:
        freeze_statistics(model)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=partial(_average, decay=stage.decay_of_average), use_buffers=True
    )
    optimizer = make_optimizer(model, stage.weight_decay)
    batches = Batches(data, stage, model.config, next(model.parameters()).device)
    parts = {"model": model, "average": average, "optimizer": optimizer}
    done, curve = 0, []
    if unfinished.exists():
        done, curve = _restore(unfinished, stage, parts, batches)
    if teacher is not None:
        teacher.eval()

    batch, losses = iter(batches), []
    for step in range(done + 1, stage.steps + 1):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * _rate(step - 1, stage)
        losses.append(take_step(model, optimizer, next(batch), teacher, stage.taught))
        if stage.balanced:
            balance_neighbours(model)
        average.update_parameters(model)
        if step % save_every == 0 or step == stage.steps:
            found = validate(average.module, data, model.config.num_frames, with_clips=stage.clips > 0)
            elapsed = time.monotonic() - started
            about = {"stage": stage.name, "step": step, "device": device_name(batches.device)}
            about["pictures"] = step * (stage.stills + stage.moving + stage.clips)
            curve.append(about | {"loss": torch.stack(losses).mean().item(), "seconds": elapsed} | found)
            losses = []
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in curve[-1].items()}, flush=True)
            if step < stage.steps:
                _save(unfinished, stage, parts, batches, curve)
                if elapsed > 60 * minutes:
                    raise TimeoutError(f"stopped after step {step}; run the command again to go on")
    model.load_state_dict(average.module.state_dict())
    save_file({name: value.contiguous().cpu() for name, value in model.state_dict().items()}, finished)
    unfinished.unlink(missing_ok=True)
    return curve


def device_name(device: torch.device) -> str:
    """Name of the GPU, or "CPU"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def load_stage(model: nn.Module, name: str, folder: Path) -> bool:
    """Loads the weights of a finished stage; returns whether there are any."""
    finished = folder / f"{name}.safetensors"
    if finished.exists():
        model.load_state_dict(load_file(finished))
    return finished.exists()


def _save(file: Path, stage: Stage, parts: dict, batches: Batches, curve: list[dict]) -> None:
    """Saves the state of an unfinished run after the last step of its learning curve."""
    state = {name: part.state_dict() for name, part in parts.items()}
    generators = [generator.get_state() for generator in batches.generators]
    torch.save(state | {"stage": asdict(stage), "generators": generators, "done": batches.drawn, "curve": curve}, file)


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
    """Share of the learning rate: a linear warm-up, then half a cosine down to 0."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    steps = stage.decay or stage.steps
    return 0.5 + 0.5 * math.cos(math.pi * min(1, (step - stage.warmup) / max(1, steps - stage.warmup)))
