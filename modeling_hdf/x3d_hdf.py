"""X3D as a backbone: the network of "X3D: Expanding Architectures for Efficient Video Recognition"
(Feichtenhofer 2020, https://arxiv.org/abs/2004.04730), on which the paper of HDF builds.

Frames are images to all layers but two kinds: the stem's temporal convolution, and the channel-wise 3x3x3 convolution
of each block. Both are written as one two-dimensional step per temporal tap, summed over shifted frames. That is the
same sum as a 3-D convolution, trains faster than one on a CPU, and costs a clip of one frame a single tap.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, ImageClassifierOutput

from .backbone_hdf import Backbone, DropPath, as_pair
from .batch_norm_hdf import GlobalBatchNorm, frozen_statistics


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
        numbers = {
            name: getattr(self, name) for name in ("num_frames", "num_channels", "stem_channels", "stem_stride")
        }
        numbers |= {name: getattr(self, name) for name in ("stem_kernel", "expansion", "squeeze_ratio")}
        numbers |= {"head_channels": self.head_channels}
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


def _squeezed(channels: int, ratio: float) -> int:
    """Channels of squeeze-and-excitation: the share rounded to a multiple of 8, at least 8, never below 90 %."""
    share = channels * ratio
    rounded = max(8, int(share + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * share else rounded


class TemporalConvolution(nn.Module):
    """
    Channel-wise convolution over frames and space, without bias, zero-padded in both:
    `y[t] = sum_k conv2d(x[t + k - K // 2], weight[:, :, k])`, `k = 0 ... K - 1`.

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
        """Draws the weights as for a ReLU of the same fan-out (He et al. 2015)."""
        init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, C, h, w)` to `(B, T, C, h', w')`, with any T."""
        steps, centre = x.shape[1], self.weight.shape[2] // 2
        y = self._tap(x, centre)
        for distance in range(1, min(centre, steps - 1) + 1):
            y[:, distance:] += self._tap(x, centre - distance)[:, :-distance]
            y[:, :-distance] += self._tap(x, centre + distance)[:, distance:]
        return y

    def _tap(self, x: torch.Tensor, k: int) -> torch.Tensor:
        weight = self.weight[:, :, k]
        padding = weight.shape[-1] // 2
        frames = F.conv2d(x.flatten(0, 1), weight, stride=self.stride, padding=padding, groups=len(weight))
        return frames.unflatten(0, x.shape[:2])


class X3DStem(nn.Module):
    """Spatial 3x3 convolution, channel-wise temporal convolution, norm and ReLU."""

    def __init__(self, config: X3DConfig):
        super().__init__()
        channels = config.stem_channels
        self.spatial = nn.Conv2d(config.num_channels, channels, 3, config.stem_stride, padding=1, bias=False)
        self.temporal = TemporalConvolution(channels, (config.stem_kernel, 1))
        self.norm = GlobalBatchNorm(channels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Clips `(B, T, 3, H, W)` to maps `(B, T, C, h, w)`."""
        x = self.spatial(pixel_values.flatten(0, 1)).unflatten(0, pixel_values.shape[:2])
        x = self.temporal(x).flatten(0, 1)
        return F.relu(self.norm(x)).unflatten(0, pixel_values.shape[:2])


class SqueezeExcitation(nn.Module):
    """Gate per channel from the mean over frames and space (Hu et al. 2018, https://arxiv.org/abs/1709.01507)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

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
        branch = F.relu(self.expand_norm(self.expand(shortcut))).unflatten(0, clips)
        branch = self.channelwise_norm(self.channelwise(branch).flatten(0, 1)).unflatten(0, clips)
        branch = F.silu(self.squeeze_excitation(branch)).flatten(0, 1)
        branch = self.drop_path(self.project_norm(self.project(branch)).unflatten(0, clips))
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        if self.shortcut_norm is not None:
            shortcut = self.shortcut_norm(shortcut)
        return F.relu(shortcut.unflatten(0, clips) + branch)


class X3DStage(GradientCheckpointingLayer):
    """A sequence of blocks, the first of which changes the size of the map."""

    def __init__(self, channels_in: int, channels: int, depth: int, stride: int, config: X3DConfig):
        super().__init__()
        inner = int(channels * config.expansion)
        hidden = _squeezed(inner, config.squeeze_ratio)
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

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # A checkpointed stage runs again in the backward pass, where its statistics must not be taken once more.
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(_FirstRunTakesStatistics(self), x)
        return nn.Module.__call__(self, x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, C_in, h, w)` to `(B, T, C, h', w')`."""
        for block in self.blocks:
            x = block(x)
        return x


class _FirstRunTakesStatistics:
    def __init__(self, stage: X3DStage):
        self.stage = stage
        self.again = False

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.again:
            with frozen_statistics(self.stage):
                return nn.Module.__call__(self.stage, x)
        self.again = True
        return nn.Module.__call__(self.stage, x)


class X3DFinish(nn.Module):
    """1x1 convolution, norm and ReLU after the last stage."""

    def __init__(self, config: X3DConfig):
        super().__init__()
        self.convolution = nn.Conv2d(config.stage_channels[-1], config.hidden_size, 1, bias=False)
        self.norm = GlobalBatchNorm(config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, C, h, w)` to `(B, T, hidden_size, h, w)`."""
        return F.relu(self.norm(self.convolution(x.flatten(0, 1)))).unflatten(0, x.shape[:2])


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
        initialize(module, self.config)


