"""FER2013: stills of faces from the web in seven expressions (Goodfellow et al., 2013, arXiv 1307.0414)."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar

import datasets

from .base import ExpressionBuilder, ExpressionConfig
from .clip_files import ClipFiles, Depth, inspect_clips
from .folder_files import SPLIT_NAMES, FolderClip, clips_of_tree, packed_note
from .labels import resolve_labels, whole_number
from .listing import SPLITS, ListedClip, Listing, PublishedCounts
from .split_files import one_of, with_subfolders
from .still_tables import read_stills, still_as_png
from .terms import FER2013_TERMS, Terms

_FILES = ("fer2013.csv", "icml_face_data.csv")
_NUMBERED = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # emotion 0 to 6
_USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
_SIZE = 48  # pixels
_CLASSES = {
    "train": (7215, 4830, 4965, 3995, 3171, 436, 4097),
    "validation": (895, 653, 607, 467, 415, 56, 496),
    "test": (879, 594, 626, 491, 416, 55, 528),
}


@dataclass
class FER2013Config(ExpressionConfig):
    """
    Where FER2013 lies; see [`ExpressionConfig`].

    `data_dir` holds one of

    - `fer2013.csv` or `icml_face_data.csv`, itself or in a folder. Training, PublicTest and PrivateTest are the splits
      train, validation and test;
    - folders `train/<name>/` and `test/<name>/` of pictures; a name may be the number of the class in the table. If
      all stills of test are named `PublicTest_*` and `PrivateTest_*`, as in the folders that Kaggle hands out, these
      are the splits validation and test. Otherwise test is both together, and the validation split is a folder
      `validation/<name>/`, or cut from the training stills, with equal stills in one split.

    The check tells how many stills are repeated, within a split and in several: FER2013 has hundreds of both.

    Args:
        leave_out_copies: leave stills out of train that also stand in validation or test, and out of validation that
            also stand in test. The published figures are of models that saw them.
    """

    leave_out_copies: bool = False

    dataset: ClassVar[str] = "FER2013"
    terms: ClassVar[Terms] = FER2013_TERMS
    own_splits: ClassVar[str] = "fer2013.csv, and folders of stills named PublicTest_*.jpg and PrivateTest_*.jpg"

    def __post_init__(self):
        super().__post_init__()
        self._has_public_test = True  # whether PublicTest is told apart from PrivateTest
        if self.clips_dir is not None:
            raise ValueError("`clips_dir` is for datasets of files; give the folder of FER2013 as `data_dir`.")

    def table_file(self) -> str | None:
        """Path of the CSV file; `None` if the stills are files in folders."""
        folders = with_subfolders(self.data_dir)
        return next(filter(None, (one_of(folders, name) for name in _FILES)), None)

    def read_listing(self) -> Listing:
        """Reads labels, splits and hashes of all stills."""
        file = self.table_file()
        clips, digests, notes = self._rows_of_folders() if file is None else _rows_of_table(file)
        notes += copy_notes(clips, digests)
        if self.leave_out_copies:
            kept = without_copies(clips, digests)
            counts = Counter(clip.split for clip in clips) - Counter(clips[index].split for index in kept)
            left_out = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])
            notes.append(f"left out: {left_out or 'none'}, which also stand in a later split (`leave_out_copies`)")
            clips, digests = [clips[index] for index in kept], [digests[index] for index in kept]
        has_validation = any(clip.split == "validation" for clip in clips)
        if has_validation and self.peer_protocol:
            raise ValueError(f"{self.data_dir}: gives a validation split, so `peer_protocol` has no meaning here.")
        if file is None and not has_validation and "validation" in self.cut_splits and not self.peer_protocol:
            clips = self._with_validation(clips, digests)
        return Listing(clips, self.label_names, [file] if file else [], notes)

    def _rows_of_folders(self) -> tuple[list[ListedClip], list[bytes], list[str]]:
        self._require_split_folders()
        found, _ = clips_of_tree(self.data_dir)
        texts, places = [clip.label for clip in found], [clip.place for clip in found]
        labels, _ = resolve_labels(texts, places, _NUMBERED, base=0)
        found, self._has_public_test = _with_public_test(found)
        digests = []
        for clip in found:
            with open(clip.path, "rb") as stream:
                digests.append(hashlib.file_digest(stream, "blake2b").digest())
        clips = [
            ListedClip(clip.clip_id, label, clip.split, clip.path, clip.place)
            for clip, label in zip(found, labels, strict=True)
        ]
        told = "validation: the stills named PublicTest_*; test: those named PrivateTest_*"
        return clips, digests, ["stills: folders by class", *[told] * self._has_public_test]

    def _require_split_folders(self) -> None:
        """Refuses a folder of something else before its class folders are read."""
        roots = (self.data_dir, os.path.join(self.data_dir, os.path.basename(self.data_dir)))
        names = {name.lower() for root in roots if os.path.isdir(root) for name in os.listdir(root)}
        if not names & SPLIT_NAMES.keys():
            raise ValueError(
                f"{self.data_dir}: is no folder of FER2013: it holds neither {' nor '.join(_FILES)}, nor folders of "
                f"pictures such as train/<name>/ and test/<name>/.{packed_note(self.data_dir)}"
            )

    def _with_validation(self, clips: list[ListedClip], digests: list[bytes]) -> list[ListedClip]:
        """The stills with a validation split cut from train, with equal stills in one split. The cut is among one of
        each; groups of equal stills would take [`cut_split`] many seconds."""
        first: dict[bytes, ListedClip] = {}
        for clip, digest in zip(clips, digests, strict=True):
            if clip.split == "train":
                first.setdefault(digest, clip)
        cut = self.cut(list(first.values()), "validation", self.validation_fraction, has_groups=False)
        splits = {digest: clip.split for digest, clip in zip(first, cut, strict=True)}
        return [
            replace(clip, split=splits[digest]) if clip.split == "train" else clip
            for clip, digest in zip(clips, digests, strict=True)
        ]

    def may_test_validation_clips(self) -> bool:
        """Whether stills of PublicTest may be among those of the folders test, whose names do not tell."""
        clips = self.listing.clips
        gives_validation = "validation" not in self._cut and any(clip.split == "validation" for clip in clips)
        if self.table_file() is not None or gives_validation:
            return False
        return any(clip.split == "test" and _usage(clip.path) != "PrivateTest" for clip in clips)

    def inspect(
        self, clips: list[ListedClip], depth: Depth, known: dict[str, ClipFiles] | None = None
    ) -> dict[str, ClipFiles]:
        """The stills of a table as PNG; of folders as [`inspect_clips`] finds them."""
        file = self.table_file()
        if file is None:
            return inspect_clips(clips, depth, known)
        known = {} if known is None else known
        listed = {clip.path for clip in clips}
        for row in read_stills(file):
            if row.place in listed:
                try:
                    known[row.place] = ClipFiles(content=still_as_png(row, _SIZE))
                except ValueError as error:
                    known[row.place] = ClipFiles(problem="unreadable", detail=str(error))
        return known

    def published(self) -> PublishedCounts:
        """Counts of the authors' table, or of the folders made of it."""
        classes = dict(_CLASSES)
        self.listing  # noqa: B018 - it finds out which splits there are
        if not self._has_public_test:
            classes["test"] = _sums(classes.pop("validation"), classes["test"])
        classes["all"] = _sums(*classes.values())
        return PublishedCounts({split: sum(counts) for split, counts in classes.items()}, classes)


