"""Base of the builders of real datasets: one schema, the checks, the splits, and a cache that notices changes."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import datasets
from transformers.utils import logging

from .checks import DatasetCheck
from .clip_files import UNUSABLE, ClipFiles, Depth, inspect_clips
from .clip_folders import existing_folder
from .labels import EXPRESSIONS
from .listing import ListedClip, Listing, PublishedCounts, check_listing, cut_split
from .split_files import SplitLine, read_split_file
from .terms import Terms

logger = logging.get_logger(__name__)


@dataclass
class ExpressionConfig(datasets.BuilderConfig):
    """Where a dataset lies and how it is split. The name of the cache folder depends on every field.

    Args:
        data_dir: folder that holds the dataset, as it was unpacked.
        validation_fraction: share of the training clips to cut for validation, above 0 and below 1.
        peer_protocol: select on the test split, as the literature does, and cut no validation split. The `validation`
            split is then the test split, and every result must say so.
        seed: non-negative seed of the cut.
        max_missing: how many of the listed clips may be missing, empty or unreadable: a number of clips (`int`) or a
            share (`float`). The check names these clips and leaves them out; with more of them, preparing fails.
        variant: the form of the clips on disk, if there are several; `None` takes the first form found.
        clips_dir: folder with the clips, such as your own face crops; replaces the clips found in `data_dir`.
        cut_splits: splits to cut from the training clips if the data do not contain them. Name only splits that you
            use: a cut fails if every class has a single clip.
        depth: how closely preparing the dataset looks at each clip; see [`inspect_clip`]. Training uses `"headers"`,
            because an unreadable clip would end the run. For 2,000 videos of 60 small frames this takes 12 seconds on
            two busy cores (`"listing"`: 0.2 seconds), once, because the prepared dataset is cached.

    Raises:
        ValueError: if a field is out of its range. FileNotFoundError: if a folder does not exist.
    """

    validation_fraction: float = 0.1
    peer_protocol: bool = False
    seed: int = 0
    max_missing: int | float = 0
    variant: str | None = None
    clips_dir: str | None = None
    cut_splits: tuple[str, ...] = ("validation", "test")
    depth: Depth = "listing"

    dataset: ClassVar[str]
    label_names: ClassVar[tuple[str, ...]] = EXPRESSIONS
    folds: ClassVar[tuple[str, ...]] = ("default",)
    variants: ClassVar[dict[str, str]] = {}
    required_splits: ClassVar[tuple[str, ...]] = ("train", "test")
    has_votes: ClassVar[bool] = False
    votes_name: ClassVar[str] = ""  # the file that `votes_file` finds
    labels_are_votes: ClassVar[bool] = True  # whether the label is the class with the most votes
    terms: ClassVar[Terms | None] = None  # `None` for data of the user
    whole: ClassVar[dict[str, Any]] = {}  # fields that read every clip, to hand on the dataset
    own_splits: ClassVar[str] = ""  # which forms of the data give every split, if others do not

    def __post_init__(self):
        super().__post_init__()
        if self.name not in self.folds:
            raise ValueError(
                f"{self.dataset} has the configurations {', '.join(self.folds)}: pass one as `config_name`."
            )
        if not 0.0 < self.validation_fraction < 1.0:
            raise ValueError(f"`validation_fraction` must be above 0 and below 1, got {self.validation_fraction}.")
        if self.seed < 0:
            raise ValueError(f"`seed` must not be negative, got {self.seed}.")
        if self.max_missing < 0 or (isinstance(self.max_missing, float) and self.max_missing > 1):
            raise ValueError(
                f"`max_missing` must be a number of clips (int) or a share of them (float, 0 to 1), got "
                f"{self.max_missing!r}."
            )
        if self.variant is not None and not self.variants:
            raise ValueError(f"`variant` is {self.variant!r}; {self.dataset} has a single form: leave `variant` out.")
        if self.variant is not None and self.variant not in self.variants:
            raise ValueError(f"`variant` is {self.variant!r}; {self.dataset} has {', '.join(self.variants)}.")
        if self.variant is not None and self.clips_dir is not None:
            raise ValueError("`variant` and `clips_dir` both say where the clips are: give one of them.")
        self.data_dir = existing_folder(self.data_dir, "data_dir")
        if self.clips_dir is not None:
            self.clips_dir = existing_folder(self.clips_dir, "clips_dir")
        self._listing: Listing | None = None
        self._cut: set[str] = set()

    @property
    def fold(self) -> int | None:
        """Number of the fold, from 1; `None` for a dataset without folds."""
        return int(self.name.removeprefix("fold")) if self.name.startswith("fold") else None

    @property
    def listing(self) -> Listing:
        """The clips of the annotation, read once, with the validation split cut."""
        if self._listing is None:
            listing = self.read_listing()
            listing.clips, notes = check_listing(listing.clips)
            listing.notes += notes
            there = {clip.split for clip in listing.clips}
            for split in self.required_splits:
                if split not in there and self.cut_splits:
                    raise ValueError(self.no_clip_for(split))
            cut = "validation" in self.cut_splits and not self.peer_protocol
            if cut and "train" in there and "validation" not in there:
                file = next(iter(listing.files), None)
                listing.clips = self.cut(
                    listing.clips, "validation", self.validation_fraction, listing.has_groups, file
                )
            self._listing = listing
        return self._listing

    def cut(
        self, clips: list[ListedClip], split: str, fraction: float, has_groups: bool, listed_in: str | None = None
    ) -> list[ListedClip]:
        """The clips with a split cut from the training clips, see [`cut_split`]. Its errors name the file that lists
        the clips, or the folder."""
        self._cut.add(split)
        try:
            return cut_split(clips, split, fraction, self.seed, has_groups)
        except ValueError as error:
            raise ValueError(f"{listed_in or self.data_dir}: {error}") from error

    def cut_digests(self) -> dict[str, str]:
        """By split that is cut from the training clips, and not given by the data: see [`Listing.split_digest`]."""
        listing = self.listing
        return {split: listing.split_digest(split) for split in sorted(self._cut)}

    def may_test_validation_clips(self) -> bool:
        """Whether the test split may hold clips that another form of the dataset gives for validation."""
        return False

    def no_clip_for(self, split: str) -> str:
        """The message for a split without a listed clip."""
        return f"{self.data_dir}: the annotation lists no clip for {split}."

    def read_listing(self) -> Listing:
        """Reads the annotation files and finds the clips."""
        raise NotImplementedError

    def split_file(self, split: str) -> str:
        """Path of the file that lists the clips of `"train"` or `"test"`."""
        raise NotImplementedError

    def require_annotation(self) -> None:
        """Raises a `FileNotFoundError` if the annotation of this configuration is not there."""
        self.split_file("train")

    def votes_file(self) -> str | None:
        """Path of the file with the annotators' votes, if it exists."""
        return None

    @cached_property
    def votes(self) -> dict[str, list[int]]:
        """How many annotators chose each class, by `clip_id`, of the listed clips in [`~ExpressionConfig.votes_file`].

        Raises:
            ValueError: if the file is damaged; the message names it.
        """
        return {}

    def _vote_notes(self) -> list[str]:
        if self.votes_file() is None:
            return []
        clips = self.listing.clips
        without = [clip.clip_id for clip in clips if clip.clip_id not in self.votes]
        return [f"{len(without)} of {len(clips)} clips have no votes, such as {without[0]}"] if without else []

    def missing_sources(self) -> dict[str, str]:
        """By column that is unknown because a file of the dataset is not there: which file, and where to get it."""
        return {}

    def read_split_files(self) -> tuple[list[tuple[str, SplitLine]], list[str]]:
        """The split and the line of each clip, and the paths of the split files."""
        files = {split: self.split_file(split) for split in ("train", "test")}
        lines = [(split, line) for split, file in files.items() for line in read_split_file(file)]
        return lines, list(files.values())

    def published(self) -> PublishedCounts:
        """The counts that the authors publish for this configuration."""
        return PublishedCounts()

    def inspect(
        self, clips: list[ListedClip], depth: Depth, known: dict[str, ClipFiles] | None = None
    ) -> dict[str, ClipFiles]:
        """The files of each listed clip, by its path; see [`inspect_clips`]."""
        return inspect_clips(clips, depth, known)

    def check(self, depth: Depth = "quick", known: dict[str, ClipFiles] | None = None) -> DatasetCheck:
        """Reads the votes and looks at every listed clip; see [`inspect_clips`]."""
        listing, vote_notes = self.listing, self._vote_notes()
        return DatasetCheck(
            name=self.dataset if self.fold is None else f"{self.dataset} {self.name}",
            labels=listing.labels,
            clips=listing.clips,
            files=self.inspect(listing.clips, depth, known),
            published=self.published(),
            notes=listing.notes + vote_notes,
            max_missing=self.max_missing,
            peer_protocol=self.peer_protocol,
        )

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Name of the cache folder: from all fields, the contents of the annotation files, and the clips found."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del fields["version"]  # a folder of its own
        fields["listing"] = self.listing.digest(with_frames=self.max_missing > 0)
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()[:16]
        return super().create_config_id({"fields": digest}, custom_features)


