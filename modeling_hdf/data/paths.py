"""Checks for files before they are published, and for paths that a file names.

Each file must lie in its folder after links are followed, be a regular file (no device or pipe), and have the content
that its suffix promises. So a list, index or link from somebody else cannot publish files outside its folder.
"""

import json
import os
import stat
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import BinaryIO

from .files import parse_json

_PNG, _PARQUET = b"\x89PNG\r\n\x1a\n", b"PAR1"
TEXT_SUFFIXES = (".csv", ".md", ".py", ".txt", ".yaml")
_LONGEST_HEADER = 100_000_000  # bytes of the header of a safetensors file, the limit of the library


def path_inside(folder: str | os.PathLike, path: str | os.PathLike) -> Path:
    """
    The target of a path after all links are followed.

    Args:
        folder (`str` or `Path`): the folder that the path must not leave.
        path (`str` or `Path`): relative to the folder, or absolute.

    Raises:
        ValueError: if the target lies outside the folder; the message names path and target.
    """
    real, root = Path(os.path.realpath(os.path.join(folder, path))), Path(os.path.realpath(folder))
    if not real.is_relative_to(root):
        raise ValueError(
            f"{os.path.join(folder, path)}: leads out of {folder}, to {real}; put a copy of the file into the folder."
        )
    return real


def regular_file(path: str | os.PathLike) -> Path:
    """
    The path of a regular file, checked without opening it: a pipe would wait, and a device may never end.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is a folder, a device, a pipe or a socket.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path}: is a folder, a device or a pipe; expected a regular file.")
    return Path(path)


def check_content(name: str, content: Path | bytes) -> None:
    """
    Checks that the content of a file fits its suffix: `.json` a JSON object, `.safetensors`, `.parquet`, `.png`, and
    UTF-8 text for `.py`, `.md`, `.csv`, `.txt` and `.yaml`.

    Args:
        name (`str`): the file's name, for its suffix and the message.
        content (`Path` or `bytes`): the file, or its content.

    Raises:
        ValueError: if the content does not fit, or for another suffix; the message names the file.
    """
    check = _CHECKS.get(Path(name).suffix.lower())
    if check is None:
        raise ValueError(f"{name}: files of this kind are not published, only {', '.join(sorted(_CHECKS))}.")
    if isinstance(content, bytes):
        check(name, BytesIO(content))
    else:
        with open(content, "rb") as file:
            check(name, file)


def check_clip(name: str, content: bytes) -> None:
    """Raises a `ValueError` if the content is neither a video nor a picture; decodes the first frame."""
    from ..clip_reading_hdf import open_clip  # it loads torch, which the rest of this module does not need

    with closing(open_clip(content, name).stream()) as frames:
        next(frames)


def checked_file(folder: str | os.PathLike, name: str) -> Path:
    """
    The real path of a file that is to be published, after all checks.

    Args:
        folder (`str` or `Path`): the folder of the file.
        name (`str`): its path in the folder.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: as [`path_inside`], [`regular_file`] and [`check_content`].
    """
    path = regular_file(path_inside(folder, name))
    check_content(os.path.join(folder, name), path)
    return path


def _check_json(name: str, file: BinaryIO) -> None:
    parse_json(file.read(), name, "Restore it, or save the model again.")


def _check_text(name: str, file: BinaryIO) -> None:
    try:
        text = file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: is not UTF-8 text ({error}).") from error
    if "\0" in text:
        raise ValueError(f"{name}: is not text: it holds null characters.")


def _check_parquet(name: str, file: BinaryIO) -> None:
    start, size = file.read(4), file.seek(0, SEEK_END)
    file.seek(max(size - 4, 0))
    if size < 12 or start != _PARQUET or file.read() != _PARQUET:
        raise ValueError(f"{name}: is not a Parquet file, or is damaged.")


def _check_png(name: str, file: BinaryIO) -> None:
    """Checks the signature, complete chunks, and that nothing follows the last chunk."""
    is_png = file.read(8) == _PNG
    kind = b""
    while is_png and kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        data, checksum = file.read(length), file.read(4)
        is_png = struct.pack(">I", zlib.crc32(kind + data)) == checksum
    if not is_png or kind != b"IEND" or file.read(1):
        raise ValueError(f"{name}: is not a PNG picture, is damaged, or holds more than the picture; draw it again.")


def safetensors_header(name: str, file: BinaryIO) -> str:
    """
    The header of a safetensors file, which is JSON and names every tensor.

    Raises:
        ValueError: if the file is damaged, or holds more than its tensors.
    """
    size = file.seek(0, SEEK_END)
    file.seek(0)
    start = file.read(8)
    length = int.from_bytes(start, "little") if len(start) == 8 else 0
    header = file.read(length) if 0 < length <= min(_LONGEST_HEADER, size - 8) else b""
    try:
        text = header.decode("utf-8")
        entries = json.loads(text)
        ends = [entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"]
        is_whole = max(ends, default=0) == size - 8 - length
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{name}: is damaged (its safetensors header does not fit the file); save the model again.")
    return text


_CHECKS: dict[str, Callable[[str, BinaryIO], object]] = {
    ".json": _check_json,
    ".parquet": _check_parquet,
    ".png": _check_png,
    ".safetensors": safetensors_header,
    **dict.fromkeys(TEXT_SUFFIXES, _check_text),
}

__all__ = [
    "TEXT_SUFFIXES",
    "check_clip",
    "check_content",
    "checked_file",
    "path_inside",
    "regular_file",
    "safetensors_header",
]
