"""What may be told of a run: no paths of this machine, and no tokens."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from huggingface_hub.utils import HFValidationError, validate_repo_id

# How the start of a training that began from a folder is told; no repository of the Hub is called so.
LOCAL_PREFIX = "local:"
# An absolute path, also as a file URL, one in the home folder, or one that leaves the working directory, where it
# starts within a text.
_LOCAL_PATH = re.compile(
    r"""(?:^|(?<=[\s"'=,\[({]))"""
    r"""(?:~[^\s"'/\\]*[/\\]|(?:[Ff]ile:)?/+(?=[^\s/"',])|[A-Za-z]:[/\\]|\\\\|\.\.[/\\])[^\s"',]*"""
)
# An option with a token, `--hub_token` in all its spellings and abbreviations, and a token of the Hub itself.
_TOKEN_OPTION = re.compile(r"--(?:[A-Za-z0-9]+[-_])*(?:token|hub[-_](?:t|to|tok|toke))(?=$|[\s=])")
_WORD_START = r"(?<![A-Za-z0-9])"
_TOKEN = re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]+")
# What a secret looks like where other words may stand as well: a name such as `hf_faces` is none.
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


@dataclass(frozen=True)
class Find:
    """Something that must not be told: what it is, and where in the text. It is never shown itself."""

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
    """As [`find_secret`], and options that hold a token and tokens of any length besides: no name stands there."""
    if _TOKEN.search(command) or _TOKEN_OPTION.search(command):
        return Find("a token", 1)
    return find_secret(command)


def find_local_path(text: str, is_name: bool = False) -> str | None:
    """
    The first path of this machine in a text.

    Args:
        text (`str`): the text.
        is_name (`bool`, *optional*, defaults to `False`): it is the name of a class or a key of JSON, where a slash
            need not be one of a path: then a path has a folder in it.
    """
    for found in _LOCAL_PATH.finditer(text):
        if not is_name or len(re.findall(r"[^/\\]+", found[0])) > 1:
            return found[0]
    return None


__all__ = [
    "LOCAL_PREFIX",
    "Find",
    "find_local_path",
    "find_secret",
    "find_secret_of_command",
    "is_hub_id",
    "public_command",
    "public_start",
    "shorten_paths",
]
