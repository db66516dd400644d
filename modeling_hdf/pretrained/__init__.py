"""The checkpoint that ships with the package, for trials and fine-tuning without a download. It was trained on
rendered faces alone and does not work on real faces; see its card, `hdf-tiny-synthetic/README.md`."""

from pathlib import Path

SHIPPED = "hdf-tiny-synthetic"
TINY_SYNTHETIC = str(Path(__file__).parent / SHIPPED)
RAW_VIDEO_MODEL = SHIPPED  # the default of `hdf predict` and `analyze`


def checkpoint_path(name_or_path: str) -> str:
    """The folder of the shipped checkpoint for the name `hdf-tiny-synthetic`; any other name or path unchanged."""
    return TINY_SYNTHETIC if name_or_path == SHIPPED else name_or_path


__all__ = ["RAW_VIDEO_MODEL", "SHIPPED", "TINY_SYNTHETIC", "checkpoint_path"]
