"""Videos of your own: folders by class, or a CSV or JSON-lines file with path and label."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets
from transformers.utils import logging

from ...file_kinds_hdf import file_kind
from ..clip_io import left_aside
from .base import ExpressionBuilder, ExpressionConfig
from .clip_files import ClipFiles
from .clip_lists import clips_of_lists, find_lists
from .folder_files import FolderClip, clips_of_tree
from .labels import (
    EXPRESSIONS,
    MAFW_EXPRESSIONS,
    expression_name,
    plain_name,
    resolve_labels,
    spelling_notes,
    whole_number,
)
from .listing import SPLITS, ListedClip, Listing, check_listing

logger = logging.get_logger(__name__)


@dataclass
class VideoFolderConfig(ExpressionConfig):
    """
    Which videos, with which classes; see [`ExpressionConfig`].

    `data_dir` holds either a list (a CSV or JSON-lines file) with the columns

    - `path`: a video file, a folder of frames or a picture, relative to `data_dir` or absolute;
    - `label`: name or number of the class;
    - `split` (optional): `train`, `validation` or `test`;
    - `group` (optional): a group whose clips must stay in one split, such as a person;
    - `clip_id` (optional): a name to use in place of the path;
    - `fold`, `scene` (optional): see [`ExpressionBuilder`];

    or a folder for each class, with a video file or a folder of frames for each clip. All clips lie in
    `<class>/<clip>`, or all lie in `<class>/<group>/<clip>`, such as a folder for each person. The class folders may
    lie in `<split>/`. A still is a clip of one frame: a path in a list may name a picture, and class folders may hold
    nothing but pictures.

    A list may use other clear names for the columns path and label (`video_path`, `emotion`; see [`read_table`] for
    delimiters). A list without column names has two columns: path and label; between them VideoMAE's lists of frame
    folders give the number of frames. Lists named `train.csv`, `val.csv` and `test.csv` each hold a split.

    Missing splits are cut from the training clips: first test, then validation, by whole groups if there are groups.
    If there are no training clips, nothing is cut, and the data must contain a test split.

    Args:
        metadata: the CSV or JSON-lines file, relative to `data_dir`; `None` takes the only list in `data_dir`, or the
            lists named after splits.
        labels: names of the classes, in order. `None` takes our seven expressions (eleven, if one of the other four
            occurs), under any of their names; classes with other names need `labels`. A label is matched in this
            order: with the name of a class, without regard to case and spaces; with a single class that names the same
            expression (`"Happy"` is `"happiness"`); with the number of a class, unless a class is named by a number.
        test_fraction: share of the clips to cut for testing if the data have no test split, above 0 and below 1.
        label_base: 1 if numeric labels count from 1, 0 if they count from 0; `None` finds the base from the numbers.
    """

    metadata: str | None = None
    labels: tuple[str, ...] | None = None
    test_fraction: float = 0.2
    label_base: int | None = None

    dataset: ClassVar[str] = "VideoFolder"
    required_splits: ClassVar[tuple[str, ...]] = ("test",)

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 < self.test_fraction < 1.0:
            raise ValueError(f"`test_fraction` must be above 0 and below 1, got {self.test_fraction}.")
        if self.clips_dir is not None:
            raise ValueError("`clips_dir` is for the published datasets; give your folder as `data_dir`.")
        if self.labels is not None:
            self.labels = _checked_names(self.labels)

    def read_listing(self) -> Listing:
        """Reads the lists or the folders, and cuts a test split if the data have none."""
        files = find_lists(self.data_dir, self.metadata)
        if files:
            found, notes = clips_of_lists(files, self.data_dir, self.labels or ())
        else:
            found, others = clips_of_tree(self.data_dir)
            notes = ["clips: folders by class", *left_aside([os.path.relpath(path, self.data_dir) for path in others])]
        names = self.labels or _expressions([clip.label for clip in found], files[0] if files else self.data_dir)
        texts, places = [clip.label for clip in found], [clip.place for clip in found]
        labels, base = resolve_labels(texts, places, names, self.label_base)
        num_stills = sum(file_kind(clip.path) == "picture" for clip in found)
        if num_stills:
            notes.append(f"{num_stills} clips are stills, each a clip of one frame")
        if num_stills and not files:
            logger.warning(
                f"{self.data_dir}: each picture in a class folder is a still, a clip of one frame; the frames of a "
                "clip belong in a folder of their own."
            )
        notes += spelling_notes(texts, labels) if base is None else [f"labels count from {base}"]
        clips = [_listed(clip, label) for clip, label in zip(found, labels, strict=True)]
        clips, repetitions = check_listing(clips)
        _check_ids(clips)
        has_groups = any(clip.group is not None for clip in clips)
        if has_groups and not files:
            notes.append("groups: the folders within the class folders, such as of people")
        if "test" in self.cut_splits and not any(clip.split == "test" for clip in clips):
            clips = self.cut(clips, "test", self.test_fraction, has_groups, next(iter(files), None))
            notes.append(f"test split: {self.test_fraction:.0%} of the clips, cut with seed {self.seed}")
        if self.peer_protocol and any(clip.split == "validation" for clip in clips):
            raise ValueError(f"{self.data_dir}: gives a validation split, so `peer_protocol` has no meaning here.")
        shared = _shared_groups(clips)
        for line in shared:
            logger.warning(f"{self.data_dir}: {line}")
        return Listing(clips, names, files, notes + shared + repetitions, has_groups)


def _checked_names(labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"`labels` must be a list of names, got {labels!r}.")
    names = tuple(label.strip() for label in labels)
    if len(names) < 2 or "" in names or len({plain_name(name) for name in names}) < len(names):
        raise ValueError(
            f"`labels` must be two or more names that differ in more than case and spaces, got {list(labels)}."
        )
    return names


def _expressions(texts: list[str], place: str) -> tuple[str, ...]:
    """Our classes, if all labels are their names or all are numbers of the seven; `place` is for messages."""
    if any(whole_number(text) is not None for text in texts):
        raise ValueError(
            f"{place}: labels are numbers: name the classes they stand for, in order, with `labels` (`--labels`); the "
            "numbers themselves, if they are the names."
        )
    unknown = sorted({text for text in texts if expression_name(text) is None})
    if unknown:
        raise ValueError(
            f"{place}: unknown classes {', '.join(map(repr, unknown[:5]))}: the expressions are "
            f"{', '.join(MAFW_EXPRESSIONS)}. Name classes of your own, in order, with `labels` (`--labels`)."
        )
    return EXPRESSIONS if all(expression_name(text) in EXPRESSIONS for text in texts) else MAFW_EXPRESSIONS


def _listed(clip: FolderClip, label: str) -> ListedClip:
    fold = None if clip.fold is None else whole_number(clip.fold)
    return ListedClip(clip.clip_id, label, clip.split, clip.path, clip.place, fold, clip.scene, clip.group)


def _check_ids(clips: list[ListedClip]) -> None:
    places: dict[str, str] = {}
    for clip in clips:
        if clip.clip_id in places:
            raise ValueError(f"`clip_id` {clip.clip_id!r} names two clips ({places[clip.clip_id]} and {clip.place}).")
        places[clip.clip_id] = clip.place


def _shared_groups(clips: list[ListedClip]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for clip in clips:
        if clip.group is not None:
            splits.setdefault(clip.group, set()).add(clip.split)
    shared = sorted(group for group, used in splits.items() if len(used) > 1)
    if not shared:
        return []
    where = ", ".join(split for split in SPLITS if split in splits[shared[0]])
    return [f"{len(shared)} groups are in several splits, such as {shared[0]!r} in {where}: results may be too good"]


class VideoFolder(ExpressionBuilder):
    """Videos of your own, as files or folders of frames, labelled by their folder or by a CSV or JSON-lines file.

    See [`ExpressionBuilder`] for columns and splits and [`VideoFolderConfig`] for the arguments. One more column:
    `group` (string), `None` for a clip without a group.

    Example:

    ```python
    >>> from modeling_hdf.data import VideoFolder
    >>> builder = VideoFolder(data_dir="my_videos")
    >>> builder.download_and_prepare()
    >>> train = builder.as_dataset(split="train")
    ```
    """

    BUILDER_CONFIG_CLASS = VideoFolderConfig

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("dataset_name", "video_folder")
        super().__init__(*args, **kwargs)

    def _features(self) -> dict[str, Any]:
        return super()._features() | {"group": datasets.Value("string")}

    def _row(self, clip: ListedClip, files: ClipFiles) -> dict[str, Any]:
        return super()._row(clip, files) | {"group": clip.group}


__all__ = ["VideoFolder", "VideoFolderConfig"]
