"""Converts checkpoints of other code to folders that transformers loads."""

from .checkpoints import convert_checkpoint
from .options import ConversionOptions

__all__ = ["ConversionOptions", "convert_checkpoint"]
