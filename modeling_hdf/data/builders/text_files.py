"""Reading text files that people write with spreadsheets and editors: their encodings and line ends."""

import codecs
import os
from pathlib import Path


def read_lines(path: str | os.PathLike) -> list[str]:
    r"""
    The lines of a text file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Lines end at `\n`, `\r\n` or `\r`. Other line ends of Unicode, such as U+2028 and U+0085, may be part of a name and
    do not end a line.

    Raises:
        FileNotFoundError, PermissionError: if the file cannot be read.
        ValueError: if the file is no such text; the message names the file and the line.
    """
    data = Path(path).read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not {encoding.removesuffix('-sig').upper()}. "
            "Save the file as UTF-8 (in Excel 'CSV UTF-8'; from Windows-1252: `iconv -f WINDOWS-1252 -t UTF-8`)."
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise ValueError(
                f"{path}, line {number}: holds a NUL byte, so the file is damaged, no text, or UTF-16 without a byte "
                "order mark; save it as UTF-8."
            )
    return lines


__all__ = ["read_lines"]
