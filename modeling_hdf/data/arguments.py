"""The data of a training run, set by a recipe: the dataset, the clips of each split, and the collator."""

import dataclasses
import os
import types
import typing
from collections.abc import Collection
from dataclasses import dataclass, field

import datasets

from ..video_processing_hdf import HDFVideoProcessor
from .builders.base import ExpressionBuilder, ExpressionConfig
from .builders.checks import allowed_missing
from .builders.cremad import CREMAD
from .builders.dfew import DFEW
from .builders.fer2013 import FER2013
from .builders.ferv39k import FERV39k
from .builders.folder import VideoFolder
from .builders.mafw import MAFW
from .builders.ravdess import RAVDESS
from .clips import ClipCollator, ClipDataset
from .frame_sampling import TemporalSampling
from .mixing import ClipMixing
from .synthetic.builder import SyntheticFaces
from .transforms import build_augmentation
from .votes import vote_targets

BUILDERS = {
    "synthetic": SyntheticFaces,
    "dfew": DFEW,
    "ferv39k": FERV39k,
    "mafw": MAFW,
    "ravdess": RAVDESS,
    "cremad": CREMAD,
    "fer2013": FER2013,
    "folder": VideoFolder,
}
# Datasets whose licence forbids sharing clips: builder name -> dataset name.
GATED_DATASETS = {
    name: builder.BUILDER_CONFIG_CLASS.dataset
    for name, builder in BUILDERS.items()
    if issubclass(builder.BUILDER_CONFIG_CLASS, ExpressionConfig) and builder.BUILDER_CONFIG_CLASS.is_gated
}

# Builder fields that `dataset_overrides` cannot set: fields of `datasets`, and arguments below.
_NO_OVERRIDES = (
    "name",
    "version",
    "data_dir",
    "data_files",
    "description",
    "peer_protocol",
    "max_missing",
    "cut_splits",
    "depth",
)


