"""Videos of one's own: folders by class, or a CSV or JSON-lines file with path and label."""

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets

from ..clip_io import left_aside
from .base import ExpressionBuilder, ExpressionConfig
from .clip_files import ClipFiles
from .folder_files import FolderClip, clips_of_metadata, clips_of_tree, find_metadata
from .labels import EXPRESSIONS, MAFW_EXPRESSIONS, expression_name, resolve_labels
from .listing import ListedClip, Listing, check_listing, cut_split


@dataclass
class VideoFolderConfig(ExpressionConfig):
    """
    Which videos, with which classes; see [`ExpressionConfig`].

    `data_dir` holds either a CSV file with a header line or a JSON-lines file, with the columns

    - `path`: a video file or a folder of frames, relative to `data_dir` or absolute;
    - `label`: name or number of the class;
    - `split` (optional): `train`, `validation` or `test`;
    - `group` (optional): what must not be shared between splits, such as the person;
    - `clip_id` (optional): a name, in place of the path;
    - `fold`, `scene` (optional): see [`ExpressionBuilder`];

    or a folder for each class, with a video file or a folder of frames for each clip: `<class>/<clip>`, or
    `<split>/<class>/<clip>`.

    Splits that are not given are cut from the training clips: test, then validation, by whole groups if there are
    any. Without training clips there is nothing but the splits that are given, of which test must be one.

    Args:
        metadata: the CSV or JSON-lines file, relative to `data_dir`; `None` takes the one in `data_dir`.
        labels: names of the classes, in order. `None` takes our seven expressions (eleven, if one of the others
            occurs), under any of their names; classes of other names need `labels`.
        test_fraction: share of the clips to cut for testing where no test split is given, above 0 and below 1.
        label_base: 1 if numeric labels count from 1, 0 if from 0; `None` finds it from the numbers.
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
            self.labels = tuple(self.labels)
            if len(self.labels) < 2 or len({label.lower() for label in self.labels}) < len(self.labels):
                raise ValueError(f"`labels` must be two or more different names, got {list(self.labels)}.")

    def read_listing(self) -> Listing:
        """Reads the metadata file, or the folders, and cuts a test split if none is given."""
        metadata = find_metadata(self.data_dir, self.metadata)
        if metadata is None:
            found, others = clips_of_tree(self.data_dir)
            notes = ["clips: folders by class", *left_aside([os.path.relpath(path, self.data_dir) for path in others])]
        else:
            found, notes = clips_of_metadata(metadata, self.data_dir), [f"clips: {metadata}"]
        names = self.labels or _expressions([clip.label for clip in found])
        texts, places = [clip.label for clip in found], [clip.place for clip in found]
        labels, base = resolve_labels(texts, places, names, self.label_base)
        notes += [] if base is None else [f"labels count from {base}"]
        clips = [_listed(clip, label) for clip, label in zip(found, labels, strict=True)]
        clips, repetitions = check_listing(clips)
        _check_ids(clips)
        has_groups = any(clip.group is not None for clip in clips)
        if not any(clip.split == "test" for clip in clips):
            clips = cut_split(clips, "test", self.test_fraction, self.seed, has_groups)
            notes.append(f"test split: {self.test_fraction:.0%} of the clips, cut with seed {self.seed}")
        if self.peer_protocol and any(clip.split == "validation" for clip in clips):
            raise ValueError(f"{self.data_dir}: gives a validation split, so `peer_protocol` has no meaning here.")
        notes += _shared_groups(clips)
        return Listing(clips, names, [] if metadata is None else [metadata], notes + repetitions, has_groups)


def _expressions(texts: list[str]) -> tuple[str, ...]:
    """Our classes, for labels that are all names of them or all numbers of the seven."""
    if any(text.strip().lstrip("-").isdigit() for text in texts):
        raise ValueError("Labels are numbers: name the classes they stand for, in order, with `labels` (`--labels`).")
    unknown = sorted({text for text in texts if expression_name(text) is None})
    if unknown:
        raise ValueError(
            f"Unknown classes {', '.join(map(repr, unknown[:5]))}: the expressions are {', '.join(MAFW_EXPRESSIONS)}. "
            "Name classes of your own, in order, with `labels` (`--labels`)."
        )
    return EXPRESSIONS if all(expression_name(text) in EXPRESSIONS for text in texts) else MAFW_EXPRESSIONS


def _listed(clip: FolderClip, label: str) -> ListedClip:
    fold = None if clip.fold is None else int(clip.fold)
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
    shared = sorted(group for group, used in splits.items() if "test" in used and len(used) > 1)
    return [f"{len(shared)} groups are both in test and in other splits, such as {shared[0]!r}"] if shared else []


class VideoFolder(ExpressionBuilder):
    """Videos of one's own, as files or folders of frames, labelled by their folder or by a CSV or JSON-lines file.

    See [`ExpressionBuilder`] for columns and splits and [`VideoFolderConfig`] for the arguments. One more column:
    `group` (string), `None` where none is given.

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
