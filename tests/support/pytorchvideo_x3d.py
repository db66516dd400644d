"""X3D written with PyTorch's 3-D layers alone, with the names of pytorchvideo's weights.

`create_x3d` of pytorchvideo 0.1.5 gave the same logits, loaded with the same weights (see `tests/conversion`).
"""

import torch
from torch import nn
from torch.nn import functional as F

KINETICS = {"stem": 24, "channels": (24, 48, 96, 192), "depths": (3, 5, 11, 7), "head": 2048, "num_labels": 400}
SMALL = {"stem": 16, "channels": (16, 32), "depths": (3, 2), "head": 20, "num_labels": 5}


class _Stem(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Module()
        self.conv.conv_t = nn.Conv3d(3, channels, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        self.conv.conv_xy = nn.Conv3d(channels, channels, (5, 1, 1), 1, (2, 0, 0), groups=channels, bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x):
        return F.relu(self.norm(self.conv.conv_xy(self.conv.conv_t(x))))


class _SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv3d(channels, hidden, 1), nn.ReLU(), nn.Conv3d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x):
        return x * self.block(F.adaptive_avg_pool3d(x, 1))


class _ResBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int, squeezed: bool):
        super().__init__()
        inner = int(2.25 * channels)
        hidden = {36: 8, 54: 8, 72: 8, 108: 8, 216: 16, 432: 32}[inner]  # as pytorchvideo rounds a sixteenth
        self.branch2 = nn.Module()
        self.branch2.conv_a = nn.Conv3d(channels_in, inner, 1, bias=False)
        self.branch2.norm_a = nn.BatchNorm3d(inner)
        self.branch2.conv_b = nn.Conv3d(inner, inner, 3, (1, stride, stride), 1, groups=inner, bias=False)
        gate = _SqueezeExcitation(inner, hidden) if squeezed else nn.Identity()
        self.branch2.norm_b = nn.Sequential(nn.BatchNorm3d(inner), gate)
        self.branch2.conv_c = nn.Conv3d(inner, channels, 1, bias=False)
        self.branch2.norm_c = nn.BatchNorm3d(channels)
        if channels_in != channels or stride > 1:
            self.branch1_conv = nn.Conv3d(channels_in, channels, 1, (1, stride, stride), bias=False)
        if channels_in != channels:
            self.branch1_norm = nn.BatchNorm3d(channels)

    def forward(self, x):
        branch = self.branch2
        y = F.relu(branch.norm_a(branch.conv_a(x)))
        y = F.silu(branch.norm_b(branch.conv_b(y)))
        y = branch.norm_c(branch.conv_c(y))
        x = self.branch1_conv(x) if hasattr(self, "branch1_conv") else x
        x = self.branch1_norm(x) if hasattr(self, "branch1_norm") else x
        return F.relu(x + y)


class _Stage(nn.Module):
    def __init__(self, channels_in: int, channels: int, depth: int):
        super().__init__()
        self.res_blocks = nn.ModuleList(
            _ResBlock(channels if index else channels_in, channels, 1 if index else 2, index % 2 == 0)
            for index in range(depth)
        )

    def forward(self, x):
        for block in self.res_blocks:
            x = block(x)
        return x


class _Head(nn.Module):
    def __init__(self, channels_in: int, channels: int, num_labels: int):
        super().__init__()
        inner = int(2.25 * channels_in)
        self.pool = nn.Module()
        self.pool.pre_conv = nn.Conv3d(channels_in, inner, 1, bias=False)
        self.pool.pre_norm = nn.BatchNorm3d(inner)
        self.pool.post_conv = nn.Conv3d(inner, channels, 1, bias=False)
        self.proj = nn.Linear(channels, num_labels)

    def forward(self, x):
        x = F.relu(self.pool.pre_norm(self.pool.pre_conv(x)))
        x = F.relu(self.pool.post_conv(F.adaptive_avg_pool3d(x, 1)))
        return self.proj(x.flatten(1))


class X3DReference(nn.Module):
    """Clips `(B, 3, T, H, W)` to logits `(B, num_labels)`."""

    def __init__(self, stem: int, channels: tuple, depths: tuple, head: int, num_labels: int):
        super().__init__()
        stages = [_Stage(*size) for size in zip((stem, *channels[:-1]), channels, depths, strict=True)]
        self.blocks = nn.ModuleList([_Stem(stem), *stages, _Head(channels[-1], head, num_labels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def randomize_layers(model: nn.Module) -> nn.Module:
    """Gives convolutions weights that keep the differences of clips, and batch norms gains, shifts and statistics."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                module.weight.uniform_(0.3, 0.9)
                module.bias.uniform_(-0.5, 0.5)
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 1.5)
                module.num_batches_tracked.fill_(7)
    return model
