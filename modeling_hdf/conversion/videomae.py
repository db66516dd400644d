"""Original VideoMAE checkpoints (`.pth`).

The original code (https://github.com/MCG-NJU/VideoMAE) holds query, key and value in one matrix, has biases only for
query and value, and normalises with an epsilon of 1e-6. transformers has the same arithmetic under other names, except
two norms with a fixed epsilon of 1e-5: the norm before a classifier of pooled tokens, and the decoder's last norm.
"""

import argparse
import re

import torch
from transformers import (
    PreTrainedModel,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
)
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

from .options import ConversionOptions, check_count, label_fields, usual_size
from .original import check_names_and_shapes, refuse_other_architectures, weight_named

# Heads by width, where a head does not have 64 channels: ViT-H, ViT-g, and the decoder of ViT-H.
_HEADS = {1280: 16, 1408: 16, 640: 8}

_MODELS = {
    "pretraining": VideoMAEForPreTraining,
    "classification": VideoMAEForVideoClassification,
    "encoder": VideoMAEModel,
}

# Original name: name in transformers; both without the prefix of encoder or decoder.
_BLOCK_NAMES = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.q_bias": "attention.attention.query.bias",
    "attn.v_bias": "attention.attention.value.bias",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_ENCODER_NAMES = {"patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm"}


def build_converted(
    weights: dict[str, torch.Tensor], arguments: argparse.Namespace, options: ConversionOptions
) -> PreTrainedModel:
    """The transformers model with the given original weights; see [`convert_checkpoint`]."""
    refuse_other_architectures(weights)
    if "encoder.patch_embed.proj.weight" in weights and "encoder_to_decoder.weight" not in weights:
        weights = {name.removeprefix("encoder."): value for name, value in weights.items()}
    kind = "encoder" if "head.weight" not in weights else "classification"
    kind = "pretraining" if "encoder_to_decoder.weight" in weights else kind
    config = infer_config(weights, kind, arguments, options)
    weights = _without_position_tables(weights, config)
    converted = converted_weights(weights, kind)
    dtypes = {value.dtype for value in weights.values()}
    model = _MODELS[kind](config).to(dtypes.pop() if len(dtypes) == 1 else torch.float32)
    check_names_and_shapes(converted, model, weights)
    model.load_state_dict({name: value for name, (value, _) in converted.items()})
    return model


def infer_config(
    weights: dict[str, torch.Tensor], kind: str, arguments: argparse.Namespace, options: ConversionOptions
) -> VideoMAEConfig:
    """The configuration that fits the shapes; `kind` is `"pretraining"`, `"classification"` or `"encoder"`."""
    encoder = "encoder." if kind == "pretraining" else ""
    patches = weight_named(weights, f"{encoder}patch_embed.proj.weight")
    width, channels, tubelet, patch, patch_width = patches.shape
    if patch != patch_width:
        raise ValueError(f"patches are {patch} x {patch_width}; only square ones can be converted.")
    stored = vars(arguments)
    image_size = usual_size(options.image_size, "--image-size", stored, "input_size", 224)
    num_frames = usual_size(options.num_frames, "--num-frames", stored, "num_frames", 16)
    for name, value, step in (("image size", image_size, patch), ("number of frames", num_frames, tubelet)):
        if value % step:
            raise ValueError(f"the {name} is {value}, which is no multiple of {step}, the size of a patch.")
    fields = {
        "hidden_size": width,
        "num_channels": channels,
        "tubelet_size": tubelet,
        "patch_size": patch,
        "image_size": image_size,
        "num_frames": num_frames,
        "num_hidden_layers": _num_blocks(weights, encoder),
        "intermediate_size": len(weight_named(weights, f"{encoder}blocks.0.mlp.fc1.weight")),
        "num_attention_heads": _heads(width, options.num_attention_heads, "--heads"),
        "qv_bias": f"{encoder}blocks.0.attn.q_bias" in weights,
        "layer_norm_eps": 1e-6,
        # The encoder ends in a norm if the first token or the decoder takes its output, not the mean of its tokens.
        "use_mean_pooling": f"{encoder}norm.weight" not in weights,
    }
    if kind == "pretraining":
        fields |= _decoder_fields(weights, options)
        fields["norm_pix_loss"] = stored.get("normlize_target", True)  # the original code spells it so
    elif options.decoder_num_attention_heads is not None:
        raise ValueError("there is no decoder, so --decoder-heads has no meaning.")
    if kind == "classification":
        fields |= label_fields(len(weights["head.weight"]), options.labels)
    elif options.labels is not None:
        raise ValueError("there is no classifier, so --labels has no meaning.")
    return VideoMAEConfig(**fields)


