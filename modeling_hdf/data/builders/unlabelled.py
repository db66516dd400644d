"""Clips without labels, for pretraining: the videos and folders of frames that lie below a folder, at any depth."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
from transformers.utils import logging

from ...file_kinds_hdf import VIDEO_SUFFIXES, natural_key
from ..clip_io import left_aside, walk_files
from ..file_names import printable
from .checks import DatasetCheck
from .clip_files import UNUSABLE, inspect_clips
from .clip_folders import existing_folder
from .listing import ListedClip, Listing, PublishedCounts

logger = logging.get_logger(__name__)

NO_LABEL = -1  # the value that `datasets` uses for an unknown label


def find_clips_below(folder: str) -> tuple[list[ListedClip], list[str]]:
    """
    The clips below `folder`, in natural order of their paths, and the files that are no clips.

    Each video file and each animated picture is a clip. A folder with at least two pictures and no video is also a
    clip: the pictures are its frames. Single pictures, pictures beside videos and other files are no clips. The search
    follows each link to a folder once.

    Raises:
        OSError: if a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    found, left = [], []
    for here, files in walk_files(folder, refuse):
        is_clip = not files.videos and len(files.pictures) > 1
        found += [here] if is_clip else [os.path.join(here, name) for name in files.videos]
        left += [os.path.join(here, name) for name in files.others + ([] if is_clip else files.pictures)]
    found.sort(key=natural_key)
    clips = [ListedClip(printable(os.path.relpath(path, folder)), "no label", "train", path, folder) for path in found]
    return clips, [os.path.relpath(path, folder) for path in left]


@dataclass
class UnlabelledClipsConfig(datasets.BuilderConfig):
    """Where the clips lie. The name of the cache folder depends on every field.

    Args:
        data_dir: folder that holds the clips, at any depth.
        max_missing: how many clips may be empty or unreadable: a number of clips (`int`) or a share (`float`, 0 to 1).
            The check names these clips and leaves them out; with more of them, preparing fails.

    Raises:
        ValueError: if there is no clip. FileNotFoundError: if the folder does not exist.
    """

    max_missing: int | float = 0

    def __post_init__(self):
        super().__post_init__()
        self.data_dir = existing_folder(self.data_dir, "data_dir")
        clips, others = find_clips_below(self.data_dir)
        self.listing = Listing(clips, (), [], notes=left_aside(others))
        if not self.listing.clips:
            raise ValueError(
                f"{self.data_dir}: holds no clip: no video ({', '.join(VIDEO_SUFFIXES)}) and no folder of frames."
            )

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Name of the cache folder: from the fields, and from the paths, times and sizes of the clips."""
        fields = [self.data_dir, self.max_missing, self.listing.digest(with_frames=self.max_missing > 0)]
        digest = hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:16]
        return super().create_config_id({"fields": digest}, custom_features)


class UnlabelledClips(datasets.GeneratorBasedBuilder):
    """The clips of any folder, without labels. Preparing the dataset decodes the first frame of each clip.

    Columns, with one split, `train`:
        - `clip`: `{"path": video file or None, "frames": ordered frame files or None}`; [`load_clip`] reads it.
        - `label` (int64): -1, unknown.
        - `clip_id` (string): the path in the folder.

    See [`UnlabelledClipsConfig`] for the arguments.

    Example:

    ```python
    >>> from modeling_hdf.data import UnlabelledClips
    >>> builder = UnlabelledClips(data_dir="my_clips", max_missing=0.01)
    >>> builder.download_and_prepare()
    >>> clips = builder.as_dataset(split="train")
    ```
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = UnlabelledClipsConfig

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("dataset_name", "unlabelled_clips")
        super().__init__(*args, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        features = {
            "clip": {"path": datasets.Value("string"), "frames": datasets.List(datasets.Value("string"))},
            "label": datasets.Value("int64"),
            "clip_id": datasets.Value("string"),
        }
        return datasets.DatasetInfo(description="Clips without labels.", features=datasets.Features(features))

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        clips, config = self.config.listing.clips, self.config
        # Inspect each clip now: an unreadable clip would stop the training days later.
        files = inspect_clips(clips, "quick")
        check = DatasetCheck(
            config.data_dir, (), clips, files, PublishedCounts(), config.listing.notes, config.max_missing
        )
        check.raise_for_failure()
        for line in check.notes:
            logger.warning(f"{check.name}: {line}")
        for line in check.problem_lines(kinds=UNUSABLE):
            logger.warning(f"{check.name}: left out, {line}")
        rows = [
            {
                "clip": {"path": files[clip.path].path, "frames": files[clip.path].frames},
                "label": NO_LABEL,
                "clip_id": clip.clip_id,
            }
            for clip in check.usable
        ]
        return [datasets.SplitGenerator("train", gen_kwargs={"rows": rows})]

    def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in rows:
            yield row["clip_id"], row


__all__ = ["UnlabelledClips", "UnlabelledClipsConfig", "find_clips_below"]
