"""Writing and reading files. A file or folder is written completely or not at all.

Output is first written under a hidden name in the same folder. When it is complete, one step renames it. If the disk
is full or the process is killed, an earlier file stays unchanged. A killed process leaves only hidden folders, which
[`remove_parts`] and [`remove_parts_of`] remove. A running writer holds a lock in its hidden folder.
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
    """The output cannot be written, for example because the disk is full. `filename` is the requested file."""

    def __str__(self) -> str:
        return f"{self.filename}: cannot be written ({self.strerror})"


@contextmanager
def whole_or_absent(path: str | os.PathLike) -> Iterator[Path]:
    """
    Gives a temporary path with the name of `path`, where the block writes a file or a folder. If the block succeeds,
    the result replaces `path`; otherwise it is removed. Parent folders are created.

    A folder replaces anything at `path`, with all content: see [`refuse_filled`]. A file never replaces a folder. A
    device or a pipe, such as `/dev/stdout`, is written directly.

    Args:
        path (`str` or `Path`): the file or the folder.

    Raises:
        OutputError: for an `OSError` of the block, with `path` as its file name. An `OSError` that names another file,
            which could not be read, is raised unchanged, and so is the block's own `FileExistsError`.

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
            is_ours = isinstance(error, FileExistsError) and error.errno is None
            if isinstance(error, OutputError) or is_ours or is_elsewhere:
                raise
            raise _output_error(error, path) from error


@contextmanager
def _at_work(folder: Path) -> Iterator[None]:
    """Holds the lock of a hidden folder, if the disk supports locks. The lock ends with the process."""
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
    # No system replaces a filled folder in one step. The earlier folder is removed together with the temporary folder.
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
    """Writes a file completely or not at all. Raises [`OutputError`]."""
    with whole_or_absent(path) as part:
        part.write_bytes(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text as UTF-8, completely or not at all. Raises [`OutputError`]."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: Any, *, sort_keys: bool = False) -> None:
    """
    Writes a value as JSON, completely or not at all.

    Raises:
        OutputError: if the file cannot be written.
        ValueError: for NaN and infinite numbers, which JSON lacks; the message names the file and the entry.
    """
    name = next(_not_finite(value), None)
    if name is not None:
        raise ValueError(f"{path}: `{name[0]}` is {name[1]}, which JSON cannot store; nothing was written.")
    write_text(path, json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n")


def _not_finite(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Name (such as `intervals.war.0`) and value of each NaN or infinite number."""
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
        advice (`str`): a sentence for the message that says what to do about a damaged file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file is not UTF-8, not JSON, or not an object; the message names it.
    """
    return parse_json(Path(path).read_bytes(), path, advice)


def parse_json(content: bytes, name: str | os.PathLike, advice: str) -> dict[str, Any]:
    """The JSON object in the content of a file; messages call the file `name`. See [`read_json`]."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=unique_fields)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: is not UTF-8 text ({error}). {advice}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: is not JSON ({error}). {advice}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name}: is not a JSON object. {advice}")
    return value


def unique_fields(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a JSON object, as `object_pairs_hook` of the reader. Raises a `ValueError` if a name repeats."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"it gives {name!r} twice")
        fields[name] = value
    return fields


def refuse_filled(folder: str | os.PathLike) -> None:
    """Raises a `FileExistsError` if `folder` is a folder with content or a file."""
    folder = Path(folder)
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: is not empty; give a folder that does not exist yet.")


def remove_parts(folder: Path) -> int:
    """Removes the hidden folders of killed processes under `folder` and returns their number."""
    return sum(map(_remove_part, list(folder.rglob(f".*{_PART}"))))


def remove_parts_of(path: str | os.PathLike) -> int:
    """
    Removes the hidden folders that killed writers of `path` left beside it, and returns their number.

    Hidden folders of running writers and of other files stay.
    """
    target, removed = Path(os.path.abspath(path)), 0
    own = {_LOCK, target.name, target.name + _EARLIER}
    for part in target.parent.glob(f".*{_PART}"):
        if not part.is_symlink() and part.is_dir() and own.issuperset(os.listdir(part)):
            removed += _remove_part(part)
    return removed


def _remove_part(part: Path) -> bool:
    """Removes the hidden folder of a killed writer, and puts the output that it was replacing back."""
    if part.is_symlink() or not part.is_dir():
        return False
    lock = FileLock(part / _LOCK)
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError):  # a running writer holds it, or the disk has no locks
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
    "remove_parts",
    "remove_parts_of",
    "whole_or_absent",
    "write_bytes",
    "write_json",
    "write_text",
]
