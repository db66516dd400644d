"""Finds the clips of a dataset on disk: folders by name, and clips in them by number."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from transformers.utils import logging

from ...file_kinds_hdf import VIDEO_SUFFIXES, is_clutter
from ..file_names import is_text, printable

logger = logging.get_logger(__name__)

_DEPTH = 5
_MOST_SUBFOLDERS = 200  # thousands of folders of clips, on a network disk, would take minutes
_CLIP_NAME = re.compile(rf"([0-9]+)({'|'.join(re.escape(suffix) for suffix in VIDEO_SUFFIXES)})?", re.IGNORECASE)


def existing_folder(path: str | os.PathLike | None, option: str) -> str:
    """Absolute path of a folder that an option names.

    Raises:
        ValueError: if `path` is `None`. FileNotFoundError: if the folder does not exist.
    """
    if path is None:
        raise ValueError(f"`{option}` is missing: the folder that holds the dataset.")
    if not os.path.isdir(path):
        raise FileNotFoundError(f"{path}: no such folder; `{option}` must be the folder that holds the dataset.")
    path = os.path.abspath(path)
    if not is_text(path):
        raise ValueError(f"`{option}` is {printable(path)}, whose name is not UTF-8; rename the folder.")
    return path


def find_folders(root: str | os.PathLike, patterns: Mapping[str, str]) -> dict[str, list[str]]:
    """
    Folders whose names match, up to five levels below `root`, the shallowest first.

    A folder that was unpacked into a folder of the same name (`original/original`) is found on both levels. A folder
    with more than 200 subfolders is taken to hold clips: the search enters only those that match. It skips unreadable
    folders and warns.

    Args:
        root (`str` or `Path`): where to look.
        patterns (`Mapping[str, str]`): for each key, a regular expression for the whole name, without regard to case.

    Returns:
        `dict[str, list[str]]`: the folders found for each key; the list may be empty.
    """
    compiled = {key: re.compile(pattern, re.IGNORECASE) for key, pattern in patterns.items()}
    found: dict[str, list[str]] = {key: [] for key in patterns}
    level = _subfolders(os.fspath(root), compiled)
    for depth in range(1, _DEPTH + 1):
        next_level = []
        for folder in level:
            matches = [key for key, pattern in compiled.items() if pattern.fullmatch(os.path.basename(folder))]
            for key in matches:
                found[key].append(folder)
            if depth < _DEPTH:
                next_level += _subfolders(folder, compiled, only_matches=bool(matches))
        level = next_level
    return found


def _subfolders(folder: str, patterns: Mapping[str, re.Pattern], only_matches: bool = False) -> list[str]:
    """Subfolders that are no numbered clips; only the matching ones with `only_matches` or if there are too many."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if not is_clutter(entry.name) and not _CLIP_NAME.fullmatch(entry.name) and entry.is_dir()
            ]
    except PermissionError:
        logger.warning(f"{folder}: cannot be read (no permission), so nothing is looked for in it.")
        return []
    if only_matches or len(names) > _MOST_SUBFOLDERS:
        names = [name for name in names if any(pattern.fullmatch(name) for pattern in patterns.values())]
    return [os.path.join(folder, name) for name in sorted(names)]