class ExpressionBuilder(datasets.GeneratorBasedBuilder):
    """Base of the builders of real datasets. Rows hold paths; [`load_clip`] reads the frames.

    Columns:
        - `clip`: `{"path": video file or None, "frames": ordered frame files or None}`; exactly one is set.
        - `label` (`ClassLabel`): the expression, in our order.
        - `clip_id` (string): name of the clip, as the split file writes it.
        - `fold` (int32): number of the fold, from 1; `None` for a dataset without folds.
        - `scene` (string): kind of scene; `None` for a dataset without scenes.
        - `votes` (list of int32): how many annotators chose each class, in the order of the classes; `None` if
          unknown.

    Splits: `train`, `validation`, `test`. The check names unusable clips and leaves them out, up to `max_missing`.
    The builder never replaces a clip by another.

    Attributes:
        config: see [`ExpressionConfig`]; `config.peer_protocol` says whether validation is test.
        check_result ([`DatasetCheck`]): the check made when the dataset was prepared or streamed; `None` before that,
            and if the table comes from the cache.
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = ExpressionConfig

    def __init__(self, *args: Any, **kwargs: Any):
        self.check_result: DatasetCheck | None = None
        super().__init__(*args, **kwargs)

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """As `datasets` does, without its bars: to write the rows takes a moment. To look at many clips does not, and
        has a bar of its own."""
        was_shown = not datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            super().download_and_prepare(*args, **kwargs)
        finally:
            if was_shown:
                datasets.enable_progress_bars()

    @property
    def num_left_out(self) -> int:
        """Number of listed clips that the prepared dataset leaves out because they cannot be used."""
        counts = {name: split.num_examples for name, split in self.info.splits.items()}
        if self.config.peer_protocol:
            del counts["validation"]  # the test split again
        return len(self.config.listing.clips) - sum(counts.values())

    @property
    def left_out_line(self) -> str | None:
        """A line with `num_left_out`, which is of use if the table comes from the cache; `None` if it is 0."""
        if not self.num_left_out:
            return None
        listed = f"{len(self.config.listing.clips)} listed clips of {self.config.dataset}"
        what = "missing, empty or unreadable, and left out"
        return f"{self.num_left_out} of {listed} are {what}; `hdf data check` names them."

    def _features(self) -> dict[str, Any]:
        return {
            "clip": {"path": datasets.Value("string"), "frames": datasets.List(datasets.Value("string"))},
            "label": datasets.ClassLabel(names=list(self.config.listing.labels)),
            "clip_id": datasets.Value("string"),
            "fold": datasets.Value("int32"),
            "scene": datasets.Value("string"),
            "votes": datasets.List(datasets.Value("int32")),
        }

    def _info(self) -> datasets.DatasetInfo:
        validation = f"{self.config.validation_fraction:.0%} of the training clips, seed {self.config.seed}"
        if self.config.peer_protocol:
            validation = "the test split (peer protocol: select on test)"
        return datasets.DatasetInfo(
            description=f"{self.config.dataset}, {self.config.name}. Validation: {validation}.",
            features=datasets.Features(self._features()),
        )

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        self.check_result = check = self.config.check(self.config.depth)
        check.raise_for_failure()
        for line in check.notes:
            logger.info(f"{check.name}: {line}")
        for line in check.problem_lines(kinds=UNUSABLE):
            logger.warning(f"{check.name}: left out, {line}")
        for line in check.problem_lines(num_names=0, kinds=("short",)):
            logger.info(f"{check.name}: {line}")
        rows: dict[str, list[dict]] = {"train": [], "validation": [], "test": []}
        for clip in check.usable:
            files = check.files[clip.path]
            rows[clip.split].append(self._row(clip, files))
        if self.config.peer_protocol:
            rows["validation"] = rows["test"]
        generators = []
        listed = {clip.split for clip in self.config.listing.clips}
        for split, split_rows in rows.items():
            if not split_rows and split not in listed:
                continue  # a folder of videos that has only a test split
            if not split_rows:
                raise ValueError(f"{check.name}: no clip is left for {split}.")
            generator = datasets.SplitGenerator(split, gen_kwargs={"rows": split_rows})
            generator.split_info.num_examples = len(split_rows)  # the length of the progress bar
            generators.append(generator)
        return generators

    def _row(self, clip: Any, files: ClipFiles) -> dict[str, Any]:
        return {
            "clip": {"path": files.path, "frames": files.frames},
            "label": clip.label,
            "clip_id": clip.clip_id,
            "fold": clip.fold,
            "scene": clip.scene,
            "votes": self.config.votes.get(clip.clip_id),
        }

    def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        # `datasets` gives each process a part of the rows, so the keys come from the rows themselves.
        for row in rows:
            yield row["clip_id"], row


__all__ = ["ExpressionBuilder", "ExpressionConfig"]
