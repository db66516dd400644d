"""Writing and reading files: a file or a folder is there whole or not at all.

What is written lies under a hidden name beside its place until it is complete, and then takes the place in one step.
Where the disk is full or the process is killed, the earlier file stays, or none. A killed process leaves at most such
hidden folders, which [`remove_parts`] and [`remove_parts_of`] clear away: a writer that lives holds a lock in its own.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

_PART = ".hdf-part"
_LOCK, _EARLIER = ".lock", ".earlier"


class OutputError(OSError):
    """The output cannot be written: no room, no permission. `filename` is the file that was asked for."""


@contextmanager
def whole_or_absent(path: str | os.PathLike) -> Iterator[Path]:
    """
    Gives a temporary path beside `path`, of the same name, to be made a file or a folder. It takes the place of `path`
    if the block succeeds, and is removed if it does not. Folders above it are made.

    A folder replaces whatever is there, with all its content: see [`refuse_filled`]. A file never replaces a folder.
    A device or a pipe, such as `/dev/stdout`, is written as it is.

    Args:
        path (`str` or `Path`): the file or the folder.

    Raises:
        OutputError: for an `OSError` of the block, with `path` as its file name. One that names a file elsewhere,
            which could not be read, stays as it is.

    Example:

    ```python
    >>> with whole_or_absent("outputs/metrics.json") as part:
    ...     part.write_text("{}")
    ```
    """
    target = Path(os.path.abspath(path))
    if target.parent == Path("/dev") or (target.exists() and not target.is_file() and not target.is_dir()):
        yield target
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(prefix=".", suffix=_PART, dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise _output_error(error, path) from error
    with beside as folder, _at_work(Path(folder)):
        part = Path(folder) / target.name
        try:
            yield part
            _take_place(part, target)
        except OSError as error:
            is_elsewhere = error.filename is not None and not os.fsdecode(error.filename).startswith(folder)
            if isinstance(error, OutputError) or is_elsewhere:
                raise
            raise _output_error(error, path) from error


@contextmanager
def _at_work(folder: Path) -> Iterator[None]:
    """Holds the lock of a hidden folder, which ends with the process, where the disk has locks."""
    lock = FileLock(folder / _LOCK)
    with suppress(OSError, NotImplementedError):
        lock.acquire(timeout=0)
    try:
        yield
    finally:
        lock.release()


def _take_place(part: Path, target: Path) -> None:
    if not (part.is_dir() and os.path.lexists(target)):
        os.replace(part, target)
        return
    # No system replaces a folder that is not empty in one step. The earlier one goes with the folder of the part.
    earlier = part.with_name(part.name + _EARLIER)
    os.replace(target, earlier)
    try:
        os.replace(part, target)
    except OSError:
        os.replace(earlier, target)
        raise


def _output_error(error: OSError, path: str | os.PathLike) -> OutputError:
    return OutputError(error.errno, error.strerror or str(error), os.fspath(path))


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file, whole or not at all. Raises [`OutputError`]."""
    with whole_or_absent(path) as part:
        part.write_bytes(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text as UTF-8, whole or not at all. Raises [`OutputError`]."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: Any, *, sort_keys: bool = False) -> None:
    """
    Writes a value as JSON, whole or not at all.

    Raises:
        OutputError: if the file cannot be written.
        ValueError: for NaN and infinite numbers, which are no JSON; the message names the file and the entry.
    """
    name = next(_not_finite(value), None)
    if name is not None:
        raise ValueError(f"{path}: `{name[0]}` is {name[1]}, which JSON does not have; nothing was written.")
    write_text(path, json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n")


def _not_finite(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Name, such as `intervals.war.0`, and value of each number that is none."""
    if isinstance(value, float) and not math.isfinite(value):
        yield name, value
    entries: Iterable = value.items() if isinstance(value, dict) else ()
    entries = enumerate(value) if isinstance(value, list | tuple) else entries
    for key, entry in entries:
        yield from _not_finite(entry, f"{name}.{key}" if name else str(key))


def read_json(path: str | os.PathLike, advice: str) -> dict[str, Any]:
    """
    Reads a JSON object.

    Args:
        path (`str` or `Path`): the file.
        advice (`str`): a sentence that says what to do about a damaged file, for the message.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not UTF-8, not JSON, or no object; the message names the file.
    """
    return parse_json(Path(path).read_bytes(), path, advice)


def parse_json(content: bytes, name: str | os.PathLike, advice: str) -> dict[str, Any]:
    """The JSON object that the content of a file, called `name` in messages, holds. See [`read_json`]."""
    try:
        value = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: is not UTF-8 text ({error}). {advice}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: is not JSON ({error}). {advice}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name}: holds no JSON object. {advice}")
    return value


def refuse_filled(folder: str | os.PathLike) -> None:
    """Raises a `FileExistsError` for a folder that is not empty, and for a file in its place."""
    folder = Path(folder)
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: is not empty; give a folder that does not exist yet.")


def remove_outputs(paths: Iterable[Path]) -> None:
    """Removes files and folders; one that is not there is no error."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_parts(folder: Path) -> int:
    """Removes what killed processes left under `folder`; returns how many."""
    return sum(map(_remove_part, list(folder.rglob(f".*{_PART}"))))


def remove_parts_of(path: str | os.PathLike) -> int:
    """
    Removes what killed processes left of one file or folder, beside it; returns how many.

    What writers at work, and those of other files, have beside it stays.
    """
    target, removed = Path(os.path.abspath(path)), 0
    own = {_LOCK, target.name, target.name + _EARLIER}
    for part in target.parent.glob(f".*{_PART}"):
        if not part.is_symlink() and part.is_dir() and own.issuperset(os.listdir(part)):
            removed += _remove_part(part)
    return removed


def _remove_part(part: Path) -> bool:
    """Removes the hidden folder of a writer that was killed. What it was about to replace goes back to its place."""
    if part.is_symlink() or not part.is_dir():
        return False
    lock = FileLock(part / _LOCK)
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError):  # held by a writer at work, or the disk has no locks
        return False
    for earlier in part.glob(f"*{_EARLIER}"):
        target = part.parent / earlier.name.removesuffix(_EARLIER)
        if not os.path.lexists(target):
            os.replace(earlier, target)
    lock.release()
    shutil.rmtree(part, ignore_errors=True)
    return True


__all__ = [
    "OutputError",
    "parse_json",
    "read_json",
    "refuse_filled",
    "remove_outputs",
    "remove_parts",
    "remove_parts_of",
    "whole_or_absent",
    "write_bytes",
    "write_json",
    "write_text",
]
