"""X3D checkpoints that pytorchvideo published (`X3D_XS.pyth`, `X3D_S.pyth`, `X3D_M.pyth`).

pytorchvideo (https://github.com/facebookresearch/pytorchvideo) has the same arithmetic under other names, with 3-D
convolutions of one frame where [`X3DModel`] has 2-D ones, and 1x1x1 convolutions where it has linear layers. Its names
of the stem's two convolutions are swapped: `conv_t` is the spatial one.
"""

import re

import torch

from ..x3d_hdf import X3DConfig, X3DForVideoClassification
from .options import ConversionOptions, label_fields, usual_size
from .original import check_names_and_shapes, weight_named

_STEM_NAMES = {"conv.conv_t": "x3d.stem.spatial", "conv.conv_xy": "x3d.stem.temporal", "norm": "x3d.stem.norm"}
_BLOCK_NAMES = {
    "branch1_conv": "shortcut",
    "branch1_norm": "shortcut_norm",
    "branch2.conv_a": "expand",
    "branch2.norm_a": "expand_norm",
    "branch2.conv_b": "channelwise",
    "branch2.norm_b.0": "channelwise_norm",
    "branch2.norm_b.1.block.0": "squeeze_excitation.reduce",
    "branch2.norm_b.1.block.2": "squeeze_excitation.expand",
    "branch2.conv_c": "project",
    "branch2.norm_c": "project_norm",
}
_HEAD_NAMES = {
    "pool.pre_conv": "x3d.finish.convolution",
    "pool.pre_norm": "x3d.finish.norm",
    "pool.post_conv": "fc_norm.linear",
    "proj": "classifier",
}


def is_x3d(weights: dict[str, torch.Tensor]) -> bool:
    """Whether weights under their original names are those of an X3D of pytorchvideo."""
    return any(re.fullmatch(r"blocks\.\d+\.(conv\.conv_xy|pool\.pre_conv)\.weight", name) for name in weights)


def build_converted(weights: dict[str, torch.Tensor], options: ConversionOptions) -> X3DForVideoClassification:
    """The X3D with the given original weights.

    Raises:
        ValueError: if weights are missing, unknown or of another shape, or an option does not fit. It names them.
    """
    config = infer_config(weights, options)
    dtypes = {value.dtype for value in weights.values() if value.is_floating_point()}
    model = X3DForVideoClassification(config).to(dtypes.pop() if len(dtypes) == 1 else torch.float32)
    expected = model.state_dict()
    converted = {}
    for name, value in weights.items():
        new_name = converted_name(name, config.num_hidden_layers)
        converted[new_name] = _without_axes(value, expected.get(new_name)), name
    for name in expected.keys() - converted.keys():
        if name.endswith(".num_batches_tracked"):  # a count that our norms only keep; older PyTorch wrote none
            converted[name] = torch.zeros_like(expected[name]), name
    check_names_and_shapes(converted, model, weights)
    model.load_state_dict({name: value for name, (value, _) in converted.items()})
    return model


def infer_config(weights: dict[str, torch.Tensor], options: ConversionOptions) -> X3DConfig:
    """The configuration that fits the shapes. Strides, which they do not show, are those of the published networks."""
    if options.num_attention_heads is not None or options.decoder_num_attention_heads is not None:
        raise ValueError("X3D has no attention, so --heads and --decoder-heads have no meaning.")
    depths = _depths(weights)
    stages = range(1, len(depths) + 1)
    channels, inner = (
        [len(weight_named(weights, f"blocks.{stage}.res_blocks.0.branch2.{layer}.weight")) for stage in stages]
        for layer in ("conv_c", "conv_a")
    )
    head = f"blocks.{len(depths) + 1}"  # after the stem, block 0, and the stages
    temporal = weight_named(weights, "blocks.0.conv.conv_xy.weight")
    return X3DConfig(
        num_frames=usual_size(options.num_frames, "--num-frames", {}, "", 13),
        image_size=usual_size(options.image_size, "--image-size", {}, "", 160),
        num_channels=weight_named(weights, "blocks.0.conv.conv_t.weight").shape[1],
        stem_channels=len(temporal),
        stem_kernel=temporal.shape[2],
        stage_channels=channels,
        stage_depths=depths,
        stage_strides=[2] * len(depths),
        expansion=inner[0] / channels[0],
        head_channels=len(weight_named(weights, f"{head}.pool.post_conv.weight")),
        **label_fields(len(weight_named(weights, f"{head}.proj.weight")), options.labels),
    )


def _depths(weights: dict[str, torch.Tensor]) -> list[int]:
    """Blocks of each stage, by the numbers in the names."""
    depths: dict[int, int] = {}
    for name in weights:
        match = re.match(r"blocks\.(\d+)\.res_blocks\.(\d+)\.", name)
        if match:
            stage, block = int(match[1]), int(match[2])
            depths[stage] = max(depths.get(stage, 0), block + 1)
    if sorted(depths) != list(range(1, len(depths) + 1)):
        raise ValueError(f"the stages with weights are {sorted(depths)}; they must count from 1 without a gap.")
    return [depths[stage] for stage in sorted(depths)]


def converted_name(name: str, num_stages: int) -> str:
    """The new name of a weight; an unknown weight keeps its name."""
    match = re.fullmatch(r"blocks\.(\d+)\.(?:res_blocks\.(\d+)\.)?(.+)\.(\w+)", name)
    if match is None:
        return name
    number, block, layer, leaf = int(match[1]), match[2], match[3], match[4]
    if block is not None and layer in _BLOCK_NAMES:
        return f"x3d.stages.{number - 1}.blocks.{block}.{_BLOCK_NAMES[layer]}.{leaf}"
    names = {0: _STEM_NAMES, num_stages + 1: _HEAD_NAMES}.get(number, {})
    return f"{names[layer]}.{leaf}" if block is None and layer in names else name


def _without_axes(value: torch.Tensor, expected: torch.Tensor | None) -> torch.Tensor:
    """The value without the axes of length 1 that the expected weight lacks; as it is if they differ in others."""
    if expected is None or [n for n in value.shape if n > 1] != [n for n in expected.shape if n > 1]:
        return value
    return value.reshape(expected.shape)


__all__ = ["build_converted", "converted_name", "infer_config", "is_x3d"]
