"""`hdf convert`: a checkpoint of other code as a transformers folder."""

import argparse

from ..conversion import ConversionOptions, convert_checkpoint
from .outcome import Outcome


def run(arguments: argparse.Namespace) -> Outcome:
    """Writes the folder and prints the assumed values."""
    options = ConversionOptions(
        num_attention_heads=arguments.heads,
        decoder_num_attention_heads=arguments.decoder_heads,
        image_size=arguments.image_size,
        num_frames=arguments.num_frames,
        labels=arguments.labels,
    )
    config = convert_checkpoint(arguments.source, arguments.out, options)
    if config.model_type == "videomae":
        size, assumed = f"layers of {config.hidden_size} channels, {config.num_attention_heads} heads", "heads, frames"
    else:
        size, assumed = f"stages of {list(config.stage_channels)} channels", "frames"
    print(
        f"{config.architectures[0]}: {config.num_hidden_layers} {size}, {config.num_frames} frames of "
        f"{config.image_size} pixels ({assumed} and pixels cannot be read from the weights: check them)"
    )
    print(f"wrote {arguments.out}; HDFForVideoClassification.from_backbone_pretrained starts from it")
    return Outcome({"folder": arguments.out, "architecture": config.architectures[0]})
