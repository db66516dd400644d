"""A trained model on videos: loading it, and its probabilities."""

from .classifier import load_classifier

__all__ = ["load_classifier"]
