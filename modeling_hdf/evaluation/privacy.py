"""What may be told of a run: no paths of this machine, and no tokens."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub.utils import HFValidationError, validate_repo_id

# How the start of a training that began from a folder is told; no repository of the Hub is called so.
LOCAL_PREFIX = "local:"
# An absolute path, also as a file URL, one in the home folder, or one that leaves the working directory, where it
# starts within a text.
_LOCAL_PATH = re.compile(
    r"""(?:^|(?<=[\s"'=,\[({]))"""
    r"""(?:~[^\s"'/\\]*[/\\]|(?:[Ff]ile:)?/+(?=[^\s/"',])|[A-Za-z]:[/\\]|\\\\|\.\.[/\\])[^\s"',]*"""
)
# Of `config.json`, what holds names of classes: there a slash is no path.
_CLASS_NAMES = ("id2label", "label2id")
# An option with a token, `--hub_token` in all its spellings and abbreviations, and a token of the Hub itself.
_TOKEN_OPTION = re.compile(r"--(?:[A-Za-z0-9]+[-_])*(?:token|hub[-_](?:t|to|tok|toke))(?=$|[\s=])")
_TOKEN = re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]+")
_LONG_TOKEN = re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}")  # where a name such as `hf_faces` may stand as well


def is_hub_id(name: str) -> bool:
    """Whether a name could be that of a repository with an owner, `"owner/name"`."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def public_start(start: str | None) -> str | None:
    """The checkpoint that a training started from: a repository as it is, and of a folder only its name."""
    if start is not None and (os.path.exists(start) or not is_hub_id(start)):
        return LOCAL_PREFIX + os.path.basename(os.path.abspath(start))
    return start


def public_command(argv: Sequence[str]) -> str:
    """A command line without options that hold a token, with any other token masked and paths shortened."""
    words, is_token = [], False
    for word in argv:
        if is_token and not word.startswith("--"):
            is_token = False
            continue
        option = _TOKEN_OPTION.match(word)
        is_token = option is not None and option[0] == word
        if option is None:
            words.append(_TOKEN.sub("TOKEN", shorten_paths(word)))
    return shlex.join(words)


def shorten_paths(word: str) -> str:
    """A word of a command line with only the last part of each path that is absolute, or starts with `~` or `..`."""
    option, sign, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if _LOCAL_PATH.match(value):  # the whole word, in which a folder's name may hold a space
        return option + sign + _last_part(value)
    return _LOCAL_PATH.sub(lambda match: _last_part(match[0]), word)


def _last_part(path: str) -> str:
    return (PureWindowsPath if "\\" in path else PurePosixPath)(path).name or "path"


def refuse_private_texts(path: str | Path, content: dict[str, Any]) -> None:
    """
    Refuses to publish a JSON file that holds a token, or a path of this machine.

    Args:
        path (`str` or `Path`): the file, for the message.
        content (`dict`): what it holds.

    Raises:
        ValueError: names the file, and the path that it holds; never the token.
    """
    texts, command = _texts(content), str(content.get("command", ""))
    if any(map(_LONG_TOKEN.search, texts)) or _TOKEN.search(command) or _TOKEN_OPTION.search(command):
        raise ValueError(
            f"{path}: holds a token; take it out before publishing, and revoke it if others could read it."
        )
    for text in texts:
        found = _LOCAL_PATH.search(text)
        if found:
            raise ValueError(f"{path}: names a path of this machine, {found[0]!r}; take it out before publishing.")


def _texts(value: Any) -> list[str]:
    """All texts within JSON, but for keys and the names of classes."""
    if isinstance(value, dict):
        value = [item for key, item in value.items() if key not in _CLASS_NAMES]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


__all__ = ["LOCAL_PREFIX", "is_hub_id", "public_command", "public_start", "refuse_private_texts", "shorten_paths"]
