"""`hdf convert`."""

import argparse
from typing import Any

from ..conversion.videomae import ConversionOptions, convert_checkpoint


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def add_convert_parser(commands: Any) -> None:
    """Adds `convert` to the commands of `hdf`."""
    parser = commands.add_parser(
        "convert",
        help="turn an original VideoMAE checkpoint (.pth) into a transformers folder",
        description="Reads a pretraining or fine-tuned checkpoint of a plain ViT in the format of the original "
        "VideoMAE code, without unpickling it, and writes weights (safetensors), configuration and preprocessing. "
        "Every weight is used, or the command stops and names it. What their shapes do not tell can be given.",
    )
    parser.add_argument("source", help="the .pth file")
    parser.add_argument("out", help="folder to write; must be empty or not exist")
    parser.add_argument("--heads", type=int, help="attention heads; default: one per 64 channels, ViT-H and -g 16")
    parser.add_argument("--decoder-heads", type=int, help="the same for the decoder of a pretraining checkpoint")
    parser.add_argument("--image-size", type=int, help="pixels; default: as stored beside the weights, or 224")
    parser.add_argument("--num-frames", type=int, help="frames of a clip; default: as stored, or 16")
    parser.add_argument("--labels", type=_names, help="names of the classes, in the classifier's order, with commas")
    parser.set_defaults(func=convert)


def convert(arguments: argparse.Namespace) -> int:
    """`hdf convert`: writes the folder and says what it assumed."""
    options = ConversionOptions(
        num_attention_heads=arguments.heads,
        decoder_num_attention_heads=arguments.decoder_heads,
        image_size=arguments.image_size,
        num_frames=arguments.num_frames,
        labels=arguments.labels,
    )
    config = convert_checkpoint(arguments.source, arguments.out, options)
    print(
        f"{config.architectures[0]}: {config.num_hidden_layers} layers of {config.hidden_size} channels, "
        f"{config.num_attention_heads} heads, {config.num_frames} frames of {config.image_size} pixels "
        "(heads, frames and pixels cannot be read from the weights: check them)"
    )
    print(f"wrote {arguments.out}; HDFForVideoClassification.from_backbone_pretrained starts from it")
    return 0
