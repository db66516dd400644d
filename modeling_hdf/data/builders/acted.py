"""Shared by datasets of acted clips: names that say everything, folds by actor, an actor's clips in one split."""

import os
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets

from ...file_kinds_hdf import file_kind, is_clutter, natural_key
from ..file_names import printable
from .base import ExpressionBuilder, ExpressionConfig
from .clip_files import ClipFiles
from .folder_files import packed_note
from .listing import ListedClip

_DEPTH = 5


@dataclass
class ActedConfig(ExpressionConfig):
    """
    Base of the configurations of acted datasets: folds by actor; see [`ExpressionConfig`].

    The validation split is cut by whole actors, and no two splits share an actor.
    """

    clip_name: ClassVar[re.Pattern]  # the whole name of a clip without suffix
    example: ClassVar[str]
    test_actors: ClassVar[dict[str, tuple[int, ...]]]  # by fold

    def find_clips(self) -> tuple[dict[str, str], list[str]]:
        """
        The path of each clip, a video or a folder of frames, by its name without suffix; and notes.

        Raises:
            FileNotFoundError: if there is no clip.
            OSError: if a folder cannot be listed.
        """
        root = self.clips_dir or self.data_dir
        found, repeated = find_named(root, self.clip_name)
        if not found:
            raise FileNotFoundError(
                f"{root}: holds no clip of {self.dataset}; looked up to {_DEPTH} levels below for names such as "
                f"{self.example}.{packed_note(root)}"
            )
        notes = [f"clips: {root}"]
        if repeated:
            notes.append(f"{len(repeated)} clips lie in more than one place, such as {repeated[0]}; the first is used")
        return found, notes

    def no_clip_for(self, split: str) -> str:
        """Which actors lack."""
        root, actors = self.clips_dir or self.data_dir, ", ".join(map(str, self.test_actors[self.name]))
        whose = f"actors {actors}" if split == "test" else f"any actor but {actors}"
        return f"{root}: holds no clip of {whose}, which {split} of {self.name} needs.{packed_note(root)}"

    def require_annotation(self) -> None:
        """Raises a `FileNotFoundError` if there is no clip: its name is its annotation."""
        self.find_clips()

    def split_of(self, actor: int) -> str:
        """`"test"` or `"train"`, by the fold."""
        return "test" if actor in self.test_actors[self.name] else "train"


def find_named(root: str, pattern: re.Pattern) -> tuple[dict[str, str], list[str]]:
    """
    Videos and folders whose names fit, up to five levels below `root`; folders in natural order, an upper level first.

    Args:
        root (`str`): where to look.
        pattern (`re.Pattern`): for the whole name without suffix.

    Returns:
        The path by name, and the paths of a name that was found before.

    Raises:
        OSError: if a folder cannot be listed.
    """
    found: dict[str, str] = {}
    repeated = []
    level = [root]
    for _ in range(_DEPTH + 1):
        below = []
        for folder in level:
            with os.scandir(folder) as entries:
                kinds = {entry.name: entry.is_dir() for entry in entries if not is_clutter(entry.name)}
            for name in sorted(kinds, key=natural_key):
                path = os.path.join(folder, name)
                stem = name if kinds[name] else os.path.splitext(name)[0]
                if pattern.fullmatch(stem) and (kinds[name] or file_kind(path) == "video"):
                    if found.setdefault(stem, path) != path:
                        repeated.append(printable(path))
                elif kinds[name]:
                    below.append(path)
        level = below
    return found, repeated


class ActedBuilder(ExpressionBuilder):
    """Base of the builders of acted datasets. More columns: `group` (string), the actor, and those of `about`."""

    about: ClassVar[dict[str, str]]  # type of each column that `known_of` fills

    def known_of(self, clip_id: str) -> dict[str, Any]:
        """The columns `about` of a clip; `None` for what is not known."""
        raise NotImplementedError

    def _features(self) -> dict[str, Any]:
        about = {name: datasets.Value(kind) for name, kind in self.about.items()}
        return super()._features() | {"group": datasets.Value("string")} | about

    def _row(self, clip: ListedClip, files: ClipFiles) -> dict[str, Any]:
        return super()._row(clip, files) | {"group": clip.group} | self.known_of(clip.clip_id)


__all__ = ["ActedBuilder", "ActedConfig", "find_named"]