def initialize(module: nn.Module, config: X3DConfig) -> None:
    """Start values of one module: convolutions as for a ReLU of their fan-out, the last norm of each block 0, as the
    authors train X3D."""
    if isinstance(module, nn.Conv2d):
        init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, TemporalConvolution):
        module.reset_parameters()
    elif isinstance(module, GlobalBatchNorm):
        init.constant_(module.weight, module.start)
        init.zeros_(module.bias)
        init.zeros_(module.running_mean)
        init.ones_(module.running_var)
        init.zeros_(module.num_batches_tracked)
    elif isinstance(module, nn.Linear):
        init.normal_(module.weight, std=config.initializer_range)
        if module.bias is not None:
            init.zeros_(module.bias)


class X3DModel(X3DPreTrainedModel):
    """
    X3D without its head.

    Args:
        config ([`X3DConfig`]): configuration of the network.
    """

    def __init__(self, config: X3DConfig):
        super().__init__(config)
        self.stem = X3DStem(config)
        channels = (config.stem_channels, *config.stage_channels)
        sizes = zip(channels, config.stage_channels, config.stage_depths, config.stage_strides, strict=False)
        self.stages = nn.ModuleList(X3DStage(*size, config) for size in sizes)
        self.finish = X3DFinish(config)
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


class X3DPooling(nn.Module):
    """Mean over the map, a linear layer without bias, and ReLU."""

    def __init__(self, config: X3DConfig):
        super().__init__()
        self.linear = nn.Linear(config.hidden_size, config.head_channels, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, T*h*w, hidden_size)` to `(B, head_channels)`."""
        return F.relu(self.linear(hidden_states.mean(1)))


class X3DForVideoClassification(X3DPreTrainedModel):
    """
    X3D with its head, as Kinetics checkpoints hold it.

    Args:
        config ([`X3DConfig`]): configuration of the network; `num_labels` classes.
    """

    def __init__(self, config: X3DConfig):
        super().__init__(config)
        self.x3d = X3DModel(config)
        self.fc_norm = X3DPooling(config)
        self.classifier = nn.Linear(config.head_channels, config.num_labels)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **kwargs) -> ImageClassifierOutput:
        """Clips `(B, T, 3, H, W)` to `logits` `(B, num_labels)`."""
        hidden_states = self.x3d(pixel_values).last_hidden_state
        return ImageClassifierOutput(logits=self.classifier(self.fc_norm(hidden_states)))


class X3DBackbone(Backbone):
    """X3D as a sequence of stages. Between them, hidden states are maps `(B, T, C, h, w)`."""

    model_class = X3DModel
    classifier_class = X3DForVideoClassification
    no_split_modules = X3DPreTrainedModel._no_split_modules
    takes_single_frames = True

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
        return X3DPooling(config)

    @staticmethod
    def pool(norm: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens `(B, T*h*w, hidden_size)` to features `(B, head_channels)`."""
        return norm(hidden_states)


AutoConfig.register(X3DConfig.model_type, X3DConfig, exist_ok=True)

__all__ = ["X3DBackbone", "X3DConfig", "X3DForVideoClassification", "X3DModel"]
