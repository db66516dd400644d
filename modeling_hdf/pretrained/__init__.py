"""The checkpoints that ship with the package. The card of each, `<name>/README.md`, says how right it is, and on what.

- `hdf-small-faces` reads real faces. It was trained on pictures of the web; see the terms in its card.
- `hdf-tiny-synthetic` was trained on rendered faces alone. It is for trials, tests and fine-tuning.
"""

from pathlib import Path

SHIPPED = {name: str(Path(__file__).parent / name) for name in ("hdf-small-faces", "hdf-tiny-synthetic")}
SMALL_FACES = SHIPPED["hdf-small-faces"]
TINY_SYNTHETIC = SHIPPED["hdf-tiny-synthetic"]
RAW_VIDEO_MODEL = "hdf-small-faces"  # the default of `hdf predict` and `analyze`


def checkpoint_path(name_or_path: str) -> str:
    """The folder of a shipped checkpoint for its name; any other name or path unchanged."""
    return SHIPPED.get(name_or_path, name_or_path)


def shipped_name(name_or_path: str) -> str | None:
    """The name of a shipped checkpoint for its name or folder; None for all else."""
    path = Path(checkpoint_path(name_or_path)).resolve()
    return next((name for name, folder in SHIPPED.items() if path == Path(folder).resolve()), None)


__all__ = ["RAW_VIDEO_MODEL", "SHIPPED", "SMALL_FACES", "TINY_SYNTHETIC", "checkpoint_path", "shipped_name"]
