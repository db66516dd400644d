"""What all backbones share.

A backbone turns a clip into a feature map of shape `(B, T, h, w, C)` in several layers. HDF runs the backbone's own
modules and puts a DAM between some of them. To add a backbone, add a file like `videomae_hdf.py` and an entry in
`BACKBONES` of `configuration_hdf.py`.
"""

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD


def as_pair(size: int | list[int] | tuple[int, int], name: str = "size") -> tuple[int, int]:
    """`(height, width)` from an image or patch size given as one or two positive whole numbers.

    Raises:
        ValueError: for anything else.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (list, tuple)) else ()
    if len(pair) != 2 or not all(isinstance(edge, int) and edge > 0 for edge in pair):
        raise ValueError(f"`{name}` is {size!r}; it must be one positive whole number or two (height, width).")
    return pair


class DropPath(nn.Module):
    """
    Stochastic depth (https://arxiv.org/abs/1603.09382): in training, sets each sample of a residual branch to zero
    with probability `rate` (at least 0, below 1) and divides the other samples by `1 - rate`. The identity in
    evaluation.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """Maps a branch `(B, ...)` to the same shape."""
        if not self.training:
            return branch
        kept = branch.new_empty(len(branch), *[1] * (branch.ndim - 1)).bernoulli_(1 - self.rate)
        return branch * kept / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class Backbone:
    """What is the same for every backbone. Subclasses say which classes of transformers they wrap, and how."""

    title: str  # what model cards call it
    takes_single_frames = False  # if so, it has `weights_on_neighbours`, which are 0 in a model that ignores motion
    # Mean and standard deviation by colour that its checkpoints are trained with, of pixels from 0 to 1.
    pixel_mean = IMAGENET_DEFAULT_MEAN
    pixel_std = IMAGENET_DEFAULT_STD

    @classmethod
    def feature_map_size(cls, config: PreTrainedConfig) -> tuple[int, int, int]:
        """Size `(T, h, w)` of the feature map after the last layer."""
        return cls.feature_map_sizes(config)[-1][:3]

    @classmethod
    def check_clips(cls, config: PreTrainedConfig, pixel_values: torch.Tensor) -> None:
        """Raises a `ValueError` if `pixel_values` is not of shape `(B, num_frames, num_channels, height, width)`, or
        holds whole numbers."""
        expected = (config.num_frames, config.num_channels, *as_pair(config.image_size))
        shape = tuple(pixel_values.shape[1:])
        if cls.takes_single_frames and shape[:1] == (1,):
            expected = (1, *expected[1:])
        if pixel_values.ndim != 5 or shape != expected:
            raise ValueError(
                f"`pixel_values` has shape {tuple(pixel_values.shape)}, but this model takes (batch, frames, "
                f"channels, height, width) = (batch, {', '.join(map(str, expected))}); "
                "prepare clips with its video processor."
            )
        if not pixel_values.is_floating_point():
            raise ValueError(
                f"`pixel_values` is of type {pixel_values.dtype}, but this model takes scaled and normalised colours: "
                "prepare clips with its video processor."
            )


__all__ = ["Backbone", "DropPath", "as_pair"]