def _sums(*counts: Sequence[int]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*counts, strict=True)))


def _with_public_test(found: Sequence[FolderClip]) -> tuple[list[FolderClip], bool]:
    """The stills with PublicTest as validation, and True, if the names of all stills of test begin with their `Usage`;
    otherwise as they are, and False."""
    usages = {clip.path: _usage(clip.path) for clip in found}
    in_test = {usages[clip.path] for clip in found if clip.split == "test"}
    if in_test != {"PublicTest", "PrivateTest"} or any(clip.split == "validation" for clip in found):
        return list(found), False
    return [
        replace(clip, split="validation") if clip.split == "test" and usages[clip.path] == "PublicTest" else clip
        for clip in found
    ], True


def _usage(path: str) -> str:
    """The `Usage` of a still, if the name of its file begins with it."""
    return os.path.basename(path).partition("_")[0]


def _rows_of_table(file: str) -> tuple[list[ListedClip], list[bytes], list[str]]:
    clips, digests = [], []
    for row in read_stills(file):
        emotion = whole_number(row.emotion)
        if emotion is None or not 0 <= emotion < len(_NUMBERED):
            raise ValueError(f"{row.place}: `emotion` is {row.emotion!r}; FER2013 numbers its classes from 0 to 6.")
        if row.usage not in _USAGES:
            raise ValueError(f"{row.place}: `Usage` is {row.usage!r}; expected {', '.join(_USAGES)}.")
        # The name that FER+ gives the same still. There is no file, so the place stands for the path.
        clip_id = f"fer{row.index:07d}"
        clips.append(ListedClip(clip_id, _NUMBERED[emotion], _USAGES[row.usage], row.place, row.place))
        digests.append(row.digest)
    return clips, digests, [f"stills: {file}"]


