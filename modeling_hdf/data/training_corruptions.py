"""Corruptions of clips for training. None of them is among those of a test, [`modeling_hdf.data.corruptions`].

A model that was trained on a corruption says nothing about corruptions that it has never seen. All functions map a
uint8 clip `(F, 3, H, W)` to the same shape, and draw from torch's global generator.
"""

from collections.abc import Callable

import torch
from torchvision.transforms.v2 import functional as F


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _ghosting(clip: torch.Tensor) -> torch.Tensor:
    """Every frame is blended with the one before it, as by a slow display."""
    share = _uniform(0.2, 0.5)
    before = torch.cat([clip[:1], clip[:-1]])
    return ((1 - share) * clip + share * before).round().to(torch.uint8)


def _interlacing(clip: torch.Tensor) -> torch.Tensor:
    """Every second row comes from the next frame."""
    mixed = clip.clone()
    mixed[:, :, 1::2] = torch.cat([clip[1:], clip[-1:]])[:, :, 1::2]
    return mixed


def _tearing(clip: torch.Tensor) -> torch.Tensor:
    """The upper part of every frame comes from the next frame."""
    cut = round(_uniform(0.2, 0.8) * clip.shape[2])
    torn = clip.clone()
    torn[:, :, :cut] = torch.cat([clip[1:], clip[-1:]])[:, :, :cut]
    return torn


def _posterize(clip: torch.Tensor) -> torch.Tensor:
    return F.posterize(clip, int(torch.randint(2, 5, ())))


def _solarize(clip: torch.Tensor) -> torch.Tensor:
    return F.solarize(clip, _uniform(128, 230))


def _sharpen(clip: torch.Tensor) -> torch.Tensor:
    return F.adjust_sharpness(clip, _uniform(2, 6))


def _equalize(clip: torch.Tensor) -> torch.Tensor:
    return F.equalize(clip)


def _channel_order(clip: torch.Tensor) -> torch.Tensor:
    return clip[:, torch.randperm(3)]


def _vignette(clip: torch.Tensor) -> torch.Tensor:
    """The frame gets darker towards its corners."""
    height, width = clip.shape[-2:]
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None, :]
    shade = 1 - _uniform(0.3, 0.9) * (rows**2 + columns**2) / 2
    return (clip * shade).round().to(torch.uint8)


TRAINING_CORRUPTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "ghosting": _ghosting,
    "interlacing": _interlacing,
    "tearing": _tearing,
    "posterize": _posterize,
    "solarize": _solarize,
    "sharpen": _sharpen,
    "equalize": _equalize,
    "channel_order": _channel_order,
    "vignette": _vignette,
}


def corrupt_for_training(clip: torch.Tensor) -> torch.Tensor:
    """One random corruption of [`TRAINING_CORRUPTIONS`] with probability 1/2, else the clip as it is."""
    if torch.rand(()) < 0.5:
        return clip
    chosen = int(torch.randint(len(TRAINING_CORRUPTIONS), ()))
    return list(TRAINING_CORRUPTIONS.values())[chosen](clip)


__all__ = ["TRAINING_CORRUPTIONS", "corrupt_for_training"]