@dataclass
class DataArguments:
    """
    The data of a run and how clips are sampled and augmented. [`~transformers.HfArgumentParser`] and recipes set these
    fields.

    Args:
        dataset: a name of [`BUILDERS`], such as `"synthetic"`, `"dfew"` or `"folder"` (your own videos).
        data_dir: unpacked folder of the dataset; not for synthetic faces.
        fold: number of the fold, from 1, for a dataset with folds.
        peer_protocol: select on the test split; see [`ExpressionConfig`]. Every result records it.
        max_missing: listed clips that may be missing or unreadable: a number (`5`) or a share (`0.05`).
        dataset_overrides: other fields of the builder, as JSON.
        cache_clips: keep decoded clips in memory; not for random frames.
        temporal_sampling, sampling_stride: kind and stride of [`TemporalSampling`].
        augmentation: name for [`build_augmentation`].
        mixup_alpha, cutmix_alpha: arguments of [`ClipMixing`]; 0 is off. With DSM, half of each batch is mixed;
            without DSM, the whole batch.
        vote_labels: use the shares of the votes of DFEW or CREMA-D as targets of the cross-entropy; see
            [`vote_targets`]. The contrastive loss, validation and test still use the classes.
        num_views: temporal views of each test clip; see [`predict_views`].

    Raises:
        ValueError: for an unknown dataset, values out of range, or arguments that the dataset does not use.
    """

    dataset: str = field(default="synthetic", metadata={"help": f"Dataset: {', '.join(BUILDERS)}."})
    data_dir: str | None = field(default=None, metadata={"help": "Unpacked folder of the dataset."})
    fold: int | None = field(default=None, metadata={"help": "Fold, from 1, for a dataset with folds."})
    peer_protocol: bool = field(
        default=False, metadata={"help": "Select on the test split, as the literature does; every result records it."}
    )
    max_missing: str = field(
        default="0", metadata={"help": "Clips that may be missing or unreadable: a number (5) or a share (0.05)."}
    )
    dataset_overrides: str = field(default="{}", metadata={"help": "Builder fields, as JSON."})
    cache_clips: bool = field(default=False, metadata={"help": "Keep decoded clips in memory."})
    temporal_sampling: str = field(default="uniform", metadata={"help": "Frame sampling: uniform, segments or dense."})
    sampling_stride: int = field(default=1, metadata={"help": "Distance between frames of dense sampling."})
    augmentation: str = field(default="flip", metadata={"help": "none, flip, crop, standard or strong."})
    mixup_alpha: float = field(default=0.0, metadata={"help": "Mixup; 0: off. With DSM, half of each batch."})
    cutmix_alpha: float = field(default=0.0, metadata={"help": "Cutmix; 0: off. With DSM, half of each batch."})
    vote_labels: bool = field(
        default=False, metadata={"help": "Use the shares of DFEW's votes (or CREMA-D's) as targets."}
    )
    num_views: int = field(default=1, metadata={"help": "Temporal views per test clip, averaged."})

    def __post_init__(self):
        if self.dataset not in BUILDERS:
            raise ValueError(f"`dataset` is {self.dataset!r}; choose one of {', '.join(BUILDERS)}.")
        if self.num_views < 1:
            raise ValueError(f"`num_views` is {self.num_views}; it must be at least 1.")
        self._missing_limit()
        if self.vote_labels and not (self.is_of_files and self.config_class.has_votes):
            raise ValueError(f"`vote_labels` needs the votes of annotators, which {self.dataset} does not have.")
        # These two raise for values out of range, before any clip is read.
        TemporalSampling(self.temporal_sampling, stride=self.sampling_stride)
        build_augmentation(self.augmentation, HDFVideoProcessor())
        if self.dataset == "synthetic":
            for name in ("data_dir", "fold", "peer_protocol"):
                if getattr(self, name):
                    raise ValueError(f"`{name}` has no meaning for the synthetic faces.")
            return
        if self.data_dir is None:
            raise ValueError(f"`data_dir` is missing; set it to the unpacked folder of {self.dataset}.")
        folds = self.config_class.folds
        names = folds if "fold1" in folds else ("None",)
        if (f"fold{self.fold}" if self.fold is not None else "None") not in names:
            choices = (
                "has folds 1 to " + str(len(folds)) if "fold1" in folds else "has a single split: leave `fold` out"
            )
            raise ValueError(f"`fold` is {self.fold}; {self.dataset} {choices}.")

    @property
    def config_class(self) -> type[datasets.BuilderConfig]:
        """Class of the builder's configuration."""
        return BUILDERS[self.dataset].BUILDER_CONFIG_CLASS

    @property
    def is_of_files(self) -> bool:
        """Whether the clips lie on disk, in `data_dir`."""
        return issubclass(self.config_class, ExpressionConfig)

    def _missing_limit(self) -> int | float:
        limit = str(self.max_missing)
        try:
            return float(limit) if "." in limit else int(limit)
        except ValueError:
            raise ValueError(
                f"`max_missing` (--max-missing) is {limit!r}; it must be a number of clips (5) or a share (0.05)."
            ) from None

    def builder(self, overrides: dict, training: bool = True, split: str | None = None) -> datasets.DatasetBuilder:
        """The builder; `overrides` are the parsed `dataset_overrides`. With `split`, only this split (or `"all"`
        clips) will be read, and splits that it does not need are not cut.

        For `training`, preparing the dataset reads the headers of all clips, see [`ExpressionConfig`]: an unreadable
        clip would end the run, while an evaluation skips it.

        Raises:
            ValueError: for unknown overrides, or, if `training`, if there are no training clips.
            FileNotFoundError: if `vote_labels` is set and there are no votes.
            The errors of the builder.
        """
        builder = BUILDERS[self.dataset]
        _check_overrides(builder.BUILDER_CONFIG_CLASS, self.dataset, overrides)
        if self.dataset == "synthetic":
            return builder(**overrides)
        fold = {} if self.fold is None else {"config_name": f"fold{self.fold}"}
        built = builder(
            **fold,
            data_dir=self.data_dir,
            peer_protocol=self.peer_protocol,
            max_missing=self._missing_limit(),
            depth="headers" if training else "listing",
            cut_splits={"all": (), "test": ("test",)}.get(split, ("validation", "test")),
            **overrides,
        )
        if training and not any(clip.split == "train" for clip in built.config.listing.clips):
            raise ValueError(f"{self.data_dir}: the annotation lists no clip for train.")
        if self.vote_labels and built.config.votes_file() is None:
            raise FileNotFoundError(
                f"{self.data_dir}: holds no {built.config.votes_name}, which `vote_labels` reads: put the file of "
                f"{built.config.dataset} there, or train with `vote_labels=False`."
            )
        return built

    def described(self, overrides: dict) -> dict:
        """The entry of `metrics.json` that lets a user read the data in the same way again, without paths of this
        machine. `overrides` are the parsed `dataset_overrides`."""
        names = ("dataset", "fold", "peer_protocol", "temporal_sampling", "sampling_stride", "num_views")
        told = {
            name: value
            for name, value in overrides.items()
            if not (isinstance(value, str) and os.path.isabs(os.path.expanduser(value)))
        }
        return {**{name: getattr(self, name) for name in names}, "dataset_overrides": told}

    def too_many_missing(self, builder: datasets.DatasetBuilder, num_unreadable: int) -> str | None:
        """
        A message if more clips are missing or unreadable than `max_missing` allows, else `None`.

        Args:
            builder (`DatasetBuilder`): the prepared result of `builder`. Clips that it left out count as missing.
            num_unreadable (`int`): number of clips of the prepared splits that could not be read.
        """
        if isinstance(builder, ExpressionBuilder):
            listed, left_out = len(builder.config.listing.clips), builder.num_left_out
        else:
            listed, left_out = sum(each.num_examples for each in builder.info.splits.values()), 0
        unusable = left_out + num_unreadable
        allowed = allowed_missing(self._missing_limit(), listed)
        if unusable <= allowed:
            return None
        return (
            f"{unusable} of {listed} listed clips are missing, empty or unreadable; `max_missing` (`--max-missing`) "
            f"allows {allowed}."
        )

    def clips(
        self,
        splits: dict[str, datasets.Dataset],
        processor: HDFVideoProcessor,
        seed: int,
        skip_unreadable: Collection[str] = (),
    ) -> dict[str, ClipDataset]:
        """The clips of each split: `"train"` is random and augmented, the other splits show one fixed view. Clips of
        the splits `skip_unreadable` that cannot be read are marked, see [`ClipDataset`]."""
        sampling = TemporalSampling(self.temporal_sampling, processor.num_frames, self.sampling_stride)
        training = {
            "training": True,
            "augmentation": build_augmentation(self.augmentation, processor),
            "seed": seed,
        }
        if self.vote_labels:
            train = splits["train"]
            names = train.features["label"].names
            training["soft_labels"] = vote_targets(
                train["votes"][:],
                train["label"][:],
                train["clip_id"][:],
                names,
                labels_are_votes=self.config_class.labels_are_votes,
            )
        return {
            name: ClipDataset(
                rows,
                processor,
                sampling=sampling,
                cache=self.cache_clips,
                skip_unreadable=name in skip_unreadable,
                **(training if name == "train" else {}),
            )
            for name, rows in splits.items()
        }

    def collator(self, processor: HDFVideoProcessor, num_labels: int, dsm: bool) -> ClipCollator:
        """The collator of training and evaluation; with `dsm`, half of each batch stays unmixed."""
        if self.mixup_alpha == self.cutmix_alpha == 0:
            return ClipCollator(processor, num_labels)
        share = 0.5 if dsm else 1.0
        mixing = ClipMixing(num_labels, mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha, share=share)
        return ClipCollator(processor, num_labels, mixing)