def _decoder_fields(weights: dict[str, torch.Tensor], options: ConversionOptions) -> dict:
    width = len(weights["encoder_to_decoder.weight"])
    return {
        "decoder_hidden_size": width,
        "decoder_num_hidden_layers": _num_blocks(weights, "decoder."),
        "decoder_intermediate_size": len(weight_named(weights, "decoder.blocks.0.mlp.fc1.weight")),
        "decoder_num_attention_heads": _heads(width, options.decoder_num_attention_heads, "--decoder-heads"),
    }


def _num_blocks(weights: dict[str, torch.Tensor], prefix: str) -> int:
    numbers = [re.match(rf"{re.escape(prefix)}blocks\.(\d+)\.", name) for name in weights]
    return 1 + max((int(number[1]) for number in numbers if number), default=0)


def _heads(width: int, given: int | None, option: str) -> int:
    heads = _HEADS.get(width, width // 64 if width % 64 == 0 else None)
    if given is not None:
        check_count(given, option)
        heads = given
    if heads is None:
        raise ValueError(f"the usual 64 channels per head do not divide a width of {width}: give {option}.")
    if width % heads:
        raise ValueError(f"{option} is {heads}, which does not divide the width of {width}.")
    return heads


def _without_position_tables(weights: dict[str, torch.Tensor], config: VideoMAEConfig) -> dict[str, torch.Tensor]:
    """The weights without position tables, after a check that these equal the fixed tables of transformers."""
    num_tokens = config.num_frames // config.tubelet_size * (config.image_size // config.patch_size) ** 2
    rest = dict(weights)
    for name in ("encoder.pos_embed", "pos_embed"):
        if name not in rest:
            continue
        table = rest.pop(name)
        if table.ndim != 3 or table.shape[1] != num_tokens:
            raise ValueError(
                f"{name!r} has the shape {tuple(table.shape)}, but {config.num_frames} frames of {config.image_size} "
                f"pixels are {num_tokens} tokens: give --num-frames and --image-size."
            )
        expected = get_sinusoid_encoding_table(num_tokens, table.shape[2])
        tolerance = 1e-6 if table.dtype in (torch.float32, torch.float64) else 4e-3
        if not torch.allclose(table.float(), expected, rtol=0, atol=tolerance):
            raise ValueError(f"{name!r} is a learned position table; transformers' VideoMAE has the fixed one alone.")
    return rest


def converted_weights(weights: dict[str, torch.Tensor], kind: str) -> dict[str, tuple[torch.Tensor, str]]:
    """
    Weights under the names of transformers, each with its original name. Unknown weights keep their names.
    """
    converted = {}
    for name, value in weights.items():
        new_name = _converted_name(name, kind)
        if new_name.endswith(".qkv.weight"):
            if len(value) % 3:
                raise ValueError(f"{name!r} has {len(value)} rows, no multiple of 3 for query, key and value.")
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                converted[new_name.replace(".qkv.", f".{part}.")] = rows, name
        else:
            converted[new_name] = value, name
    return converted


def _converted_name(name: str, kind: str) -> str:
    stem, _, leaf = name.rpartition(".")
    is_decoder = kind == "pretraining" and name.startswith("decoder.")
    if kind == "pretraining" and not name.startswith(("encoder.", "decoder.")):
        return name  # the mask token and the map from encoder to decoder
    stem = stem.removeprefix("encoder.").removeprefix("decoder.")
    prefix = "decoder." if is_decoder else "" if kind == "encoder" else "videomae."
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", f"{stem}.{leaf}" if leaf in ("q_bias", "v_bias") else stem)
    if block is not None:
        layers = "decoder_layers" if is_decoder else "encoder.layer"
        if block[2] == "attn.qkv":
            return f"{prefix}{layers}.{block[1]}.attention.attention.qkv.{leaf}"
        if block[2] not in _BLOCK_NAMES:
            return name
        new_leaf = "" if leaf in ("q_bias", "v_bias") else f".{leaf}"
        return f"{prefix}{layers}.{block[1]}.{_BLOCK_NAMES[block[2]]}{new_leaf}"
    if is_decoder:
        return name  # its last norm and its head
    if stem in _ENCODER_NAMES:
        return f"{prefix}{_ENCODER_NAMES[stem]}.{leaf}"
    return {"fc_norm": f"fc_norm.{leaf}", "head": f"classifier.{leaf}"}.get(stem, name)


__all__ = ["build_converted", "converted_weights", "infer_config"]
