"""X3D as a backbone: the network of "X3D: Expanding Architectures for Efficient Video Recognition"
(Feichtenhofer 2020, https://arxiv.org/abs/2004.04730), on which the paper of HDF builds.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, ImageClassifierOutput

from .backbone_hdf import Backbone, DropPath, as_pair
from .batch_norm_hdf import GlobalBatchNorm
from .x3d_layers_hdf import PooledConvolution, TemporalConvolution, X3DFinish, X3DPooling, X3DStage, X3DStem, draw


@strict
class X3DConfig(PreTrainedConfig):
    r"""
    Configuration of an X3D backbone. The defaults are those of X3D-XS, X3D-S and X3D-M, which differ in their clips
    alone: 4 frames of 160 pixels, 13 of 160 and 16 of 224.

    Args:
        num_frames (`int`, defaults to 13): Frames of a clip. The network never merges frames.
        image_size (`int` or `list[int]`, defaults to 160): Height and width of a frame in pixels.
        num_channels (`int`, defaults to 3): Colour channels.
        stem_channels (`int`, defaults to 24): Channels after the stem.
        stage_channels (`list[int]`, defaults to `[24, 48, 96, 192]`): Channels after each stage.
        stage_depths (`list[int]`, defaults to `[3, 5, 11, 7]`): Blocks of each stage.
        stem_stride (`int`, defaults to 2): Spatial stride of the stem.
        stage_strides (`list[int]`, defaults to `[2, 2, 2, 2]`): Spatial stride of the first block of each stage.
        stem_kernel (`int`, defaults to 5): Frames that the stem's temporal convolution spans; odd.
        expansion (`float`, defaults to 2.25): Channels within a block, as a multiple of the stage's.
        squeeze_ratio (`float`, defaults to 0.0625): Channels of squeeze-and-excitation, as a share of the block's;
            rounded to multiples of 8. It stands in every other block, from the first of each stage.
        head_channels (`int`, defaults to 2048): Size of the pooled features.
        initializer_range (`float`, defaults to 0.01): Standard deviation of the start of the classifier.

    Raises:
        huggingface_hub.errors.StrictDataclassError: for values of a wrong type or out of range.
    """

    model_type = "hdf_x3d"

    num_frames: int = 13
    image_size: int | list[int] | tuple[int, int] = 160
    num_channels: int = 3
    stem_channels: int = 24
    stage_channels: list[int] | tuple[int, ...] = (24, 48, 96, 192)
    stage_depths: list[int] | tuple[int, ...] = (3, 5, 11, 7)
    stem_stride: int = 2
    stage_strides: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    stem_kernel: int = 5
    expansion: float | int = 2.25
    squeeze_ratio: float | int = 0.0625
    head_channels: int = 2048
    initializer_range: float | int = 0.01

    def validate_architecture(self):
        """Checks that the fields are in range and that the lists have one entry per stage."""
        super().validate_architecture()
        names = ("num_frames", "num_channels", "stem_channels", "stem_stride", "stem_kernel", "head_channels")
        numbers = {name: getattr(self, name) for name in (*names, "expansion", "squeeze_ratio")}
        for name in ("stage_channels", "stage_depths", "stage_strides"):
            if len(getattr(self, name)) != max(1, len(self.stage_channels)):
                raise ValueError(
                    f"`{name}` is {getattr(self, name)} and `stage_channels` is {self.stage_channels}; give one entry "
                    "per stage, and at least one stage."
                )
            numbers |= {f"{name}[{index}]": value for index, value in enumerate(getattr(self, name))}
        for name, value in numbers.items():
            if value <= 0:
                raise ValueError(f"`{name}` is {value}; it must be above 0.")
        if self.stem_kernel % 2 == 0:
            raise ValueError(f"`stem_kernel` is {self.stem_kernel}; it must be odd.")
        as_pair(self.image_size, "image_size")

    @property
    def hidden_size(self) -> int:
        """Channels of the map after the last convolution."""
        return int(self.stage_channels[-1] * self.expansion)

    @property
    def num_hidden_layers(self) -> int:
        """Number of stages."""
        return len(self.stage_channels)


class X3DPreTrainedModel(PreTrainedModel):
    """Weight initialisation of the X3D models."""

    config_class = X3DConfig
    base_model_prefix = "x3d"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["X3DStem", "X3DStage"]
    # There is no attention to implement, so every implementation that a user asks for is right.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        # As the authors train X3D.
        if isinstance(module, (TemporalConvolution, PooledConvolution)):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d):
            draw(module.weight)
        elif isinstance(module, GlobalBatchNorm):
            init.constant_(module.weight, module.start)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)
        elif module is getattr(self, "classifier", None):
            init.normal_(module.weight, std=self.config.initializer_range)
            init.zeros_(module.bias)


class X3DModel(X3DPreTrainedModel):
    """
    X3D without its head.

    Args:
        config ([`X3DConfig`]): configuration of the network.
    """

    def __init__(self, config: X3DConfig):
        super().__init__(config)
        self.stem = X3DStem(config.num_channels, config.stem_channels, config.stem_kernel, config.stem_stride)
        inputs = (config.stem_channels, *config.stage_channels[:-1])
        sizes = zip(inputs, config.stage_channels, config.stage_depths, config.stage_strides, strict=True)
        self.stages = nn.ModuleList(X3DStage(*size, config.expansion, config.squeeze_ratio) for size in sizes)
        self.finish = X3DFinish(config.stage_channels[-1], config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The stem."""
        return self.stem

    def forward(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutput:
        """Clips `(B, T, 3, H, W)` to `last_hidden_state` `(B, T*h*w, hidden_size)`."""
        x = self.stem(pixel_values)
        for stage in self.stages:
            x = stage(x)
        return BaseModelOutput(last_hidden_state=self.finish(x).permute(0, 1, 3, 4, 2).flatten(1, 3))


class X3DForVideoClassification(X3DPreTrainedModel):
    """
    X3D with its head, as Kinetics checkpoints hold it.

    Args:
        config ([`X3DConfig`]): configuration of the network; `num_labels` classes.
    """

    def __init__(self, config: X3DConfig):
        super().__init__(config)
        self.x3d = X3DModel(config)
        self.fc_norm = X3DPooling(config.hidden_size, config.head_channels)
        self.classifier = nn.Linear(config.head_channels, config.num_labels)
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs
    ) -> ImageClassifierOutput:
        """Clips `(B, T, 3, H, W)` to `logits` `(B, num_labels)`, and with `labels` `(B,)` to the cross-entropy."""
        logits = self.classifier(self.fc_norm(self.x3d(pixel_values).last_hidden_state))
        return ImageClassifierOutput(loss=None if labels is None else F.cross_entropy(logits, labels), logits=logits)


