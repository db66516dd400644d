"""Complete checkpoint folders: they hold every file of the save, with its original size and checksum.

The Trainer writes a checkpoint in place, `trainer_state.json` last. Killed in between, it leaves a folder that looks
like a checkpoint. [`ResumableTrainer`] therefore puts the list of the other files into `trainer_state.json`: a folder
is complete if that file is readable and every listed file exists. A save first writes an empty file `_incomplete`, and
a removal deletes that file last: it marks the remains of a killed run, and sets them apart from foreign folders.
"""

import json
import logging
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..data.paths import path_inside
from .distributed import decided_by_first, gather_objects, num_processes

logger = logging.getLogger(__name__)

_INCOMPLETE = "_incomplete"

_BLOCK = 1 << 20  # bytes


class CheckpointError(ValueError):
    """A checkpoint folder is not usable; the message gives the reason and a remedy."""


class CheckpointFiles(TrainerCallback, ExportableState):
    """Puts the files of the checkpoint being written, `folder`, into its trainer state."""

    def __init__(self):
        self.folder: Path | None = None

    def state(self) -> dict:
        """State for the checkpoint: maps each path in the folder to its size in bytes and CRC-32."""
        paths = [] if self.folder is None else [path for path in self.folder.rglob("*") if path.is_file()]
        return {"args": {}, "attributes": {"files": self.describe(paths)}}

    def describe(self, paths: list[Path]) -> dict[str, dict[str, int]]:
        """Size in bytes and CRC-32 of files below `folder`."""
        return {
            path.relative_to(self.folder).as_posix(): {"size": path.stat().st_size, "crc32": checksum(path)}
            for path in sorted(paths)
            if path.name not in (TRAINER_STATE_NAME, _INCOMPLETE)
        }


def checksum(path: Path) -> int:
    """CRC-32 of a file. It detects accidental damage and is faster than a cryptographic hash."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def read_trainer_state(folder: Path) -> dict:
    """The trainer state of a checkpoint. Raises a [`CheckpointError`] if the folder has no readable state."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder.")
    path = folder / TRAINER_STATE_NAME
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. It is written last: a save or removal was cut off.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({error}): the save was cut off.") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds no trainer state but a {type(state).__name__}.")
    return state


def listed_files(folder: Path) -> dict[str, dict[str, int]] | None:
    """The files that a checkpoint must hold; `None` if another trainer saved it. Raises a [`CheckpointError`]."""
    state = read_trainer_state(folder)
    try:
        saved = state["stateful_callbacks"].get(CheckpointFiles.__name__)
        if saved is None:
            return None
        files = saved["attributes"]["files"].items()
        return {name: {"size": file["size"], "crc32": file["crc32"]} for name, file in files}
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / TRAINER_STATE_NAME} is damaged: no trainer state ({error!r}).") from error


def check_checkpoint(folder: str | Path) -> dict[str, dict[str, int]]:
    """
    Reads every file of a checkpoint and compares its size and checksum with the recorded ones.

    Args:
        folder (`str` or `Path`): a `checkpoint-<step>` folder of [`ResumableTrainer`].

    Returns:
        `dict`: maps the path of each file in the folder to its `size` in bytes and `crc32`.

    Raises:
        CheckpointError: if a file is missing or damaged; names the file.
    """
    folder = Path(folder)
    files = listed_files(folder)
    if not files:
        raise CheckpointError(
            f"{folder} was not saved by a trainer of this package: nothing in it says whether it is complete. Start "
            "from its weights with `from_pretrained` instead."
        )
    _check_sizes(folder, files)
    for name, expected in files.items():
        if checksum(folder / name) != expected["crc32"]:
            raise CheckpointError(f"{folder / name} is damaged: its content is not what was saved.")
    return files


def _check_sizes(folder: Path, files: dict[str, dict[str, int]]) -> None:
    for name, expected in files.items():
        try:
            path_inside(folder, name)
        except ValueError as error:
            raise CheckpointError(f"{folder / TRAINER_STATE_NAME} lists a file of another folder: {error}") from error
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: the checkpoint is incomplete.")
        if path.stat().st_size != expected["size"]:
            raise CheckpointError(f"{path} is damaged: {path.stat().st_size} bytes, {expected['size']} were saved.")


def checkpoint_folders(output_dir: str | Path) -> list[Path]:
    """All folders with the name of a checkpoint, complete or not, also links to folders; latest step first."""
    found = {}
    for path in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        step = path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        if step.isdecimal() and path.is_dir():
            found[int(step)] = path
    return [found[step] for step in sorted(found, reverse=True)]


