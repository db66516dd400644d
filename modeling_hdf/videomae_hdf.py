"""VideoMAE as a backbone: all code that is specific to VideoMAE.

A backbone turns a clip into a feature map of shape `(B, T, h, w, C)` in several layers. HDF runs the backbone's own
modules and puts a DAM between some of them. To add a backbone, add a file like this one and an entry in `BACKBONES` of
`configuration_hdf.py`.
"""

import torch
from torch import nn
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel


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


class VideoMAEBackbone:
    """VideoMAE (https://huggingface.co/papers/2203.12602) as a sequence of layers over a token map."""

    model_class = VideoMAEModel
    classifier_class = VideoMAEForVideoClassification
    no_split_modules = ["VideoMAEEmbeddings", "VideoMAELayer"]

    @staticmethod
    def feature_map_size(config: VideoMAEConfig) -> tuple[int, int, int]:
        """Size `(T, h, w)` of the feature map.

        Raises:
            ValueError: if `num_frames` is not a multiple of `tubelet_size`, or `image_size` of `patch_size`.
        """
        if config.tubelet_size < 1:
            raise ValueError(f"`tubelet_size` is {config.tubelet_size}; it must be at least 1.")
        if config.num_frames < 1 or config.num_frames % config.tubelet_size:
            raise ValueError(
                f"`num_frames` is {config.num_frames}, which is not a positive multiple of the backbone's "
                f"`tubelet_size` ({config.tubelet_size}); set `num_frames` to a multiple of it."
            )
        image, patch = as_pair(config.image_size, "image_size"), as_pair(config.patch_size, "patch_size")
        if image[0] % patch[0] or image[1] % patch[1]:
            raise ValueError(
                f"`image_size` is {config.image_size}, which is not a multiple of the backbone's "
                f"`patch_size` ({config.patch_size}); set `image_size` to a multiple of it."
            )
        return config.num_frames // config.tubelet_size, image[0] // patch[0], image[1] // patch[1]

    @staticmethod
    def prepare_for_new_head(config: VideoMAEConfig) -> None:
        """Sets the pooling to the mean of all tokens, as VideoMAE is fine-tuned. The published pretraining checkpoints
        would classify by one token, a corner of the first frames."""
        config.use_mean_pooling = True

    @staticmethod
    def check_clips(config: VideoMAEConfig, pixel_values: torch.Tensor) -> None:
        """Raises a `ValueError` if `pixel_values` is not of shape `(B, num_frames, num_channels, height, width)`."""
        expected = (config.num_frames, config.num_channels, *as_pair(config.image_size))
        if pixel_values.ndim != 5 or tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"`pixel_values` has shape {tuple(pixel_values.shape)}, but this model takes (batch, frames, "
                f"channels, height, width) = (batch, {', '.join(map(str, expected))}); "
                "prepare clips with its video processor."
            )

    @staticmethod
    def stem(backbone: VideoMAEModel) -> nn.Module:
        """The module below the first layer, with all weights of [`~VideoMAEBackbone.embed`]."""
        return backbone.embeddings

    @staticmethod
    def embed(backbone: VideoMAEModel, pixel_values: torch.Tensor) -> torch.Tensor:
        """Clips `(B, F, 3, H, W)` to tokens `(B, T*h*w, C)`, ordered so that they view as `(B, T, h, w, C)`."""
        return backbone.embeddings(pixel_values, None)

    @staticmethod
    def layers(backbone: VideoMAEModel) -> nn.ModuleList:
        """The layers, each a map from tokens `(B, T*h*w, C)` to tokens of the same shape."""
        return backbone.encoder.layer

    @classmethod
    def add_drop_path(cls, backbone: VideoMAEModel, rate: float) -> None:
        """Puts [`DropPath`] at the end of the attention and of the MLP of each layer, before their residual sums, at
        rates that grow evenly from 0 in the first layer to `rate` in the last."""
        layers = cls.layers(backbone)
        for index, layer in enumerate(layers):
            for branch in (layer.attention.output, layer.output):
                branch.dropout = nn.Sequential(branch.dropout, DropPath(rate * index / max(1, len(layers) - 1)))

    @staticmethod
    def finish(backbone: VideoMAEModel, hidden_states: torch.Tensor) -> torch.Tensor:
        """The backbone's step after its last layer: tokens `(B, T*h*w, C)` to tokens of the same shape."""
        return hidden_states if backbone.layernorm is None else backbone.layernorm(hidden_states)

    @staticmethod
    def pooling_norm(config: VideoMAEConfig) -> nn.Module | None:
        """The norm that the backbone's own classifier applies to mean-pooled features; None without mean pooling."""
        return nn.LayerNorm(config.hidden_size) if config.use_mean_pooling else None

    @staticmethod
    def pool(norm: nn.Module | None, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens `(B, T*h*w, C)` to features `(B, C)`, as the backbone's own classifier does."""
        return hidden_states[:, 0] if norm is None else norm(hidden_states.mean(1))


__all__ = ["DropPath", "VideoMAEBackbone", "as_pair"]
