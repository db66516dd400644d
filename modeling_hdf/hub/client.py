"""Pushes to the Hub: each push is one commit, errors say what to do, and a dry run writes the same files."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import HFValidationError, httpx

from ..data.files import refuse_filled, remove_parts_of, whole_or_absent
from ..evaluation.privacy import is_hub_id
from .gate import Files, check_files


class HubError(OSError):
    """The Hub refused or failed. The push is visible completely or not at all, and can be repeated."""


class HubUnavailable(HubError):
    """The Hub could not be reached, or failed; a later attempt may work."""


def write_files(files: Files, folder: str | os.PathLike) -> Path:
    """
    Writes the files that [`push_files`] would push. The folder appears with all files, or not at all.

    Raises:
        ValueError: for a file that must not travel; see [`check_files`].
        FileExistsError: if the folder is not empty.
        OutputError: if it cannot be written.
    """
    check_files(files)
    refuse_filled(folder)
    remove_parts_of(folder)
    with whole_or_absent(folder) as part:
        for name, content in files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                shutil.copyfile(content, path)
    return Path(folder)


def check_repository(repo_id: str) -> None:
    """Raises a `ValueError` if `repo_id` is not of the form `"owner/name"`."""
    if not is_hub_id(repo_id):
        raise ValueError(f"{repo_id!r} is no repository of the Hub: write owner/name.")


def create_repository(
    repo_id: str, *, repo_type: str = "model", private: bool = False, token: str | None = None
) -> str:
    """
    Creates a repository, if it does not exist yet.

    Args:
        repo_id (`str`): `"owner/name"`, or only a name, for a repository of the token's owner.
        repo_type (`str`, *optional*, defaults to `"model"`): `"model"`, `"dataset"`, or `"space"` for a page of
            gradio.
        private (`bool`, *optional*, defaults to `False`): create it as a private one.
        token (`str`, *optional*): default: the one of `HF_TOKEN` or `hf auth login`.

    Returns:
        `str`: its `"owner/name"`.

    Raises:
        HubError: if the Hub refuses or fails, or the repository is public already and `private` is asked for.
    """
    api = HfApi(token=token)
    with _clear_errors(repo_id):
        sdk = "gradio" if repo_type == "space" else None
        url = api.create_repo(
            repo_id, repo_type=repo_type, space_sdk=sdk, private=True if private else None, exist_ok=True
        )
        is_public = private and not api.repo_info(url.repo_id, repo_type=repo_type).private
    if is_public:
        raise HubError(
            f"{url.repo_id} is public already, and a push does not change that: make it private in its settings on "
            "the Hub, or push to a new name."
        )
    return url.repo_id


def push_files(
    files: Files,
    repo_id: str,
    *,
    replaces: str,
    message: str,
    repo_type: str = "model",
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> CommitInfo:
    """
    Pushes files to a repository in one commit: a reader sees the push as a whole or not at all.

    It does not use `upload_folder`, which splits large folders into several commits. A repeated push does not upload
    the same data again. An interrupted push can leave a new repository or branch, without any of the files.

    Args:
        files (`Mapping[str, Path | bytes]`): maps the path in the repository to the file or its content.
        repo_id (`str`): `"owner/name"`; created if it does not exist.
        replaces (`str`): regular expression. The commit deletes the files of the branch whose whole path it matches
            and which `files` lacks, so that no file of an earlier push stays.
        message (`str`): commit message.
        repo_type (`str`, *optional*, defaults to `"model"`): see [`create_repository`].
        private (`bool`, *optional*, defaults to `False`): create the repository as a private one.
        revision (`str`, *optional*): branch, created from the main one if need be; default: the main one.
        token (`str`, *optional*): default: the one of `HF_TOKEN` or `hf auth login`.

    Raises:
        ValueError: if `repo_id` is no `"owner/name"`, and for a file that must not travel; see [`check_files`].
        HubError: if the Hub refuses, fails, or the connection breaks off, or the repository is public already and
            `private` is asked for.
    """
    check_repository(repo_id)
    check_files(files)
    create_repository(repo_id, repo_type=repo_type, private=private, token=token)
    api = HfApi(token=token)
    where = {"repo_id": repo_id, "repo_type": repo_type}
    with _clear_errors(repo_id):
        if revision is not None:
            api.create_branch(**where, branch=revision, exist_ok=True)
        there = api.list_repo_files(**where, revision=revision)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()
        ]
        stale = [name for name in there if name not in files and re.fullmatch(replaces, name)]
        operations += [CommitOperationDelete(path_in_repo=name) for name in stale]
    with _clear_errors(repo_id, committing=True):
        return api.create_commit(**where, operations=operations, commit_message=message, revision=revision)


@contextmanager
def _clear_errors(repo_id: str, committing: bool = False) -> Iterator[None]:
    """Turns errors of the Hub client into a [`HubError`] of one line."""
    try:
        yield
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} is no name of a repository: {_first_line(error)}") from error
    except (HfHubHTTPError, httpx.TransportError, OfflineModeIsEnabled, RuntimeError) as error:
        # The client wraps errors of large uploads into a RuntimeError.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ is not None else error
        raise _explained(cause, repo_id, committing) from error


def _explained(error: BaseException, repo_id: str, committing: bool) -> HubError:
    if isinstance(error, OfflineModeIsEnabled):
        return HubError("HF_HUB_OFFLINE is set, so nothing was pushed: unset it and repeat the command.")
    # The Hub may have made the commit although its answer was lost.
    visible = f"Either all of the push is visible in {repo_id} or nothing" if committing else "Nothing was pushed"
    if not isinstance(error, HfHubHTTPError):
        return HubUnavailable(
            f"The connection to the Hub broke off ({type(error).__name__}: {_first_line(error)}). {visible}; repeat "
            "the command to complete it."
        )
    status = error.response.status_code
    said = f"the Hub answered {status}: {_first_line(error.server_message or error)}"
    if status == 401:
        return HubError(f"Not logged in to the Hub with a valid token ({said}). Run `hf auth login`, or set HF_TOKEN.")
    if status == 403:
        return HubError(
            f"No permission to write to {repo_id} ({said}). Push to a name of your own, or use a token with write "
            "permission for it (`hf auth login`)."
        )
    if status >= 500 or status == 429:
        return HubUnavailable(f"The Hub failed ({said}). {visible}; repeat the command to complete it.")
    return HubError(f"The Hub did not take the push to {repo_id} ({said}).")


def _first_line(error: BaseException | str) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no reason given"


__all__ = ["HubError", "HubUnavailable", "check_repository", "create_repository", "push_files", "write_files"]