def choose_clips(
    data_dir: str,
    variants: Mapping[str, str],
    variant: str | None,
    clips_dir: str | None,
    annotation: str | None = None,
) -> tuple[list[str], list[str]]:
    """
    The folders that hold the clips of a dataset, which may lie on disk in several forms.

    Args:
        data_dir (`str`): where to look.
        variants (`Mapping[str, str]`): folder name (a regular expression) of each form, the preferred first.
        variant (`str`, *optional*): the form to use; `None` takes the first form found.
        clips_dir (`str`, *optional*): a folder to use in place of all forms.
        annotation (`str`, *optional*): a split file. If no form is found, the function takes numbered clips that lie
            beside this file or beside a folder around it.

    Returns:
        The folders to search for clips (several if an archive was unpacked into itself or in parts), and notes on the
        choice.

    Raises:
        FileNotFoundError: if there is no such folder; the message lists the expected names.
    """
    if clips_dir is not None:
        return [clips_dir], [f"clips: {clips_dir}"]
    found = {name: roots for name, roots in find_folders(data_dir, variants).items() if roots}
    name = variant or next((name for name in variants if name in found), None)
    beside = _clips_beside(annotation, data_dir) if annotation and name is None else None
    if beside is not None:
        return [beside], [f"clips: {beside}, in no folder of a variant"]
    if name not in found:
        wanted = variants if name is None else {name: variants[name]}
        raise FileNotFoundError(
            f"{data_dir}: holds no folder of clips; looked for {', '.join(wanted.values())} up to {_DEPTH} levels "
            "below (`clips_dir` names a folder of your own)."
        )
    notes = [f"clips: variant {name}, {', '.join(found[name])}"]
    others = [other for other in found if other != name]
    if others:
        notes.append(f"also there, not used: {', '.join(others)} (`--variant` chooses)")
    return found[name], notes


def _clips_beside(annotation: str, data_dir: str) -> str | None:
    """The innermost folder around a split file, up to `data_dir`, that holds numbered clips."""
    folder = os.path.dirname(annotation)
    while folder != data_dir and not _numbered_entries(folder):
        folder = os.path.dirname(folder)
    return folder if _numbered_entries(folder) else None


class ClipIndex:
    """
    Finds clips by number in folders that hold them as video files or as folders of frames.

    Names are compared as numbers: `1`, `00001` and `00001.mp4` name the same clip.

    Args:
        roots (`list[str]`): the folders to search, in order.
    """

    def __init__(self, roots: list[str]):
        self.roots = roots
        self.repeated: list[str] = []  # clips found in more than one root
        self._entries: dict[str, dict[int, str]] = {}

    def find(self, number: int, parent: str = "", expected: str | None = None) -> str:
        """
        Path of clip `number` in folder `parent` (relative to the roots), or its expected path if it is missing.

        Raises:
            ValueError: if one folder holds the clip twice, as `1` and `00001`, or as a folder and a video.
            OSError: if the folder cannot be read; the message names it.
        """
        hits = []
        for root in self.roots:
            folder = os.path.join(root, parent) if parent else root
            if folder not in self._entries:
                self._entries[folder] = _numbered_entries(folder)
            if number in self._entries[folder]:
                hits.append(self._entries[folder][number])
        if len(hits) > 1:
            self.repeated.append(hits[0])
        return hits[0] if hits else os.path.join(self.roots[0], parent, expected or str(number))


def repetition_note(index: ClipIndex) -> list[str]:
    """A note on clips that lie in several folders of the index, if there are any."""
    if not index.repeated:
        return []
    return [f"{len(index.repeated)} clips lie in more than one folder, such as {index.repeated[0]}; the first is used"]


def _numbered_entries(folder: str) -> dict[int, str]:
    if not os.path.isdir(folder):
        return {}
    found: dict[int, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _CLIP_NAME.fullmatch(entry.name)
            if match is None:
                continue
            number = int(match[1])
            if number in found:
                first, second = sorted((os.path.basename(found[number]), entry.name))
                raise ValueError(f"{folder}: {first!r} and {second!r} are the same clip; remove one of them.")
            found[number] = entry.path
    return found


def clip_number(text: str, place: str) -> int:
    """Number of a clip such as `"00012"`, `"12"` or `"00012.mp4"`.

    Raises:
        ValueError: if the text is no clip number; the message names file and line.
    """
    match = _CLIP_NAME.fullmatch(Path(text).name)
    if match is None:
        raise ValueError(f"{place}: {text!r} is not the number of a clip.")
    return int(match[1])


__all__ = ["ClipIndex", "choose_clips", "clip_number", "existing_folder", "find_folders", "repetition_note"]