def copy_notes(clips: Sequence[ListedClip], digests: Sequence[bytes]) -> list[str]:
    """
    Notes on equal stills within a split, in several splits, and with different labels.

    Args:
        clips (`Sequence[ListedClip]` of length N): the stills.
        digests (`Sequence[bytes]` of length N): a hash of each still.
    """
    groups: dict[bytes, list[ListedClip]] = {}
    for clip, digest in zip(clips, digests, strict=True):
        groups.setdefault(digest, []).append(clip)
    repeated = [group for group in groups.values() if len(group) > 1]
    kinds = {
        "stand in several splits": lambda one, other: one.split != other.split,
        "are repeated within a split": lambda one, other: one.split == other.split,
        "have different labels in different places": lambda one, other: one.label != other.label,
    }
    notes = []
    for what, is_of_kind in kinds.items():
        pairs = [next((pair for pair in combinations(group, 2) if is_of_kind(*pair)), None) for group in repeated]
        pairs = [pair for pair in pairs if pair is not None]
        if pairs:
            names = " and ".join(f"{clip.clip_id} ({clip.label}, {clip.split})" for clip in pairs[0])
            notes.append(f"{len(pairs)} stills {what}, such as {names}")
    return notes


def without_copies(clips: Sequence[ListedClip], digests: Sequence[bytes]) -> list[int]:
    """Indices of the stills that stand in no later split. The order of splits is train, validation, test; arguments as
    for [`copy_notes`]."""
    last: dict[bytes, int] = {}
    for clip, digest in zip(clips, digests, strict=True):
        last[digest] = max(last.get(digest, 0), SPLITS.index(clip.split))
    return [
        index
        for index, (clip, digest) in enumerate(zip(clips, digests, strict=True))
        if SPLITS.index(clip.split) == last[digest]
    ]


class FER2013(ExpressionBuilder):
    """FER2013: 35,887 grey stills of 48 x 48 pixels with one of seven expressions.

    Its authors state no licence: the pictures come from web searches. Weights trained on it are for research.
    See [`ExpressionBuilder`] for columns and splits and [`FER2013Config`] for the arguments. A still is a clip of one
    frame; `clip` is `{"bytes", "path", "frames"}`, with the content of a PNG file for stills of a table.

    Example:

    ```python
    >>> from modeling_hdf.data import FER2013, load_clip
    >>> builder = FER2013(data_dir="fer2013")
    >>> builder.download_and_prepare()
    >>> load_clip(builder.as_dataset(split="test")[0]).shape
    (1, 48, 48, 3)
    ```
    """

    BUILDER_CONFIG_CLASS = FER2013Config

    def _features(self) -> dict[str, Any]:
        features = super()._features()
        return features | {"clip": {"bytes": datasets.Value("binary"), **features["clip"]}}

    def _row(self, clip: ListedClip, files: ClipFiles) -> dict[str, Any]:
        path = f"{clip.clip_id}.png" if files.content is not None else None
        return super()._row(clip, files) | {"clip": {"bytes": files.content, "path": path, "frames": files.frames}}


__all__ = ["FER2013", "FER2013Config", "copy_notes", "without_copies"]
