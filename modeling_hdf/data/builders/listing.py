"""What a dataset's annotation lists: its clips with their labels and places on disk, before any clip is opened."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from .validation_split import held_out

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ListedClip:
    """One clip as the annotation lists it.

    Attributes:
        clip_id: its name, as the split file writes it.
        label: name of its class.
        split: `"train"`, `"validation"` or `"test"`.
        path: where it lies, or ought to lie: a video file or a folder of frames.
        place: file and line that list it.
        fold: number of the fold, from 1.
        scene: kind of scene, where the dataset has them.
        group: what must not be shared between splits, such as a person; `None` if not known.
    """

    clip_id: str
    label: str
    split: str
    path: str
    place: str
    fold: int | None = None
    scene: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class PublishedCounts:
    """Number of clips that the authors of a dataset publish, per column `"train"`, `"test"` and `"all"`.

    Attributes:
        totals: clips in all.
        classes: clips of each class, in order, for the columns for which they are published.
    """

    totals: dict[str, int] = field(default_factory=dict)
    classes: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Listing:
    """All that a dataset's annotation says.

    Attributes:
        clips: the clips, checked by [`check_listing`].
        labels: names of the classes, in order.
        files: the annotation files.
        notes: what was found and chosen, for the report.
        has_groups: whether the validation split must be cut by whole groups.
    """

    clips: list[ListedClip]
    labels: tuple[str, ...]
    files: list[str]
    notes: list[str] = field(default_factory=list)
    has_groups: bool = False

    def digest(self) -> str:
        """Hash of the annotation files' contents, and of place and time of change of each clip.

        A builder's cache carries it in its name, so that a corrected label, or a clip that was missing and has come,
        is seen.
        """
        state = hashlib.sha256()
        for file in self.files:
            with open(file, "rb") as stream:
                state.update(hashlib.file_digest(stream, "sha256").digest())
        for clip in self.clips:
            state.update(f"{clip.split}\0{clip.label}\0{clip.path}\0{_changed(clip.path)}\n".encode())
        return state.hexdigest()[:16]


def _changed(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def check_listing(clips: Iterable[ListedClip]) -> tuple[list[ListedClip], list[str]]:
    """
    The clips without those that are listed again, and a note of how many those were.

    Raises:
        ValueError: if a clip is listed with two labels, or in two splits; the message names both places.
    """
    first: dict[str, ListedClip] = {}
    repeated = 0
    for clip in clips:
        known = first.setdefault(os.path.normpath(clip.path), clip)
        if known is clip:
            continue
        if known.label != clip.label:
            raise ValueError(
                f"Clip {clip.clip_id!r} is listed as {known.label} ({known.place}) and as {clip.label} ({clip.place})."
            )
        if known.split != clip.split:
            raise ValueError(
                f"Clip {clip.clip_id!r} is listed for {known.split} ({known.place}) and for {clip.split} "
                f"({clip.place}); a clip must be in one split."
            )
        repeated += 1
    notes = [f"{repeated} clips are listed more than once; each is used once"] if repeated else []
    return list(first.values()), notes


def cut_split(
    clips: Sequence[ListedClip], name: str, fraction: float, seed: int, has_groups: bool
) -> list[ListedClip]:
    """
    Moves a share of the training clips to split `name`; see [`held_out`].

    Whether a clip's files are there plays no part, so that the same listing is always cut alike.
    """
    train = [clip for clip in clips if clip.split == "train"]
    groups = [clip.group or clip.clip_id for clip in train] if has_groups else None
    chosen = held_out([clip.clip_id for clip in train], [clip.label for clip in train], fraction, seed, groups)
    moved = {clip.clip_id for clip, is_held_out in zip(train, chosen, strict=True) if is_held_out}
    return [replace(clip, split=name) if clip.split == "train" and clip.clip_id in moved else clip for clip in clips]


def count_labels(clips: Iterable[ListedClip], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Number of clips per split and class, with zeros."""
    counted = Counter((clip.split, clip.label) for clip in clips)
    return {split: {label: counted[split, label] for label in labels} for split in SPLITS}


__all__ = ["ListedClip", "Listing", "PublishedCounts", "check_listing", "count_labels", "cut_split"]
