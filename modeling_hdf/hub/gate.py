"""Checks of files before a push: their content must match their suffix, and must hold nothing private."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..data.paths import TEXT_SUFFIXES, check_content, regular_file, safetensors_header
from ..evaluation.privacy import Find, find_local_path, find_secret, find_secret_of_command

# Files to push: maps the path in the repository to the file on disk or to the content itself.
Files = Mapping[str, Path | bytes]

_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
# Class names may hold a slash without being a path.
_CLASS_NAMES = ("id2label", "label2id")


def check_files(files: Files) -> None:
    """
    Checks every file before it is pushed, or written for a later push.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a name that leaves the repository; a link, a device or a pipe; content that does not match the
            suffix; a token, a private key or a password in a URL in any text; a path of this machine in JSON or in
            the texts of Parquet. The message names file, line and kind, and never shows a secret.
    """
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name:
            raise ValueError(f"{name!r}: is no path within a repository.")
        if isinstance(content, Path):
            if content.is_symlink():
                raise ValueError(f"{content}: is a link; a file itself must lie there.")
            regular_file(content)
        check_content(str(content) if isinstance(content, Path) else name, content)
        refuse_private(str(content) if isinstance(content, Path) else name, content)


def refuse_private(name: str, content: Path | bytes) -> None:
    """
    Refuses a file whose texts hold a secret or a path of this machine.

    Args:
        name (`str`): name of the file, for its suffix and the message.
        content (`Path` or `bytes`): the file or its content; it has passed [`check_content`].

    Raises:
        ValueError: as [`check_files`] says.
    """
    suffix = Path(name).suffix.lower()
    if suffix == ".parquet":
        _refuse_in_parquet(name, content)
        return
    if suffix == ".safetensors":  # its tensors hold no text
        with open(content, "rb") if isinstance(content, Path) else BytesIO(content) as file:
            refuse_secret(name, safetensors_header(name, file))
        return
    data = content if isinstance(content, bytes) else content.read_bytes()
    if suffix == ".json":
        _refuse_in_json(name, data.decode("utf-8"))
        return
    refuse_secret(name, data)
    if suffix == ".md":  # also check the rendered text
        refuse_secret(name, html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", data.decode("utf-8"))))
    if suffix == ".png":
        with Image.open(BytesIO(data)) as picture:
            picture.load()
            for key, text in getattr(picture, "text", {}).items():
                refuse_secret(name, f"{key}: {text}")


def refuse_secret(name: str, text: str | bytes) -> None:
    """Raises a `ValueError` if a text, or the bytes of a file, hold a secret; the message gives `name`."""
    _refuse(name, find_secret(text), has_lines=isinstance(text, str) or name.endswith(TEXT_SUFFIXES))


def _refuse(name: str, found: Find | None, has_lines: bool = True) -> None:
    if found is not None:
        place = f"{name}, line {found.line}" if has_lines else name
        raise ValueError(
            f"{place}: holds {found.kind}; take it out before publishing, and revoke it if others could read it."
        )


def _refuse_local_path(place: str, path: str | None) -> None:
    if path is not None:
        raise ValueError(f"{place}: names a path of this machine, {path!r}; take it out before publishing.")


def _refuse_in_json(name: str, text: str) -> None:
    """Checks every string of a JSON object after unescaping it, including keys."""
    content = json.loads(text)
    class_names = {str(each) for key in _CLASS_NAMES for each in _names(content.get(key))}
    for line, each, is_key in _json_texts(text):
        found = find_secret_of_command(each) if each == content.get("command") else find_secret(each)
        _refuse(name, found and Find(found.kind, line))
        _refuse_local_path(f"{name}, line {line}", find_local_path(each, is_key or each in class_names))


def _names(value: object) -> list:
    return [*value, *value.values()] if isinstance(value, dict) else []


def _json_texts(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yields for each string in JSON its line, its text and whether it is a key."""
    line, seen = 1, 0
    for found in _JSON_TEXT.finditer(text):
        line, seen = line + text.count("\n", seen, found.start()), found.start()
        yield line, json.loads(found[0]), re.compile(r"\s*:").match(text, found.end()) is not None


def _refuse_in_parquet(name: str, content: Path | bytes) -> None:
    """Checks the text columns, at any depth, and the metadata of the columns."""
    with pq.ParquetFile(BytesIO(content) if isinstance(content, bytes) else content) as file:
        schema = file.schema_arrow
        refuse_secret(f"{name}: the notes on its columns", f"{schema.names} {schema.metadata}")
        columns = [file.schema.column(index) for index in range(len(file.schema))]
        texts = [column.path for column in columns if column.logical_type.type == "STRING"]
        for path in texts:
            place = f"{name}: column {path.split('.')[0]}"
            for group in range(file.num_row_groups):
                (column,) = file.read_row_group(group, columns=[path]).itercolumns()
                for text in _texts_of(column.combine_chunks()):
                    refuse_secret(place, text)
                    _refuse_local_path(place, find_local_path(text, is_name=True))


def _texts_of(values: pa.Array) -> Iterator[str]:
    """The unique texts of a column, also inside lists and structures."""
    while not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        if pa.types.is_dictionary(values.type):
            values = values.dictionary
        elif pa.types.is_struct(values.type):
            (values,) = values.flatten()
        else:  # lists of all kinds
            values = values.flatten()
    yield from filter(None, values.unique().to_pylist())


__all__ = ["Files", "check_files", "refuse_private", "refuse_secret"]
