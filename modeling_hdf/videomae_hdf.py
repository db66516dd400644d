"""VideoMAE as a backbone: all code that is specific to VideoMAE."""

import torch
from torch import nn
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

from .backbone_hdf import Backbone, DropPath, as_pair


class VideoMAEBackbone(Backbone):
    """VideoMAE (https://huggingface.co/papers/2203.12602) as a sequence of layers over a token map."""

    title = "VideoMAE"
    model_class = VideoMAEModel
    classifier_class = VideoMAEForVideoClassification
    no_split_modules = ["VideoMAEEmbeddings", "VideoMAELayer"]

    @staticmethod
    def feature_map_sizes(config: VideoMAEConfig) -> list[tuple[int, int, int, int]]:
        """Size `(T, h, w, C)` of the feature map after each layer: the same for all.

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
        steps = config.num_frames // config.tubelet_size
        size = (steps, image[0] // patch[0], image[1] // patch[1], config.hidden_size)
        return [size] * config.num_hidden_layers

    @staticmethod
    def prepare_for_new_head(config: VideoMAEConfig) -> None:
        """Sets the pooling to the mean of all tokens, as VideoMAE is fine-tuned. The published pretraining checkpoints
        would classify by one token, a corner of the first frames."""
        config.use_mean_pooling = True

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
    def feature_map(cls, config: VideoMAEConfig, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens `(B, T*h*w, C)` viewed as the feature map `(B, T, h, w, C)`."""
        return hidden_states.unflatten(1, cls.feature_map_size(config))

    @staticmethod
    def from_feature_map(feature_map: torch.Tensor) -> torch.Tensor:
        """The feature map `(B, T, h, w, C)` viewed as tokens `(B, T*h*w, C)`."""
        return feature_map.flatten(1, 3)

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
    def feature_size(config: VideoMAEConfig) -> int:
        """Size of the pooled features."""
        return config.hidden_size

    @staticmethod
    def pooling_norm(config: VideoMAEConfig) -> nn.Module | None:
        """The norm that the backbone's own classifier applies to mean-pooled features; None without mean pooling."""
        return nn.LayerNorm(config.hidden_size) if config.use_mean_pooling else None

    @staticmethod
    def pool(norm: nn.Module | None, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens `(B, T*h*w, C)` to features `(B, C)`, as the backbone's own classifier does."""
        return hidden_states[:, 0] if norm is None else norm(hidden_states.mean(1))


__all__ = ["VideoMAEBackbone"]
