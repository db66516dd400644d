"""The kind of a file, from its name and its first bytes, and the order of the files in a folder."""

import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from PIL import Image

VIDEO_SUFFIXES = tuple(
    ".264 .265 .3g2 .3gp .amv .asf .avi .divx .dv .f4v .flv .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg "
    ".mjpg .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .tod .ts .vob .webm .wmv "
    ".wtv .y4m".split()
)
PICTURE_SUFFIXES = tuple(
    ".apng .bmp .gif .jfif .jpe .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp".split()
)  # GIF, WebP and APNG files may be animations, and are then clips

# The formats that Pillow may open. Some of its other readers start programs (EPS) or guess (TGA).
PICTURE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP")  # an MPO or a TIFF of several pictures is no animation
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM|II\*\0|MM\0\*|P[1-6]\s|RIFF.{4}WEBP", re.DOTALL
)
HEAD = 4096  # bytes, enough to find the kind of a file
_ARCHIVES = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
}

# Files, besides hidden ones, that file servers, archives and operating systems leave in folders; in lower case.
_CLUTTER = frozenset(
    ("__macosx", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "lost+found")
    + ("system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
)


def is_clutter(name: str) -> bool:
    """Whether to ignore a file or folder of this name, because it is hidden or a system wrote it."""
    return name.startswith(".") or name.lower() in _CLUTTER


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key that orders numbers in names by value: `2.jpg` before `10.jpg`.

    Names that differ only in leading zeros, such as `1` and `01`, have equal first entries.
    """
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts)), name


def has_suffix(path: str | os.PathLike, suffixes: Iterable[str]) -> bool:
    """Whether the name ends in one of `suffixes`, in lower or upper case."""
    return Path(path).suffix.lower() in suffixes


def file_kind(path: str | os.PathLike) -> Literal["video", "picture"] | None:
    """The kind of a file in a folder of clips: `"video"` (animations too), `"picture"`, or `None` for other files.

    The suffix decides. Only GIF, WebP and APNG files are opened, to see whether they are animations; an unreadable GIF
    or APNG counts as an animation.
    """
    if has_suffix(path, VIDEO_SUFFIXES):
        return "video"
    if has_suffix(path, (".gif", ".apng", ".webp")):
        return "video" if _moves(path) else "picture"
    return "picture" if has_suffix(path, PICTURE_SUFFIXES) else None


def _moves(path: str | os.PathLike) -> bool:
    if not os.path.isfile(path):  # a pipe would wait
        return True
    if has_suffix(path, (".webp",)):  # Pillow would read the whole file
        head = read_head(path)
        return head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)
    try:
        with Image.open(path, formats=ANIMATED_FORMATS) as picture:
            return picture.is_animated
    except (OSError, ValueError, SyntaxError, IndexError, struct.error, Image.DecompressionBombError):
        return True


def frame_files(folder: str | os.PathLike) -> list[str]:
    """The frame files of a clip's folder, in natural order.

    Clutter and files that are not pictures are ignored. If the folder holds only a folder of the same name, as
    unpacking twice leaves it, the inner folder is read.

    Args:
        folder: the clip's folder.

    Returns:
        Paths; an empty list if there is no frame.

    Raises:
        OSError: if the folder cannot be read.
        ValueError: if two files carry the same frame number, such as `1.jpg` and `01.jpg`.
    """
    folder = os.fspath(folder)
    names = [name for name in os.listdir(folder) if not is_clutter(name)]
    own_name = os.path.basename(os.path.abspath(folder))
    if names == [own_name] and os.path.isdir(os.path.join(folder, own_name)):
        return frame_files(os.path.join(folder, own_name))
    frames = sorted((name for name in names if has_suffix(name, PICTURE_SUFFIXES)), key=natural_key)
    numbers = [natural_key(Path(name).stem)[0] for name in frames]
    for first, second, name, next_name in zip(numbers, numbers[1:], frames, frames[1:], strict=False):
        if first == second:
            raise ValueError(f"{folder}: {name!r} and {next_name!r} carry the same frame number; remove one of them.")
    return [os.path.join(folder, name) for name in frames]


def read_head(path: str | os.PathLike) -> bytes:
    """The first bytes of a file: enough for [`is_picture`] and [`what_it_is`]."""
    with open(path, "rb") as file:
        return file.read(HEAD)


def is_picture(head: bytes) -> bool:
    """Whether a file starts like a still or animated picture."""
    return _SIGNATURES.match(head) is not None


def what_it_is(head: bytes) -> str | None:
    """Says what a file is that is neither video nor picture, and what to do; `None` for unknown first bytes."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "it is a Git LFS pointer: run `git lfs pull` to get the file itself"
    for start, archive in _ARCHIVES.items():
        if head.startswith(start):
            return f"it is {archive}: unpack it"
    head = head[:HEAD]
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", head, re.IGNORECASE):
        return "it is an HTML page, perhaps a login page: download the file again"
    text = head.decode("utf-8", errors="replace").rstrip("\ufffd")  # a character may be cut off at the end
    if text and all(character.isprintable() or character.isspace() for character in text) and "\ufffd" not in text:
        return "it is a text file or playlist"
    return None


__all__ = [
    "ANIMATED_FORMATS",
    "HEAD",
    "PICTURE_FORMATS",
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "file_kind",
    "frame_files",
    "has_suffix",
    "is_clutter",
    "is_picture",
    "natural_key",
    "read_head",
    "what_it_is",
]