def _check_overrides(config: type, dataset: str, overrides: dict) -> None:
    kinds = {each.name: each.type for each in dataclasses.fields(config) if each.name not in _NO_OVERRIDES}
    kinds["cache_dir"] = str
    for name, value in overrides.items():
        if name not in kinds:
            raise ValueError(f"`dataset_overrides` has {name!r}; {dataset} has the fields {', '.join(sorted(kinds))}.")
        kind = kinds[name]
        choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        if not any(_is_of(value, choice) for choice in choices):
            text = kind.__name__ if isinstance(kind, type) else str(kind)
            raise ValueError(f"`dataset_overrides` has {name!r} of {value!r}; it must be of type {text}.")


def _is_of(value: object, kind: type) -> bool:
    """Whether a JSON value fits a type: a whole number fits a float, a list fits a tuple of strings."""
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def class_count_lines(counts: dict[str, dict[str, int]], peer_protocol: bool = False) -> list[str]:
    """One line per split of [`class_counts`], to show before training."""
    lines = []
    for split, by_class in counts.items():
        is_test = " (peer protocol: the test split)" if peer_protocol and split == "validation" else ""
        classes = ", ".join(f"{name} {count}" for name, count in by_class.items())
        lines.append(f"{split}{is_test}: {sum(by_class.values())} clips: {classes}")
    return lines


__all__ = ["BUILDERS", "GATED_DATASETS", "DataArguments", "class_count_lines"]
