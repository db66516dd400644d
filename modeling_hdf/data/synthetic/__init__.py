"""Clips of a CC0 parametric face, rendered on your machine: for checking a pipeline, not for real faces."""
