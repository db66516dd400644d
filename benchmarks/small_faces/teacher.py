"""The teacher of the checkpoint for real faces: a larger network, for stills alone, that never ships."""

import torch
from torch import nn
from torchvision.models import resnet18
from transformers.modeling_outputs import ImageClassifierOutput

from modeling_hdf import HDFConfig


class Teacher(nn.Module):
    """ResNet-18 (He et al. 2016, https://arxiv.org/abs/1512.03385) for pictures of some 48 pixels: its first
    convolution is 3 x 3 with stride 1, and nothing is pooled before its first stage."""

    def __init__(self, config: HDFConfig):
        super().__init__()
        self.config = config
        self.network = resnet18(num_classes=config.num_labels)
        self.network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.network.maxpool = nn.Identity()
        self.to(memory_format=torch.channels_last)

    def forward(self, clips: torch.Tensor) -> ImageClassifierOutput:
        """Clips `(B, T, 3, H, W)` to `logits` `(B, 7)`, from the frame in the middle."""
        frames = clips[:, clips.shape[1] // 2].contiguous(memory_format=torch.channels_last)
        return ImageClassifierOutput(logits=self.network(frames))


__all__ = ["Teacher"]
