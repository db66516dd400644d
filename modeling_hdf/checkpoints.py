"""Which checkpoint folders are whole: every file of the save is there, with the size and the checksum it had.

The Trainer writes a checkpoint in place, `trainer_state.json` last, and deletes old ones file by file. Killed in
between, it leaves a folder that looks like a checkpoint. [`HDFTrainer`] therefore puts the list of the other files
into `trainer_state.json`: a folder is complete when that file can be read and all it lists is there.
"""

import json
import logging
import shutil
import zlib
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20  # bytes


class CheckpointError(ValueError):
    """A checkpoint folder that must not be used; the message says why, and what to do."""


class CheckpointFiles(TrainerCallback, ExportableState):
    """Puts the files of the checkpoint being written, `folder`, into its trainer state."""

    def __init__(self):
        self.folder: Path | None = None

    def state(self) -> dict:
        """What the checkpoint keeps: path in the folder to size in bytes and CRC-32."""
        paths = [] if self.folder is None else [path for path in self.folder.rglob("*") if path.is_file()]
        return {"args": {}, "attributes": {"files": self.describe(paths)}}

    def describe(self, paths: list[Path]) -> dict[str, dict[str, int]]:
        """Size in bytes and CRC-32 of files below `folder`."""
        return {
            path.relative_to(self.folder).as_posix(): {"size": path.stat().st_size, "crc32": checksum(path)}
            for path in sorted(paths)
            if path.name != TRAINER_STATE_NAME
        }


def checksum(path: Path) -> int:
    """CRC-32 of a file. It finds damage by accident, which is all that is asked of it, faster than a hash."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def read_trainer_state(folder: Path) -> dict:
    """The trainer state of a checkpoint. Raises a [`CheckpointError`] if the folder has none that can be read."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder.")
    path = folder / TRAINER_STATE_NAME
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. It is written last: a save or removal was cut off.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({error}): the save was cut off.") from error


def listed_files(folder: Path) -> dict[str, dict[str, int]] | None:
    """The files that a checkpoint must hold; `None` if another trainer has saved it. Raises a [`CheckpointError`]."""
    saved = read_trainer_state(folder)["stateful_callbacks"].get(CheckpointFiles.__name__)
    return None if saved is None else saved["attributes"]["files"]


def check_checkpoint(folder: str | Path) -> dict[str, dict[str, int]]:
    """
    Reads every file of a checkpoint and compares it with what was saved.

    Args:
        folder (`str` or `Path`): a `checkpoint-<step>` folder of [`HDFTrainer`].

    Returns:
        `dict`: its files: path in the folder to `size` in bytes and `crc32`.

    Raises:
        CheckpointError: naming the file that is missing or damaged.
    """
    folder = Path(folder)
    files = listed_files(folder)
    if not files:
        raise CheckpointError(
            f"{folder} was not saved by HDFTrainer: nothing in it says whether it is complete. Start from its weights "
            "with `from_pretrained` instead."
        )
    _check_sizes(folder, files)
    for name, expected in files.items():
        if checksum(folder / name) != expected["crc32"]:
            raise CheckpointError(f"{folder / name} is damaged: its content is not what was saved.")
    return files


def _check_sizes(folder: Path, files: dict[str, dict[str, int]]) -> None:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: the checkpoint is incomplete.")
        if path.stat().st_size != expected["size"]:
            raise CheckpointError(f"{path} is damaged: {path.stat().st_size} bytes, {expected['size']} were saved.")


def checkpoint_folders(output_dir: str | Path) -> list[Path]:
    """All folders named like a checkpoint, complete or not, the latest step first."""
    found = {}
    for path in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        step = path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        if step.isdecimal() and path.is_dir():
            found[int(step)] = path
    return [found[step] for step in sorted(found, reverse=True)]


def last_checkpoint(output_dir: str | Path) -> str | None:
    """
    The last complete checkpoint of a run, or `None`. Warns of each later folder that is not complete.

    Args:
        output_dir (`str` or `Path`): of the run; it need not exist.
    """
    for folder in checkpoint_folders(output_dir):
        try:
            check_checkpoint(folder)
        except CheckpointError as error:
            logger.warning("The checkpoint %s is not used: %s", folder, error)
        else:
            return str(folder)
    return None


def discard(folder: Path) -> None:
    """Removes a checkpoint, complete or not, so that at no moment it is complete and wrong."""
    if folder.is_dir():
        (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
        shutil.rmtree(folder)


def discard_torn(output_dir: str | Path) -> None:
    """Removes what a kill left of checkpoints. What another trainer has saved stays."""
    for folder in checkpoint_folders(output_dir):
        try:
            _check_sizes(folder, listed_files(folder) or {})
        except CheckpointError as error:
            logger.warning("The rest of the checkpoint %s is removed: %s", folder, error)
            discard(folder)


__all__ = ["CheckpointError", "CheckpointFiles", "check_checkpoint", "last_checkpoint"]
