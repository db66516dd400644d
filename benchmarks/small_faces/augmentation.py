"""Random views of grey clips in batches, on any device."""

import math

import torch
from torch.nn import functional as F


class Draws:
    """Uniform random numbers of one generator on the CPU, moved to the device that uses them."""

    def __init__(self, seed: int, device: torch.device):
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device

    def uniform(self, count: int, low: float, high: float) -> torch.Tensor:
        """`count` numbers from `low` to `high`."""
        return (torch.rand(count, generator=self.generator) * (high - low) + low).to(self.device)

    def number(self, low: float, high: float) -> float:
        """One number from `low` to `high`."""
        return torch.rand((), generator=self.generator).item() * (high - low) + low


def augment(clips: torch.Tensor, draws: Draws, strength: float = 1.0) -> torch.Tensor:
    """
    Clips `(B, T, 1, H, W)`, floats from 0 to 1, as random views of the same shape. All frames of a clip are changed
    alike: mirrored, turned, scaled, shifted, made brighter or darker, coarser, noisy, or covered in part. `strength`,
    from 0 to 1, is a factor on every range and share but that of mirror images.

    The scale follows what the package crops: FER2013 frames a face more tightly than a crop of its detector with a
    margin of 0.1, whose side is 1.26 times as long (median; 5 % to 95 %: 0.9 to 1.9).
    """
    clips = _moved(clips, draws, strength)
    count = len(clips)
    gamma = (strength * draws.uniform(count, -0.3, 0.3)).exp()
    contrast = (strength * draws.uniform(count, -0.35, 0.15)).exp()
    brightness = strength * draws.uniform(count, -0.1, 0.1)
    clips = clips.clamp(1e-4, 1) ** _per_clip(gamma)
    mean = clips.mean((1, 2, 3, 4), keepdim=True)
    clips = ((clips - mean) * _per_clip(contrast) + mean + _per_clip(brightness)).clamp(0, 1)
    clips = _coarser(clips, draws, 0.25 * strength)
    noise = torch.randn(clips.shape, generator=_on(clips.device, draws), device=clips.device)
    clips = clips + noise * _per_clip(strength * draws.uniform(count, -0.06, 0.03).clamp(min=0))
    return _covered(clips, draws, 0.2 * strength).clamp(0, 1)


def _per_clip(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None, None]


def _on(device: torch.device, draws: Draws) -> torch.Generator:
    seed = int(torch.randint(2**31, (), generator=draws.generator))
    return torch.Generator(device).manual_seed(seed)


def _moved(clips: torch.Tensor, draws: Draws, strength: float) -> torch.Tensor:
    """Random affine maps. What comes into view is the border, black, a mirror image, or another clip of the batch:
    a quarter of the batch each, in its order."""
    count = len(clips)
    angle = strength * draws.uniform(count, -17, 17) * math.pi / 180
    size = (strength * draws.uniform(count, math.log(0.6), math.log(1.12))).exp()
    aspect = (strength * draws.uniform(count, -0.08, 0.08)).exp()
    flip = torch.where(draws.uniform(count, 0, 1) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() / size, angle.sin() / size
    shift_x, shift_y = (strength * draws.uniform(count, -0.1, 0.1) for _ in range(2))
    rows = [cos * aspect * flip, sin, shift_x, -sin * flip, cos / aspect, shift_y]
    maps = torch.stack(rows, dim=-1).view(-1, 2, 3)
    frames = clips[:, :, 0]  # (B, T, H, W): the frames of a clip are the channels of one picture
    grid = F.affine_grid(maps, list(frames.shape), align_corners=False)
    views = []
    for part, mode in enumerate(("border", "zeros", "reflection", "zeros")):
        mine = slice(count * part // 4, count * (part + 1) // 4)
        if len(frames[mine]):
            views.append(F.grid_sample(frames[mine], grid[mine], padding_mode=mode, align_corners=False))
    views = torch.cat(views)
    outside = (grid.abs() > 1).any(-1)[:, None]  # (B, 1, H, W)
    outside[: count * 3 // 4] = False
    return torch.where(outside, frames.roll(1, 0), views)[:, :, None]


def _coarser(clips: torch.Tensor, draws: Draws, share: float) -> torch.Tensor:
    """A random share of the batch at a lower resolution, of 24 pixels or more."""
    mine = (draws.uniform(len(clips), 0, 1) < share).nonzero().flatten()
    if not len(mine):
        return clips
    edge = clips.shape[-1]
    small = int(draws.number(24, edge))
    frames = clips[mine].flatten(0, 1)
    frames = F.interpolate(frames, size=(small, small), mode="bilinear", antialias=True, align_corners=False)
    frames = F.interpolate(frames, size=(edge, edge), mode="bilinear", align_corners=False)
    return clips.index_copy(0, mine, frames.unflatten(0, (len(mine), -1)))


def _covered(clips: torch.Tensor, draws: Draws, share: float) -> torch.Tensor:
    """A grey rectangle over a random share of the clips, at one place in all their frames."""
    count, edge = len(clips), clips.shape[-1]
    places = torch.arange(edge, device=clips.device)
    inside = []
    for _ in range(2):
        length, start = draws.uniform(count, 0.1, 0.4) * edge, draws.uniform(count, -0.1, 0.9) * edge
        inside.append((places >= start[:, None]) & (places < (start + length)[:, None]))  # (B, edge)
    hidden = inside[0][:, :, None] & inside[1][:, None, :]  # (B, H, W)
    hidden &= (draws.uniform(count, 0, 1) < share)[:, None, None]
    return torch.where(hidden[:, None, None], _per_clip(draws.uniform(count, 0, 1)), clips)


__all__ = ["Draws", "augment"]