class X3DBackbone(Backbone):
    """X3D as a sequence of stages. Between them, hidden states are maps `(B, T, C, h, w)`."""

    title = "X3D"
    model_class = X3DModel
    classifier_class = X3DForVideoClassification
    no_split_modules = X3DPreTrainedModel._no_split_modules
    takes_single_frames = True
    pixel_mean = [0.45, 0.45, 0.45]  # as pytorchvideo and SlowFast train it
    pixel_std = [0.225, 0.225, 0.225]

    @staticmethod
    def feature_map_sizes(config: X3DConfig) -> list[tuple[int, int, int, int]]:
        """Size `(T, h, w, C)` of the feature map after each stage."""
        height, width = (-(-edge // config.stem_stride) for edge in as_pair(config.image_size, "image_size"))
        sizes = []
        for stride, channels in zip(config.stage_strides, config.stage_channels, strict=True):
            height, width = -(-height // stride), -(-width // stride)
            sizes.append((config.num_frames, height, width, channels))
        return sizes

    @staticmethod
    def prepare_for_new_head(config: X3DConfig) -> None:
        """Nothing: the pooling is the same for every checkpoint."""

    @staticmethod
    def weights_on_neighbours(backbone: X3DModel) -> list[torch.Tensor]:
        """The weights by which a frame looks at others, as views."""
        layers = (module for module in backbone.modules() if isinstance(module, TemporalConvolution))
        return [weights for layer in layers for weights in layer.weights_on_neighbours()]

    @staticmethod
    def stem(backbone: X3DModel) -> nn.Module:
        """The module below the first stage."""
        return backbone.stem

    @staticmethod
    def embed(backbone: X3DModel, pixel_values: torch.Tensor) -> torch.Tensor:
        """Clips `(B, T, 3, H, W)` to maps `(B, T, C, h, w)`."""
        return backbone.stem(pixel_values)

    @staticmethod
    def layers(backbone: X3DModel) -> nn.ModuleList:
        """The stages, each a map from `(B, T, C_in, h_in, w_in)` to `(B, T, C, h, w)`."""
        return backbone.stages

    @staticmethod
    def feature_map(config: X3DConfig, hidden_states: torch.Tensor) -> torch.Tensor:
        """Maps `(B, T, C, h, w)` viewed as `(B, T, h, w, C)`."""
        return hidden_states.permute(0, 1, 3, 4, 2)

    @staticmethod
    def from_feature_map(feature_map: torch.Tensor) -> torch.Tensor:
        """The feature map `(B, T, h, w, C)` viewed as `(B, T, C, h, w)`."""
        return feature_map.permute(0, 1, 4, 2, 3)

    @classmethod
    def add_drop_path(cls, backbone: X3DModel, rate: float) -> None:
        """Puts [`DropPath`] at the end of each block's branch, at rates that grow evenly from 0 in the first block to
        `rate` in the last."""
        blocks = [block for stage in backbone.stages for block in stage.blocks]
        for index, block in enumerate(blocks):
            block.drop_path = DropPath(rate * index / max(1, len(blocks) - 1))

    @staticmethod
    def finish(backbone: X3DModel, hidden_states: torch.Tensor) -> torch.Tensor:
        """The last convolution: maps `(B, T, C, h, w)` to `(B, T, hidden_size, h, w)`."""
        return backbone.finish(hidden_states)

    @staticmethod
    def feature_size(config: X3DConfig) -> int:
        """Size of the pooled features."""
        return config.head_channels

    @staticmethod
    def pooling_norm(config: X3DConfig) -> nn.Module:
        """The pooling of X3D's own classifier."""
        return X3DPooling(config.hidden_size, config.head_channels)

    @staticmethod
    def pool(norm: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens `(B, T*h*w, hidden_size)` to features `(B, head_channels)`."""
        return norm(hidden_states)


AutoConfig.register(X3DConfig.model_type, X3DConfig, exist_ok=True)
AutoModel.register(X3DConfig, X3DModel, exist_ok=True)
AutoModelForVideoClassification.register(X3DConfig, X3DForVideoClassification, exist_ok=True)

__all__ = ["X3DBackbone", "X3DConfig", "X3DForVideoClassification", "X3DModel"]
