"""One run at a time in a folder."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .files import OutputError, write_json

LOCK_FILE = ".hdf-run.lock"
HOLDER_FILE = ".hdf-run.json"  # beside the lock, because some systems cannot read a held lock
# Seconds. Worker processes of a killed run inherit its lock with some versions of filelock, and end within this time.
_LAST_CHILDREN = 20.0


class FolderInUseError(OSError):
    """Another process works in the folder."""


@contextmanager
def folder_lock(folder: str | os.PathLike, command: str, *, beside: bool = False) -> Iterator[None]:
    """
    Locks a folder for one run. Creates the folder if it does not exist, and removes it again if it stays empty.

    The operating system releases the lock when the process ends, so a killed run does not block the next run.

    Args:
        folder (`str` or `Path`): the folder that the run writes to.
        command (`str`): name of this run in the messages of other runs, such as `hdf data faces`.
        beside (`bool`, *optional*, defaults to `False`): put the lock beside the folder and do not create the folder;
            for a folder that is replaced as a whole.

    Raises:
        FolderInUseError: if another process holds the folder; the message names it.
        OutputError: if the folder cannot be created or written to.

    Example:

    ```python
    >>> with folder_lock("outputs/run", "hdf train"):
    ...     train()
    ```
    """
    target = Path(os.path.abspath(folder))
    place, prefix = (target.parent, f".{target.name}") if beside else (target, "")
    is_new = not place.exists()
    lock_file, holder = place / f"{prefix}{LOCK_FILE}", place / f"{prefix}{HOLDER_FILE}"
    lock = FileLock(lock_file)
    try:
        place.mkdir(parents=True, exist_ok=True)
        _acquire(lock, holder)
    except Timeout:
        raise FolderInUseError(
            f"{folder}: {_describe(holder)} works in this folder; wait until it ends, or give another folder."
        ) from None
    except OSError as error:
        raise OutputError(error.errno, error.strerror, os.fspath(folder)) from error
    try:
        about = {"command": command, "process": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        write_json(holder, about)
        yield
    finally:
        # Removed while the lock is held. A process that waits for the removed file notices this, and fails.
        with suppress(OSError):  # Windows cannot remove an open file
            holder.unlink(missing_ok=True)
            os.unlink(lock_file)
        lock.release()
        if is_new:
            with suppress(OSError):  # it is not empty
                place.rmdir()


def _acquire(lock: FileLock, holder: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not _has_ended(holder):
            raise
        lock.acquire(timeout=_LAST_CHILDREN)


def _has_ended(holder: Path) -> bool:
    """Whether the process that wrote `holder` ran on this machine and is gone."""
    if os.name != "posix":  # processes elsewhere do not inherit locks, and signal 0 means something else there
        return False
    try:
        about = json.loads(holder.read_text(encoding="utf-8"))
        if about["host"] != socket.gethostname():
            return False
        os.kill(about["process"], 0)  # only asks
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return False


def _describe(holder: Path) -> str:
    """Names the process that wrote `holder`; the file may be incomplete or missing."""
    try:
        about = json.loads(holder.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about["since"]))
        return f"`{about['command']}` (process {about['process']} on {about['host']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


__all__ = ["FolderInUseError", "folder_lock"]
