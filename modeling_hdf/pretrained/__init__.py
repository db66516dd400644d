"""The checkpoint that ships with the package, trained on rendered faces alone: to try things without a download, and
to start from. It says nothing about real faces; see its card, `hdf-tiny-synthetic/README.md`."""

from pathlib import Path

SHIPPED = "hdf-tiny-synthetic"
TINY_SYNTHETIC = str(Path(__file__).parent / SHIPPED)


def checkpoint_path(name_or_path: str) -> str:
    """The folder of the checkpoint that ships for its name, `hdf-tiny-synthetic`; any other name or path as it is."""
    return TINY_SYNTHETIC if name_or_path == SHIPPED else name_or_path


__all__ = ["SHIPPED", "TINY_SYNTHETIC", "checkpoint_path"]
