"""Removes paths of this machine and tokens from published facts about a run."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from huggingface_hub.utils import HFValidationError, validate_repo_id

from ..pretrained import shipped_name

# Prefix for a training that started from a local folder; no Hub repository has such a name.
LOCAL_PREFIX = "local:"
# Prefix for a training that started from a checkpoint of this package.
SHIPPED_PREFIX = "shipped:"
# Start of an absolute path, a file URL, a path in the home folder, or a path that leaves the working directory.
_PATH_START = r"""(?:~[^\s"'/\\]*[/\\]|(?:[Ff]ile:)?/+(?=[^\s/"',])|[A-Za-z]:[/\\]|\\\\|\.\.[/\\])"""
_LOCAL_PATH = re.compile(rf"""(?:^|(?<=[\s"'=,\[({{])){_PATH_START}[^\s"',]*""")
# The same with spaces within, where a message tells the end: a path before a colon, or in quotes.
_SPACED_PATH = re.compile(rf"""^{_PATH_START}.*?(?=: )|(?<=["']){_PATH_START}[^"']*(?=["'])""")
# An option with a token (`--hub_token` in all its spellings and abbreviations), and a Hub token.
_TOKEN_OPTION = re.compile(r"--(?:[A-Za-z0-9]+[-_])*(?:token|hub[-_](?:t|to|tok|toke))(?=$|[\s=])")
_WORD_START = r"(?<![A-Za-z0-9])"
_TOKEN = re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]+")
# Forms of secrets within other text. A name such as `hf_faces` is not a secret.
_SECRETS = {
    kind: (re.compile(rf"{before}(?:{pattern})"), re.compile(rf"{before}(?:{pattern})".encode()))
    for kind, before, pattern in (
        ("a token of the Hugging Face Hub", _WORD_START, r"(?:hf|api_org)_[A-Za-z0-9]{20,}"),
        ("a token of GitHub", _WORD_START, r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"),
        ("a token of GitLab", _WORD_START, r"glpat-[A-Za-z0-9_-]{20,}"),
        ("an access key of AWS", _WORD_START, r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        (
            "a secret key of AWS",
            "",
            r"(?i:aws_?secret_?(?:access_?)?key)[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
        ),
        ("an API key of the form sk-...", _WORD_START, r"sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}"),
        ("an API key of Google", _WORD_START, r"AIza[A-Za-z0-9_-]{35}"),
        ("a token of Slack", _WORD_START, r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("a token of PyPI or npm", _WORD_START, r"pypi-[A-Za-z0-9_-]{32,}|npm_[A-Za-z0-9]{36}"),
        ("a JSON web token", _WORD_START, r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
        ("a private key", "", r"-----BEGIN\s[A-Z0-9\s]{0,40}PRIVATE\sKEY|PuTTY-User-Key-File-"),
        ("a password in a URL", "", r"://[^\s/:@\"'<>{}]{0,100}:[^\s/@\"'<>{}]{1,200}@[A-Za-z0-9\[]"),
    )
}


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a repository, `"owner/name"`."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def public_start(start: str | None) -> str | None:
    """The checkpoint that a training started from: the name of a repository or of a shipped checkpoint, or only the
    last part of a folder."""
    if start is not None and (shipped := shipped_name(start)) is not None:
        return SHIPPED_PREFIX + shipped
    if start is not None and (os.path.exists(start) or not is_hub_id(start)):
        return LOCAL_PREFIX + os.path.basename(os.path.abspath(start))
    return start


def public_command(argv: Sequence[str]) -> str:
    """A command line without token options, with other tokens masked and paths shortened."""
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
    """A word of a command line in which each path that is absolute or starts with `~` or `..` keeps its last part."""
    option, sign, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if _LOCAL_PATH.match(value):  # the whole word, because a folder's name may hold a space
        return option + sign + _last_part(value)
    return _LOCAL_PATH.sub(lambda match: _last_part(match[0]), word)


def unreadable_entries(messages: Mapping[str, str]) -> list[dict[str, str]]:
    """
    The entries of `metrics.json` for clips that could not be read, without folders of this machine.

    Args:
        messages (`Mapping[str, str]`): error message by `clip_id`.
    """
    return [{"clip_id": clip_id, "message": _without_folders(message)} for clip_id, message in messages.items()]


def _without_folders(message: str) -> str:
    for path in (_SPACED_PATH, _LOCAL_PATH):
        message = path.sub(lambda match: _last_part(match[0]), message)
    return message


def _last_part(path: str) -> str:
    return (PureWindowsPath if "\\" in path else PurePosixPath)(path).name or "path"


@dataclass(frozen=True)
class Find:
    """Something private in a text: its kind and position, but never the text itself."""

    kind: str
    line: int


def find_secret(text: str | bytes) -> Find | None:
    """The first token, private key or password within a URL in a text, or in the bytes of any file."""
    for kind, (in_text, in_bytes) in _SECRETS.items():
        found = (in_bytes if isinstance(text, bytes) else in_text).search(text)
        if found is not None:
            return Find(kind, text.count(b"\n" if isinstance(text, bytes) else "\n", 0, found.start()) + 1)
    return None


def find_secret_of_command(command: str) -> Find | None:
    """Like [`find_secret`], but also finds token options and tokens of any length, for texts without names."""
    if _TOKEN.search(command) or _TOKEN_OPTION.search(command):
        return Find("a token", 1)
    return find_secret(command)


def find_local_path(text: str, is_name: bool = False) -> str | None:
    """
    The first path of this machine in a text.

    Args:
        text (`str`): the text.
        is_name (`bool`, *optional*, defaults to `False`): whether the text is a class name or a JSON key, which may
            hold a slash; only a path with a folder in it then counts.
    """
    for found in _LOCAL_PATH.finditer(text):
        if not is_name or len(re.findall(r"[^/\\]+", found[0])) > 1:
            return found[0]
    return None


__all__ = [
    "LOCAL_PREFIX",
    "SHIPPED_PREFIX",
    "Find",
    "find_local_path",
    "find_secret",
    "find_secret_of_command",
    "is_hub_id",
    "public_command",
    "public_start",
    "shorten_paths",
    "unreadable_entries",
]
