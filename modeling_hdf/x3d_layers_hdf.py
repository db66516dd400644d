"""The layers of X3D. [`X3DModel`] puts them together.

Frames are images to all layers but two kinds: the stem's temporal convolution, and the channel-wise 3x3x3 convolution
of each block. Both are written as one two-dimensional step per temporal tap, summed over shifted frames. That is the
same sum as a 3-D convolution, and a clip of one frame costs a single tap: stills train many times faster on a CPU.
Inference on a CPU takes the 3-D convolution itself where that is faster. Without gradients, norms and activations
overwrite their input, because new memory takes time: a forward hook must copy what it keeps of a block's inside.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .batch_norm_hdf import GlobalBatchNorm, is_plain_inference


def draw(weight: torch.Tensor) -> None:
    """Start of a convolution before a ReLU, by its fan-out (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


def _relu(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x, inplace=not torch.is_grad_enabled())


def _squeezed(channels: int, ratio: float) -> int:
    """Channels of squeeze-and-excitation: the share rounded to a multiple of 8, at least 8, never below 90 %."""
    share = channels * ratio
    rounded = max(8, int(share + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * share else rounded


class TemporalConvolution(nn.Module):
    """
    Channel-wise convolution over frames and space, without bias, zero-padded in both:
    `y[t] = sum_k conv2d(x[t + k - K // 2], weight[:, :, k])`, `k = 0 ... K - 1`. Training computes it as
    written: the backward pass of a 3-D convolution is slow on a CPU. Inference there takes the 3-D convolution.

    Args:
        channels (`int`): channels C.
        kernel (`tuple[int, int]`): frames K and pixels that the kernel spans, odd numbers.
        stride (`int`): spatial stride.
    """

    def __init__(self, channels: int, kernel: tuple[int, int], stride: int = 1):
        super().__init__()
        self.stride = stride
        frames, pixels = kernel
        self.weight = nn.Parameter(torch.empty(channels, 1, frames, pixels, pixels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights."""
        draw(self.weight)

    def weights_on_neighbours(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights on the frames before and after, as views; a single frame uses none of them."""
        centre = self.weight.shape[2] // 2
        return self.weight[:, :, :centre], self.weight[:, :, centre + 1 :]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, C, h, w)` to `(B, T, C, h', w')`, with any T."""
        if x.shape[1] > 1 and self._is_faster_at_once(x):
            return self._at_once(x)
        steps, centre = x.shape[1], self.weight.shape[2] // 2
        y = self._tap(x, centre)
        for distance in range(1, min(centre, steps - 1) + 1):
            before = self._tap(x, centre - distance)[:, :-distance]
            after = self._tap(x, centre + distance)[:, distance:]
            if torch.compiler.is_exporting():  # onnxruntime is slow to write into a part of a map
                y = y + F.pad(before, (0,) * 6 + (distance, 0)) + F.pad(after, (0,) * 6 + (0, distance))
            else:
                y[:, distance:] += before
                y[:, :-distance] += after
        return y

    def _is_faster_at_once(self, x: torch.Tensor) -> bool:
        """Whether a 3-D convolution takes less time than the sum, about half of it. Measured: oneDNN is slow without
        AVX2, for kernels of one pixel, and in bfloat16 on processors that only emulate it."""
        has_space = self.weight.shape[-1] > 1
        return has_space and is_plain_inference(x) and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")

    def _at_once(self, x: torch.Tensor) -> torch.Tensor:
        # Frames with the channels of a pixel side by side are a view here, and the result gives such frames again.
        volume = x.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)  # (B, C, T, h, w)
        padding = [size // 2 for size in self.weight.shape[2:]]
        y = F.conv3d(volume, self.weight, None, (1, self.stride, self.stride), padding, groups=len(self.weight))
        return y.transpose(1, 2)

    def _tap(self, x: torch.Tensor, k: int) -> torch.Tensor:
        weight = self.weight[:, :, k]
        padding = weight.shape[-1] // 2
        frames = x.flatten(0, 1)
        if self.stride > 1 and x.dtype == torch.bfloat16 and x.device.type == "cpu" and torch.is_grad_enabled():
            # In bfloat16, oneDNN takes 25 times as long for the backward pass of a strided channel-wise convolution.
            with torch.autocast("cpu", enabled=False):
                y = F.conv2d(frames.float(), weight.float(), stride=self.stride, padding=padding, groups=len(weight))
            return y.to(x.dtype).unflatten(0, x.shape[:2])
        frames = F.conv2d(frames, weight, stride=self.stride, padding=padding, groups=len(weight))
        return frames.unflatten(0, x.shape[:2])


class X3DStem(nn.Module):
    """Spatial 3x3 convolution, channel-wise temporal convolution, norm and ReLU."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int):
        super().__init__()
        self.spatial = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.temporal = TemporalConvolution(channels, (kernel, 1))
        self.norm = GlobalBatchNorm(channels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Clips `(B, T, 3, H, W)` to maps `(B, T, C, h, w)`."""
        frames = pixel_values.flatten(0, 1)
        if frames.device.type == "cpu":
            # With the channels of a pixel side by side, all convolutions take about half the time there.
            frames = frames.contiguous(memory_format=torch.channels_last)
        x = self.spatial(frames).unflatten(0, pixel_values.shape[:2])
        x = self.temporal(x).flatten(0, 1)
        return _relu(self.norm(x)).unflatten(0, pixel_values.shape[:2])


class PooledConvolution(nn.Linear):
    """A 1x1x1 convolution on a map of one place: a linear layer with the start of a convolution."""

    def reset_parameters(self) -> None:
        """Draws the weights, and sets the biases to 0."""
        draw(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class SqueezeExcitation(nn.Module):
    """Gate per channel from the mean over frames and space (Hu et al. 2018, https://arxiv.org/abs/1709.01507)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.reduce = PooledConvolution(channels, hidden)
        self.expand = PooledConvolution(hidden, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, C, h, w)` to the same shape."""
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(x.mean((1, 3, 4))))))  # (B, C)
        return x * gate[:, None, :, None, None]


class X3DBlock(nn.Module):
    """
    Inverted bottleneck: 1x1 convolution that expands, channel-wise 3x3x3 convolution, squeeze-and-excitation in every
    other block, swish, 1x1 convolution that projects; added to a shortcut.
    """

    def __init__(self, channels_in: int, channels: int, inner: int, stride: int, hidden: int | None):
        super().__init__()
        self.expand = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.expand_norm = GlobalBatchNorm(inner)
        self.channelwise = TemporalConvolution(inner, (3, 3), stride)
        self.channelwise_norm = GlobalBatchNorm(inner)
        self.squeeze_excitation = nn.Identity() if hidden is None else SqueezeExcitation(inner, hidden)
        self.project = nn.Conv2d(inner, channels, 1, bias=False)
        self.project_norm = GlobalBatchNorm(channels, start=0.0)
        self.drop_path = nn.Identity()
        changes = channels_in != channels
        self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False) if changes or stride > 1 else None
        self.shortcut_norm = GlobalBatchNorm(channels) if changes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, C_in, h, w)` to `(B, T, C, h', w')`."""
        clips = x.shape[:2]
        shortcut = x.flatten(0, 1)
        branch = _relu(self.expand_norm(self.expand(shortcut))).unflatten(0, clips)
        branch = self.channelwise_norm(self.channelwise(branch).flatten(0, 1)).unflatten(0, clips)
        branch = F.silu(self.squeeze_excitation(branch), inplace=not torch.is_grad_enabled()).flatten(0, 1)
        branch = self.drop_path(self.project_norm(self.project(branch)).unflatten(0, clips))
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        if self.shortcut_norm is not None:
            shortcut = self.shortcut_norm(shortcut)
        return _relu(shortcut.unflatten(0, clips) + branch)


class X3DStage(GradientCheckpointingLayer):
    """A sequence of blocks, the first of which changes the size of the map."""

    def __init__(
        self, channels_in: int, channels: int, depth: int, stride: int, expansion: float, squeeze_ratio: float
    ):
        super().__init__()
        inner = int(channels * expansion)
        hidden = _squeezed(inner, squeeze_ratio)
        self.blocks = nn.ModuleList(
            X3DBlock(
                channels if index else channels_in,
                channels,
                inner,
                1 if index else stride,
                hidden if index % 2 == 0 else None,
            )
            for index in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, C_in, h, w)` to `(B, T, C, h', w')`."""
        for block in self.blocks:
            x = block(x)
        return x


class X3DFinish(nn.Module):
    """1x1 convolution, norm and ReLU after the last stage."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norm = GlobalBatchNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, C_in, h, w)` to `(B, T, C, h, w)`."""
        return _relu(self.norm(self.convolution(x.flatten(0, 1)))).unflatten(0, x.shape[:2])


class X3DPooling(nn.Module):
    """Mean over the map, a linear layer without bias, and ReLU."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.linear = PooledConvolution(channels_in, channels, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, T*h*w, C_in)` to `(B, C)`."""
        return F.relu(self.linear(hidden_states.mean(1)))


__all__ = ["PooledConvolution", "TemporalConvolution", "X3DFinish", "X3DPooling", "X3DStage", "X3DStem", "draw"]
