"""Corruptions of clips that a test applies: the order of frames, and the look of frames, each in five severities.

The five severities follow ImageNet-C (https://arxiv.org/abs/1903.12261). Random choices are drawn once per clip and
corruption; a higher severity makes the same choices stronger. They depend on the clip alone, so every model sees the
same pixels.

`augmentation: corrupted` uses none of these corruptions, but those of [`modeling_hdf.data.training_corruptions`].
Other augmentations are related to some of them: `standard` and `strong` change brightness, contrast and colour, and
`strong` hides parts of the picture.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from ..clip_reading_hdf import read_clip
from ..video_reading_hdf import all_frames
from .video_encoding import encode_mp4

SEVERITIES = (1, 2, 3, 4, 5)
_BLACK, _FOREIGN = -1, -2


@dataclass(frozen=True)
class FramePlan:
    """
    Which frame is shown when.

    Args:
        source (`np.ndarray` of shape `(F,)`): the frame shown at each place; -1 for a black one, -2 for the frame of
            the same place of another clip.
        shift (`np.ndarray` of shape `(F, 2)`, *optional*): how far each frame moves down and to the right, as shares
            of its height and width.
    """

    source: np.ndarray
    shift: np.ndarray | None = None


def _share(severity: int, shares: Sequence[float]) -> float:
    return shares[severity - 1]


def _some(num_frames: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """The places of a share of the frames, at least one; a larger share holds those of a smaller one."""
    return rng.permutation(num_frames)[: max(1, round(share * num_frames))]


def _stretched(kept: np.ndarray, num_frames: int) -> np.ndarray:
    """A clip of other length, shown in the time of the whole clip."""
    return kept[np.arange(num_frames) * len(kept) // num_frames]


def _dropped(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    lost = _some(num_frames, _share(severity, (0.1, 0.25, 0.4, 0.6, 0.8)), rng)
    kept = np.delete(np.arange(num_frames), lost) if len(lost) < num_frames else np.arange(1)
    return FramePlan(_stretched(kept, num_frames))


def _duplicated(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    """Some frames stay four times as long, so the clip loses its end."""
    times = np.ones(num_frames, dtype=int)
    times[_some(num_frames, _share(severity, (0.05, 0.1, 0.2, 0.35, 0.5)), rng)] = 4
    return FramePlan(np.repeat(np.arange(num_frames), times)[:num_frames])


def _swapped(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    """Frames of random places change places."""
    places = _some(num_frames, _share(severity, (0.1, 0.2, 0.4, 0.6, 1.0)), rng)
    source = np.arange(num_frames)
    source[places] = np.roll(places, 1)
    return FramePlan(source)


def _frozen(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    """The picture stands still for a while."""
    length = round(_share(severity, (0.15, 0.3, 0.45, 0.6, 0.8)) * num_frames)
    start = int(rng.random() * (num_frames - length))
    source = np.arange(num_frames)
    source[start : start + length] = start
    return FramePlan(source)


def _black(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    source = np.arange(num_frames)
    source[_some(num_frames, _share(severity, (0.1, 0.2, 0.35, 0.5, 0.7)), rng)] = _BLACK
    return FramePlan(source)


def _foreign(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    """Plausible but wrong: frames of another clip."""
    source = np.arange(num_frames)
    source[_some(num_frames, _share(severity, (0.1, 0.2, 0.3, 0.4, 0.5)), rng)] = _FOREIGN
    return FramePlan(source)


def _jitter(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    """A shaking camera: every frame moves by a random offset."""
    offsets = rng.uniform(-1, 1, (num_frames, 2)) * _share(severity, (0.02, 0.04, 0.06, 0.09, 0.12))
    return FramePlan(np.arange(num_frames), offsets)


def _speed(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    """Slow first and fast then, or the other way round."""
    power = _share(severity, (1.3, 1.6, 2.0, 2.5, 3.2))
    time = np.arange(num_frames) / max(1, num_frames - 1)
    warped = time**power if rng.random() < 0.5 else 1 - (1 - time) ** power
    return FramePlan(np.round(warped * (num_frames - 1)).astype(int))


def _late_onset(num_frames: int, severity: int, rng: np.random.Generator) -> FramePlan:
    """The first frame waits, and the end of the clip is cut off."""
    wait = round(_share(severity, (0.1, 0.2, 0.35, 0.5, 0.65)) * num_frames)
    return FramePlan(np.maximum(np.arange(num_frames) - wait, 0))


# Called as `plan(num_frames, severity, generator)`.
SEQUENCE: dict[str, Callable[[int, int, np.random.Generator], FramePlan]] = {
    "dropped": _dropped,
    "duplicated": _duplicated,
    "swapped": _swapped,
    "frozen": _frozen,
    "black": _black,
    "foreign": _foreign,
    "jitter": _jitter,
    "speed": _speed,
    "late_onset": _late_onset,
}


def _brightness(frames: torch.Tensor, severity: int, rng: np.random.Generator) -> torch.Tensor:
    strength = _share(severity, (0.2, 0.35, 0.5, 0.6, 0.7))
    return F.adjust_brightness(frames, 1 / (1 - strength) if rng.random() < 0.5 else 1 - strength)


def _contrast(frames: torch.Tensor, severity: int, rng: np.random.Generator) -> torch.Tensor:
    return F.adjust_contrast(frames, _share(severity, (0.6, 0.45, 0.3, 0.2, 0.1)))


def _colour(frames: torch.Tensor, severity: int, rng: np.random.Generator) -> torch.Tensor:
    """A cast, as of wrong white balance."""
    gains = 1 + rng.uniform(-1, 1, 3) * _share(severity, (0.15, 0.3, 0.45, 0.6, 0.8))
    return (frames * torch.tensor(gains, dtype=torch.float32)[:, None, None]).clamp(0, 255).to(torch.uint8)


def _grey(frames: torch.Tensor, severity: int, rng: np.random.Generator) -> torch.Tensor:
    return F.adjust_saturation(frames, _share(severity, (0.6, 0.4, 0.25, 0.1, 0.0)))


def _blur(frames: torch.Tensor, severity: int, rng: np.random.Generator) -> torch.Tensor:
    sigma = _share(severity, (0.012, 0.02, 0.03, 0.045, 0.06)) * min(frames.shape[-2:])
    size = 2 * min(int(3 * sigma) + 1, (min(frames.shape[-2:]) - 1) // 2) + 1
    return F.gaussian_blur(frames, [size, size], [sigma, sigma])


def _noise(frame: torch.Tensor, severity: int, seed: int) -> torch.Tensor:
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(tuple(frame.shape), dtype=np.float32))
    std = 255 * _share(severity, (0.04, 0.08, 0.12, 0.18, 0.26))
    return (frame + std * noise).round().clamp(0, 255).to(torch.uint8)


def _jpeg(frames: torch.Tensor, severity: int, rng: np.random.Generator) -> torch.Tensor:
    decoded = []
    for frame in frames.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=(30, 20, 14, 9, 5)[severity - 1])
        decoded.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)


def _h264(frames: torch.Tensor, severity: int) -> torch.Tensor:
    height, width = frames.shape[-2:]
    even = F.pad(frames, [0, 0, width % 2, height % 2], padding_mode="edge").permute(0, 2, 3, 1).contiguous().numpy()
    encoded = encode_mp4(even, fps=25, crf=(32, 37, 42, 46, 51)[severity - 1])
    decoded, _ = read_clip({"bytes": encoded, "path": None}, all_frames)
    return torch.from_numpy(np.asarray(decoded)).permute(0, 3, 1, 2)[..., :height, :width]


def _low_resolution(frames: torch.Tensor, severity: int, rng: np.random.Generator) -> torch.Tensor:
    share = _share(severity, (0.5, 0.36, 0.25, 0.18, 0.125))
    small = [max(1, round(edge * share)) for edge in frames.shape[-2:]]
    return F.resize(F.resize(frames, small, antialias=True), list(frames.shape[-2:]), antialias=True)


def _occlusion(frames: torch.Tensor, severity: int, rng: np.random.Generator) -> torch.Tensor:
    """A grey square that stays in its place, around a centre that does not depend on the severity."""
    height, width = frames.shape[-2:]
    edge = _share(severity, (0.2, 0.3, 0.4, 0.5, 0.6))
    rows, columns = (
        np.clip(np.round((centre + np.array([-0.5, 0.5]) * edge) * size).astype(int), 0, size)
        for centre, size in zip(rng.uniform(0.25, 0.75, 2), (height, width), strict=True)
    )
    covered = frames.clone()
    covered[..., rows[0] : rows[1], columns[0] : columns[1]] = 128
    return covered


# Called as `change(frames (F, 3, H, W) uint8, severity, generator)`, but the noise and H.264: see [`corrupt`].
STYLE: dict[str, Callable[..., torch.Tensor]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "colour": _colour,
    "grey": _grey,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "h264": _h264,
    "low_resolution": _low_resolution,
    "occlusion": _occlusion,
}
CORRUPTIONS = (*SEQUENCE, *STYLE)


def corrupt(
    frames: torch.Tensor,
    name: str,
    severity: int,
    *,
    seed: int,
    clip_id: str,
    shown: Sequence[int] | None = None,
    foreign: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    A corrupted clip.

    Args:
        frames (`torch.Tensor` of shape `(F, 3, H, W)`): the clip, uint8.
        name (`str`): one of [`CORRUPTIONS`]; `SEQUENCE` changes the order of the frames, `STYLE` their look.
        severity (`int`): 1 to 5.
        seed (`int`): seed of the test.
        clip_id (`str`): name of the clip. The random choices depend on it, on the seed and on the name of the
            corruption alone.
        shown (`Sequence[int]`, *optional*): places of the frames that are needed; by default all.
        foreign (`torch.Tensor` of shape `(F, 3, H', W')`, *optional*): another clip, for "foreign".

    Returns:
        `torch.Tensor`: uint8 frames `(len(shown), 3, H, W)`.

    Raises:
        ValueError: for an unknown name or severity, or "foreign" without another clip.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"The corruption is {name!r}; choose one of {', '.join(CORRUPTIONS)}.")
    if severity not in SEVERITIES:
        raise ValueError(f"`severity` is {severity}; it must be 1 to 5.")
    rng = np.random.default_rng([seed, crc32(clip_id.encode()), crc32(name.encode())])
    shown = np.arange(len(frames)) if shown is None else np.asarray(shown)
    if name in SEQUENCE:
        return _shown_frames(frames, SEQUENCE[name](len(frames), severity, rng), shown, foreign)
    if name == "h264":  # a frame depends on the frames before it
        return _h264(frames, severity)[shown]
    if name == "noise":  # every frame has its own
        seeds = rng.integers(2**63, size=len(frames))[shown]
        return torch.stack([_noise(frames[place], severity, seed) for place, seed in zip(shown, seeds, strict=True)])
    return STYLE[name](frames[shown], severity, rng)


def _shown_frames(
    frames: torch.Tensor, plan: FramePlan, shown: np.ndarray, foreign: torch.Tensor | None
) -> torch.Tensor:
    source = plan.source[shown]
    result = frames[np.maximum(source, 0)]
    result[source == _BLACK] = 0
    if (source == _FOREIGN).any():
        if foreign is None:
            raise ValueError("The corruption 'foreign' needs another clip, `foreign`.")
        theirs = foreign[shown[source == _FOREIGN] * len(foreign) // len(frames)]
        result[source == _FOREIGN] = F.resize(theirs, list(frames.shape[-2:]), antialias=True)
    if plan.shift is None:
        return result
    size = np.array(frames.shape[-2:])
    moves = np.round(plan.shift[shown] * size).astype(int)
    return torch.stack([_moved(frame, down, right) for frame, (down, right) in zip(result, moves, strict=True)])


def _moved(frame: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """A frame `(3, H, W)` moved by whole pixels; its border repeats."""
    height, width = frame.shape[-2:]
    rows = (torch.arange(height) - int(down)).clamp(0, height - 1)
    columns = (torch.arange(width) - int(right)).clamp(0, width - 1)
    return frame[:, rows][:, :, columns]


__all__ = ["CORRUPTIONS", "SEQUENCE", "SEVERITIES", "STYLE", "FramePlan", "corrupt"]
