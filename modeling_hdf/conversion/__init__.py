"""Converts checkpoints of other code to folders that transformers loads."""

from .videomae import ConversionOptions, convert_checkpoint

__all__ = ["ConversionOptions", "convert_checkpoint"]
