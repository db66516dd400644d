"""What a dataset's annotation lists: its clips with their labels and places on disk, before any clip is opened."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

SPLITS = ("train", "validation", "test")
_ORDERS = 1000  # random orders of the groups to try; 36,000 clips take 0.3 s in 22 groups, 3 s in a group each


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
        notes: what was found and chosen; [`DatasetCheck`] shows them.
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
    Moves a share of the training clips to split `name`: of each class, and by whole groups where there are any.

    The cut depends on the listed clips and the seed alone: not on their order, nor on whether their files are there.

    Without groups each class gives its share, rounded, and one clip at least if it has two; a single clip of a class
    stays in training. With groups (people, scenes) the shares are approximate, and a class whose clips all lie in one
    group is in one of the two parts.

    Args:
        clips (`Sequence[ListedClip]`): the clips of all splits, each with a `clip_id` of its own.
        name (`str`): the new split.
        fraction (`float`): share of the training clips to move, above 0 and below 1.
        seed (`int`): non-negative seed of the cut.
        has_groups (`bool`): whether to keep groups whole; a clip without one is a group of its own.

    Raises:
        ValueError: if there is no training clip, if every class has a single one, or if all lie in one group
            that must stay whole.
    """
    train = sorted((clip for clip in clips if clip.split == "train"), key=lambda clip: clip.clip_id)
    if not train:
        raise ValueError(f"No {name} split can be cut: there are no training clips.")
    labels = np.array([clip.label for clip in train])
    if has_groups:
        held_out = _cut_groups(labels, np.array([clip.group or clip.clip_id for clip in train]), name, fraction, seed)
    else:
        held_out = _cut_classes(labels, name, fraction, seed)
    moved = {clip.clip_id for clip, is_held_out in zip(train, held_out, strict=True) if is_held_out}
    return [replace(clip, split=name) if clip.split == "train" and clip.clip_id in moved else clip for clip in clips]


def _cut_classes(labels: np.ndarray, name: str, fraction: float, seed: int) -> np.ndarray:
    """Which clips to hold out, `(num_clips,)` bool: the share of each class, and one clip of a rare one."""
    generator, held_out = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out[generator.choice(members, count, replace=False)] = True
    if not held_out.any():
        raise ValueError(
            f"No {name} split can be cut from the training clips: a class gives one clip if it has two, but each of "
            f"{', '.join(np.unique(labels))} has a single one."
        )
    return held_out


def _cut_groups(labels: np.ndarray, groups: np.ndarray, name: str, fraction: float, seed: int) -> np.ndarray:
    """
    Which clips to hold out, `(num_clips,)` bool: the first groups of a random order.

    Of all beginnings of many orders it is the one that leaves most classes in both parts, and of those the one whose
    shares of the classes are nearest to `fraction`.
    """
    _, group_ids = np.unique(groups, return_inverse=True)
    classes, label_ids = np.unique(labels, return_inverse=True)
    counts = np.zeros((group_ids.max() + 1, len(classes)))  # (num_groups, num_classes)
    np.add.at(counts, (group_ids, label_ids), 1)
    if len(counts) < 2:
        raise ValueError(f"No {name} split can be cut by whole groups: all training clips are of one group.")
    generator, candidates = np.random.default_rng(seed), []
    for _ in range(_ORDERS):
        order = generator.permutation(len(counts))
        shares = counts[order].cumsum(0)[:-1] / counts.sum(0)  # of each class, in the first 1, 2, ... groups
        one_sided = ((shares == 0) | (shares == 1)).sum(1)
        distances = ((shares / fraction - 1) ** 2).sum(1).round(9)  # no last bit decides
        best = np.lexsort((distances, one_sided))[0]
        candidates.append((one_sided[best], distances[best], order[: best + 1]))
    *_, held_out = min(candidates, key=lambda candidate: candidate[:2])
    return np.isin(group_ids, held_out)


def count_labels(clips: Iterable[ListedClip], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Number of clips per split and class, with zeros."""
    counted = Counter((clip.split, clip.label) for clip in clips)
    return {split: {label: counted[split, label] for label in labels} for split in SPLITS}


__all__ = ["SPLITS", "ListedClip", "Listing", "PublishedCounts", "check_listing", "count_labels", "cut_split"]