def last_checkpoint(output_dir: str | Path) -> str | None:
    """
    The last complete checkpoint of a run, or `None`. Warns of each later folder that is incomplete or a link.

    Args:
        output_dir (`str` or `Path`): output folder of the run; it need not exist.
    """
    for folder in checkpoint_folders(output_dir):
        try:
            _refuse_link(folder)
            check_checkpoint(folder)
        except CheckpointError as error:
            logger.warning("The checkpoint %s is not used: %s", folder, error)
        else:
            return str(folder)
    return None


def check_in_all_processes(check: Callable[[], object]) -> None:
    """
    Calls `check` in every process. If it fails in one process, all processes raise, so that no process waits.

    Raises:
        CheckpointError: the error of process 0 or, if only other processes fail, the error of the first of them.
    """
    failure = None
    try:
        check()
    except (CheckpointError, OSError) as error:
        failure = str(error)
    failures = gather_objects(failure)
    if failures[0] is not None:
        raise CheckpointError(failures[0])
    for rank, failure in enumerate(failures):
        if failure is not None:
            raise CheckpointError(
                f"Process {rank} does not find what process 0 does: {failure} `output_dir` must lie on a disk that "
                "all machines share."
            )


def check_shared(folder: str | Path) -> None:
    """Raises a [`CheckpointError`] in all processes if they do not all see the same `folder`."""
    if num_processes() == 1:
        return
    folder = Path(folder)

    def write() -> str:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(
            tempfile.mkdtemp(prefix="_shared_", dir=folder)
        ).name  # a new name, which no process has cached as missing

    def look() -> None:
        if not (folder / name).is_dir():
            raise CheckpointError(f"{folder} is another folder there.")

    name = decided_by_first(write)
    try:
        check_in_all_processes(look)
    finally:
        decided_by_first((folder / name).rmdir)


def _refuse_link(folder: Path) -> None:
    """Raises a [`CheckpointError`] for a link: its target may not belong to the run."""
    if folder.is_symlink():
        raise CheckpointError(
            f"it is a link to {folder.resolve()}, and the checkpoints of a run lie in its own folder. To start from "
            "it, name that folder."
        )


def begin(folder: Path) -> None:
    """Makes an empty folder for a new checkpoint; removes the rest of an earlier save."""
    discard(folder)
    folder.mkdir(parents=True)
    (folder / _INCOMPLETE).touch()


def end(folder: Path) -> None:
    """Marks the save that [`begin`] started as complete."""
    (folder / _INCOMPLETE).unlink()


def discard(folder: Path) -> None:
    """
    Removes a checkpoint, complete or not. If the process is killed meanwhile, the rest is marked as incomplete. Links
    are removed, their targets are not.
    """
    if folder.is_symlink():
        folder.unlink()
    if not folder.is_dir():
        return
    mark = folder / _INCOMPLETE
    if mark.is_symlink():
        mark.unlink()  # `touch` would create its target
    mark.touch()
    (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _INCOMPLETE:
            path.unlink()
    shutil.rmtree(folder)


def _why_not_whole(folder: Path) -> str | None:
    """The fault of a checkpoint folder, judged by the sizes of its files; `None` for a complete checkpoint."""
    try:
        _refuse_link(folder)
        files = listed_files(folder)
        if not files:
            return "it was not saved by a trainer of this package."
        _check_sizes(folder, files)
    except CheckpointError as error:
        return str(error)
    return None


def discard_torn(output_dir: str | Path) -> None:
    """Removes the rests of checkpoints that a killed run left. Foreign or changed folders stay."""
    for folder in checkpoint_folders(output_dir):
        problem = _why_not_whole(folder)
        if problem is None:
            (folder / _INCOMPLETE).unlink(missing_ok=True)  # the run was killed right after the save
        elif (folder / _INCOMPLETE).exists() and not folder.is_symlink():
            logger.warning("The rest of the checkpoint %s is removed: %s", folder, problem)
            discard(folder)
        else:
            logger.warning("%s is left as it is, and not used: %s", folder, problem)


def rotate(output_dir: str | Path, limit: int | None, protected: Iterable[Path]) -> None:
    """
    Removes the oldest checkpoints, like the Trainer. It neither counts nor removes incomplete or foreign folders.

    Args:
        output_dir (`str` or `Path`): output folder of the run.
        limit (`int`, *optional*): number of checkpoints to keep; `None` or 0 keeps all.
        protected (`list[Path]`): folders that are never removed.
    """
    if not limit or limit < 0:
        return
    whole = [folder for folder in checkpoint_folders(output_dir) if _why_not_whole(folder) is None]
    whole.sort(key=lambda folder: (folder / TRAINER_STATE_NAME).stat().st_mtime_ns)
    kept = {path.resolve() for path in protected}
    removable = [folder for folder in whole if folder.resolve() not in kept]
    for folder in removable[: max(len(whole) - max(limit, len(whole) - len(removable)), 0)]:
        discard(folder)


__all__ = ["CheckpointError", "CheckpointFiles", "check_checkpoint", "last_checkpoint"]
