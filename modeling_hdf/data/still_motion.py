"""Stills shown as short clips: smooth random motion of the picture plane and of the light, for training.

Labels of stills carry over to clips (S2D, arXiv 2312.05447; S4D, arXiv 2409.06154). A still that is merely repeated
would teach a model that frames never differ. Here the head sways and the light drifts, and the expression stays.
"""

import math

import torch
import torch.nn.functional as F

_CONTROL_POINTS = 4
_PATHS = ("rotation", "scale", "shift_x", "shift_y", "gamma", "brightness")

# Default strengths of [`animate_stills`].
STRENGTHS = {"rotation": 8.0, "scale": 0.06, "shift": 0.04, "gamma": 0.2, "brightness": 0.1}


def random_paths(
    num_clips: int, num_frames: int, generator: torch.Generator | None = None, device: torch.device | None = None
) -> torch.Tensor:
    """
    Smooth random paths: cubic Bezier curves with four control points, drawn uniformly from -1 to 1. A curve never
    leaves the range of its control points.

    Args:
        num_clips (`int`), num_frames (`int`): B and T.
        generator (`torch.Generator`, *optional*): the control points are drawn on its device, so a generator on the
            CPU gives the same paths on every device. By default torch's global generator on the CPU.
        device (`torch.device`, *optional*): device of the result; by default that of the generator.

    Returns:
        `torch.Tensor` of shape `(B, T, 6)`, float32, from -1 to 1: rotation, scale, shift to the right, shift
        downwards, gamma and brightness. The curves run from the first frame to the last; a single frame is the start.
    """
    drawn_on = torch.device("cpu") if generator is None else generator.device
    points = torch.rand((num_clips, _CONTROL_POINTS, len(_PATHS)), generator=generator, device=drawn_on) * 2 - 1
    points = points.to(device or drawn_on)
    time = torch.linspace(0, 1, num_frames, device=points.device)[:, None]  # (T, 1)
    power = torch.arange(_CONTROL_POINTS, device=points.device)
    binomials = torch.tensor([math.comb(_CONTROL_POINTS - 1, k) for k in range(_CONTROL_POINTS)], device=points.device)
    weights = binomials * time**power * (1 - time) ** (_CONTROL_POINTS - 1 - power)  # (T, 4), rows sum to 1
    return weights @ points


def animate_stills(
    stills: torch.Tensor,
    num_frames: int,
    generator: torch.Generator | None = None,
    *,
    rotation: float = STRENGTHS["rotation"],
    scale: float = STRENGTHS["scale"],
    shift: float = STRENGTHS["shift"],
    gamma: float = STRENGTHS["gamma"],
    brightness: float = STRENGTHS["brightness"],
) -> torch.Tensor:
    """
    Shows stills as clips in which the picture turns, grows, shifts, and changes its light along smooth random paths.

    Each clip has paths of its own, see [`random_paths`]. Pixels that come into view repeat the still's border. The
    result depends only on the stills, the arguments and the generator.

    Args:
        stills (`torch.Tensor` of shape `(B, C, H, W)`): uint8, or floating with values from 0 to 1; on any device.
        num_frames (`int`): T, at least 1.
        generator (`torch.Generator`, *optional*): by default torch's global generator on the CPU.
        rotation (`float`): largest angle in degrees.
        scale (`float`): largest change of size: 0.06 shows the picture at 1 / 1.06 to 1.06 of its size.
        shift (`float`): largest shift, as a share of the width and of the height.
        gamma (`float`): largest power, in natural logarithms: 0.2 raises values to a power of 0.82 to 1.22.
        brightness (`float`): largest factor, in natural logarithms: 0.1 multiplies values by 0.90 to 1.11.

    Returns:
        `torch.Tensor` of shape `(B, T, C, H, W)`, of the stills' type, on their device.

    Raises:
        ValueError: for stills of another shape or type, no frame, or a negative strength.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hdf.data import animate_stills
    >>> animate_stills(torch.rand(8, 3, 48, 48), 16, torch.Generator().manual_seed(0)).shape
    torch.Size([8, 16, 3, 48, 48])
    ```
    """
    if stills.ndim != 4 or not (stills.dtype == torch.uint8 or stills.is_floating_point()):
        raise ValueError(
            f"`stills` must be (B, C, H, W), uint8 or floating, got {tuple(stills.shape)} of {stills.dtype}."
        )
    if num_frames < 1:
        raise ValueError(f"`num_frames` is {num_frames}; a clip has at least 1 frame.")
    strengths = {"rotation": rotation, "scale": scale, "shift": shift, "gamma": gamma, "brightness": brightness}
    for name, strength in strengths.items():
        if strength < 0:
            raise ValueError(f"`{name}` is {strength}; it must not be negative.")
    most = (math.radians(rotation), math.log1p(scale), shift, shift, gamma, brightness)
    paths = random_paths(len(stills), num_frames, generator, stills.device) * torch.tensor(most, device=stills.device)
    highest = 255.0 if stills.dtype == torch.uint8 else 1.0
    frames = _moved(stills.float() / highest, paths[..., :4])
    power, factor = (paths[..., index, None, None, None].exp() for index in (4, 5))
    frames = (frames.clamp(0, 1) ** power * factor).clamp(0, 1) * highest
    return (frames.round() if stills.dtype == torch.uint8 else frames).to(stills.dtype)


def _moved(stills: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
    """
    The stills `(B, C, H, W)` turned, scaled and shifted along paths `(B, T, 4)`: angles in radians, logarithms of the
    size, and shifts as shares of the width and of the height. Returns `(B, T, C, H, W)`.
    """
    (num_clips, channels, height, width), num_frames = stills.shape, paths.shape[1]
    angle, size, right, down = paths.flatten(0, 1).unbind(-1)  # each (B T,)
    # Where each pixel of a frame lies in the still: the inverse of "turn and scale, then shift". Coordinates run from
    # -1 to 1, so a shift by the whole width is 2, and a turn must take the shape of the frame into account.
    cos, sin = torch.cos(angle) / size.exp(), torch.sin(angle) / size.exp()
    turn = torch.stack([cos, sin * height / width, -sin * width / height, cos], dim=-1).view(-1, 2, 2)
    offset = -turn @ torch.stack([2 * right, 2 * down], dim=-1)[..., None]  # (B T, 2, 1)
    shape = [num_clips * num_frames, channels, height, width]
    grid = F.affine_grid(torch.cat([turn, offset], dim=-1), shape, align_corners=False)
    # The frames of a clip lie below each other in one grid, so that the still is not copied for each frame.
    grid = grid.view(num_clips, num_frames * height, width, 2)
    frames = F.grid_sample(stills, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return frames.view(num_clips, channels, num_frames, height, width).transpose(1, 2)


__all__ = ["STRENGTHS", "animate_stills", "random_paths"]
