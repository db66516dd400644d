"""The clips that a dataset's annotation lists, with labels and paths, before any clip is opened."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ListedClip:
    """One clip as the annotation lists it.

    Attributes:
        clip_id: its name, as the split file writes it.
        label: name of its class.
        split: `"train"`, `"validation"` or `"test"`.
        path: its actual or expected path: a video file or a folder of frames.
        place: file and line that list it.
        fold: number of the fold, from 1.
        scene: kind of scene, where the dataset has them.
        group: a group whose clips must stay in one split, such as a person; `None` if not known.
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
        classes: clips of each class, in order, for each column with published counts.
    """

    totals: dict[str, int] = field(default_factory=dict)
    classes: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Listing:
    """The content of a dataset's annotation.

    Attributes:
        clips: the clips, checked by [`check_listing`].
        labels: names of the classes, in order.
        files: the annotation files.
        notes: notes on how the data were found and read; [`DatasetCheck`] shows them.
        has_groups: whether the validation split must be cut by whole groups.
    """

    clips: list[ListedClip]
    labels: tuple[str, ...]
    files: list[str]
    notes: list[str] = field(default_factory=list)
    has_groups: bool = False

    def digest(self, with_frames: bool) -> str:
        """Hash of the annotation files' contents, and of the path, newest modification time and size of each clip.

        It is part of the cache folder's name, so that a corrected label or a new clip renews the cache.

        Args:
            with_frames: also look at each frame in a folder, which takes time. A frame that was repaired in place is
                seen only then. It makes a difference only if the cache may have left clips out.
        """
        state = hashlib.sha256()
        for file in self.files:
            with open(file, "rb") as stream:
                state.update(hashlib.file_digest(stream, "sha256").digest())
        for clip in self.clips:
            found = _state(clip.path, with_frames)
            told = f"{clip.split}\0{clip.label}\0{clip.path}\0{found}\n"
            state.update(told.encode(errors="surrogateescape"))
        return state.hexdigest()[:16]

    def split_digest(self, split: str) -> str:
        """Hash of the names of the clips of a split, in any order."""
        names = sorted(clip.clip_id for clip in self.clips if clip.split == split)
        return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:16]


def _state(path: str, with_frames: bool) -> tuple[int, int]:
    """Newest modification time (ns) and size (bytes) of a file, or of a folder and, if asked, its frames: the time of
    the folder alone does not change when a frame is repaired in place. Zeros if there is nothing."""
    files = [path]
    for folder, folders, names in os.walk(path):
        folders[:] = {os.path.basename(folder)}.intersection(folders)  # frames unpacked into a folder of its name
        files += [os.path.join(folder, name) for name in (*folders, *(names if with_frames else ()))]
    newest = size = 0
    for file in files:
        try:
            found = os.stat(file)
        except OSError:  # also a link to nothing
            continue
        newest, size = max(newest, found.st_mtime_ns), size + found.st_size
    return newest, size


def check_listing(clips: Iterable[ListedClip]) -> tuple[list[ListedClip], list[str]]:
    """
    The clips without repeated entries, and a note with the number of repeated entries.

    Raises:
        ValueError: if a clip is listed with two labels or in two splits; the message names both places.
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
    Moves a share of the training clips of each class to split `name`, by whole groups if there are groups.

    The cut depends only on the listed clips and the seed, not on the order of the clips or on their files.

    Without groups each class gives its rounded share, and at least one clip if it has two or more. With groups
    (people, scenes) the new split is one of n folds, where n is the whole number nearest to `1 / fraction`
    (scikit-learn's `StratifiedGroupKFold`). The shares are then approximate, and a class whose clips all belong to
    one group is in only one of the two splits.

    Args:
        clips (`Sequence[ListedClip]`): the clips of all splits, with unique `clip_id`s.
        name (`str`): the new split.
        fraction (`float`): share of the training clips to move, above 0 and below 1.
        seed (`int`): non-negative seed of the cut.
        has_groups (`bool`): whether to keep groups whole; a clip without a group forms its own group.

    Raises:
        ValueError: if there is no training clip, if every class has a single clip, or if all clips belong to one
            group that must stay whole.
    """
    train = sorted((clip for clip in clips if clip.split == "train"), key=lambda clip: clip.clip_id)
    if not train:
        raise ValueError(f"No {name} split can be cut: there are no training clips.")
    labels = np.array([clip.label for clip in train])
    if has_groups:
        held_out = _cut_groups(labels, np.array([clip.group or clip.clip_id for clip in train]), name, fraction, seed)
    else:
        held_out = _cut_classes(labels, name, fraction, seed)
    moved = {train[index].clip_id for index in held_out}
    return [replace(clip, split=name) if clip.split == "train" and clip.clip_id in moved else clip for clip in clips]


def _cut_classes(labels: np.ndarray, name: str, fraction: float, seed: int) -> np.ndarray:
    """Indices of the clips to hold out: the share of each class, and at least one clip of a rare class."""
    generator = np.random.RandomState(seed)  # shared: classes of equal size get different cuts
    held_out = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        if count:  # `train_test_split` alone, with `stratify`, refuses a single clip and may leave a rare class out
            held_out += train_test_split(members, test_size=count, random_state=generator)[1].tolist()
    if not held_out:
        raise ValueError(
            f"No {name} split can be cut from the training clips: a class gives one clip if it has two, but each of "
            f"{', '.join(np.unique(labels))} has a single one."
        )
    return np.array(held_out)


def _cut_groups(labels: np.ndarray, groups: np.ndarray, name: str, fraction: float, seed: int) -> np.ndarray:
    """Indices of the clips to hold out: one of n folds of whole groups (for a fraction above 1/2, all folds but one).
    The choice is among the folds that leave the most classes in training, then in the new split."""
    num_groups = len(np.unique(groups))
    if num_groups < 2:
        raise ValueError(f"No {name} split can be cut by whole groups: all training clips are of one group.")
    most = min(num_groups, np.unique(labels, return_counts=True)[1].max())
    if most < 2:
        raise ValueError(f"No {name} split can be cut from the training clips: each class has a single one.")
    num_folds = int(np.clip(round(1 / min(fraction, 1 - fraction)), 2, most))
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a class may have fewer groups than folds
        folds = [fold for fold in splitter.split(labels, labels, groups) if len(fold[1])]
    parts = [(rest, fold) if fraction <= 0.5 else (fold, rest) for rest, fold in folds]
    num_classes = [tuple(len(np.unique(labels[part])) for part in pair) for pair in parts]  # training first
    best = [held_out for (_, held_out), count in zip(parts, num_classes, strict=True) if count == max(num_classes)]
    return best[seed % len(best)]  # the splitter's own seed changes little if groups differ in size


def count_labels(clips: Iterable[ListedClip], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Number of clips per split and class, also of classes without clips."""
    counted = Counter((clip.split, clip.label) for clip in clips)
    return {split: {label: counted[split, label] for label in labels} for split in SPLITS}


__all__ = ["SPLITS", "ListedClip", "Listing", "PublishedCounts", "check_listing", "count_labels", "cut_split"]
