"""The data of a training run, set by a recipe: the dataset, the clips of each split, and the collator."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import get_args

import datasets

from ..video_processing_hdf import HDFVideoProcessor
from .builders.base import ExpressionBuilder, ExpressionConfig
from .builders.checks import allowed_missing, missing_limit
from .builders.cremad import CREMAD
from .builders.dfew import DFEW
from .builders.fer2013 import FER2013
from .builders.ferv39k import FERV39k
from .builders.folder import VideoFolder
from .builders.mafw import MAFW
from .builders.ravdess import RAVDESS
from .clips import ClipCollator, ClipDataset, Stills
from .frame_sampling import TemporalSampling
from .mixing import ClipMixing
from .overrides import check_overrides
from .synthetic.builder import SyntheticFaces, builder_for
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
# The datasets of others: title and terms by name.
PUBLISHED_DATASETS = {
    name: (builder.BUILDER_CONFIG_CLASS.dataset, builder.BUILDER_CONFIG_CLASS.terms)
    for name, builder in BUILDERS.items()
    if issubclass(builder.BUILDER_CONFIG_CLASS, ExpressionConfig) and builder.BUILDER_CONFIG_CLASS.terms is not None
}
# Arguments that `dataset_overrides` may set for one of several datasets.
_OF_A_PART = ("data_dir", "fold", "max_missing", "temporal_sampling", "sampling_stride")


@dataclass
class DataArguments:
    """
    The data of a run and how clips are sampled and augmented. [`~transformers.HfArgumentParser`] and recipes set these
    fields.

    Several datasets train one model on all their clips. Their classes are united by name, see [`united_classes`].
    Each dataset is an own part of the training ([`~DataArguments.parts`]), with its own splits and frame sampling.

    Args:
        dataset: a name of [`BUILDERS`], such as `"synthetic"`, `"dfew"` or `"folder"` (your own videos); or several
            with commas, such as `"ravdess,fer2013"`.
        dataset_weights: for several datasets, how often an epoch shows each clip of each dataset on average, with
            commas: `"1,0.5"`. By default each clip is shown once.
        data_dir: unpacked folder of the dataset; not for synthetic faces. For several datasets, a folder that holds a
            folder for each, named as the dataset (`RAVDESS`, `CREMA-D`, `fer2013`).
        fold: number of the fold, from 1, for a dataset with folds.
        peer_protocol: select on the test split; see [`ExpressionConfig`]. Every result records it.
        max_missing: listed clips that may be missing or unreadable: a number (`5`) or a share (`0.05`).
        dataset_overrides: other fields of the builder, as JSON. For several datasets, these fields by dataset:
            `{"ravdess": {"calm": "neutral"}}`; they may also hold `data_dir`, `fold`, `max_missing`,
            `temporal_sampling` and `sampling_stride` of one dataset.
        cache_clips: keep decoded clips in memory; not for random frames.
        temporal_sampling, sampling_stride: kind and stride of [`TemporalSampling`].
        stills: how training shows stills, see [`ClipDataset`]: `"motion"`, or `"single"` for a backbone that takes
            single frames, in data without videos.
        augmentation: name for [`build_augmentation`].
        mixup_alpha, cutmix_alpha: arguments of [`ClipMixing`]; 0 is off. With DSM, half of each batch is mixed;
            without DSM, the whole batch.
        vote_labels: use the shares of the votes of DFEW or CREMA-D as targets of the cross-entropy; see
            [`vote_targets`]. The contrastive loss, validation and test still use the classes.
        num_views: temporal views of each test clip; see [`predict_views`].

    Raises:
        ValueError: for an unknown dataset, values out of range, or arguments that the dataset does not use.
    """

    dataset: str = field(
        default="synthetic", metadata={"help": f"Dataset: {', '.join(BUILDERS)}; several with commas."}
    )
    dataset_weights: str = field(
        default="", metadata={"help": "Several datasets: how often to show each clip of each, with commas (1,0.5)."}
    )
    data_dir: str | None = field(default=None, metadata={"help": "Unpacked folder of the dataset, or of several."})
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
    stills: str = field(
        default="motion",
        metadata={"help": "Stills in training: motion (clips that move) or single (one frame, for X3D; no videos)."},
    )
    augmentation: str = field(default="flip", metadata={"help": "none, flip, crop, standard, strong or corrupted."})
    mixup_alpha: float = field(default=0.0, metadata={"help": "Mixup; 0: off. With DSM, half of each batch."})
    cutmix_alpha: float = field(default=0.0, metadata={"help": "Cutmix; 0: off. With DSM, half of each batch."})
    vote_labels: bool = field(
        default=False, metadata={"help": "Use the shares of DFEW's votes (or CREMA-D's) as targets."}
    )
    num_views: int = field(default=1, metadata={"help": "Temporal views per test clip, averaged."})

    def __post_init__(self):
        if not isinstance(self.dataset, str):
            raise ValueError(f"`dataset` is {self.dataset!r}; it must be a text, the names of datasets with commas.")
        self.dataset = ",".join(self.names)
        for name in self.names:
            if name not in BUILDERS:
                raise ValueError(f"`dataset` is {self.dataset!r}; choose one of {', '.join(BUILDERS)}.")
        if self.num_views < 1:
            raise ValueError(f"`num_views` is {self.num_views}; it must be at least 1.")
        missing_limit(str(self.max_missing))
        if self.stills not in get_args(Stills):
            raise ValueError(f"`stills` is {self.stills!r}; choose one of {', '.join(get_args(Stills))}.")
        # These two raise for values out of range, before any clip is read.
        TemporalSampling(self.temporal_sampling, stride=self.sampling_stride)
        build_augmentation(self.augmentation, HDFVideoProcessor())
        if self.is_mixture:
            self._check_mixture()
            return
        if self.dataset_weights:
            raise ValueError("`dataset_weights` are for several datasets.")
        if self.vote_labels and not _has_votes(self.dataset):
            raise ValueError(f"`vote_labels` needs the votes of annotators, which {self.dataset} does not have.")
        if self.dataset == "synthetic":
            for name in ("data_dir", "fold", "peer_protocol"):
                if getattr(self, name):
                    raise ValueError(f"`{name}` has no meaning for the synthetic faces.")
            return
        if self.data_dir is None:
            raise ValueError(f"`data_dir` is missing; set it to the unpacked folder of {self.dataset}.")
        folds = self.config_class.folds
        if not has_folds(self.dataset):
            if self.fold is not None:
                raise ValueError(f"`fold` is {self.fold}; {self.dataset} has a single split: leave `fold` out.")
        elif f"fold{self.fold}" not in folds:
            told = "missing" if self.fold is None else self.fold
            raise ValueError(f"`fold` is {told}; {self.dataset} has folds 1 to {len(folds)}: give one, such as 1.")

    def _check_mixture(self) -> None:
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"`dataset` is {self.dataset!r}: it names a dataset twice.")
        if self.weights is not None and len(self.weights) != len(self.names):
            raise ValueError(f"`dataset_weights` has {len(self.weights)} weights for {len(self.names)} datasets.")
        if self.fold is not None and not any(map(has_folds, self.names)):
            raise ValueError(f"`fold` is {self.fold}; none of {self.dataset} has folds: leave it out.")
        if self.vote_labels and not any(map(_has_votes, self.names)):
            raise ValueError(f"`vote_labels` needs the votes of annotators, which none of {self.dataset} has.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the datasets."""
        return tuple(name.strip() for name in self.dataset.split(","))

    @property
    def is_mixture(self) -> bool:
        """Whether there are several datasets."""
        return len(self.names) > 1

    @property
    def weights(self) -> tuple[float, ...] | None:
        """The `dataset_weights` as numbers; `None` if there are none."""
        if not self.dataset_weights:
            return None
        try:
            return tuple(map(float, str(self.dataset_weights).split(",")))
        except ValueError:
            raise ValueError(
                f"`dataset_weights` is {self.dataset_weights!r}; it must be numbers with commas, such as 1,0.5."
            ) from None

    def parts(self, overrides: dict) -> dict[str, tuple["DataArguments", dict]]:
        """
        The arguments of each dataset and the fields of its builder, by its name.

        Args:
            overrides (`dict`): the parsed `dataset_overrides`.

        Raises:
            ValueError: for overrides of a dataset that is not among them, or values that a dataset does not take.
            FileNotFoundError: if the folder of a dataset is not in `data_dir`.
        """
        if not self.is_mixture:
            return {self.dataset: (self, overrides)}
        for name, fields in overrides.items():
            if name not in self.names or not isinstance(fields, dict):
                raise ValueError(
                    f"`dataset_overrides` has {name!r}: {fields!r}; with several datasets it holds the fields of each "
                    f"by its name: {', '.join(self.names)}."
                )
        return {name: self._part(name, dict(overrides.get(name, {}))) for name in self.names}

    def _part(self, name: str, fields: dict) -> tuple["DataArguments", dict]:
        own = {key: fields.pop(key) for key in _OF_A_PART if key in fields}
        given = {"fold": self.fold if has_folds(name) else None, "vote_labels": self.vote_labels and _has_votes(name)}
        if name == "synthetic":
            given |= {"data_dir": None, "peer_protocol": False}
        elif "data_dir" not in own:
            given["data_dir"] = folder_of(name, self.data_dir)
        return replace(self, dataset=name, dataset_weights="", dataset_overrides="{}", **(given | own)), fields

    @property
    def config_class(self) -> type[datasets.BuilderConfig]:
        """Class of the builder's configuration."""
        return BUILDERS[self.dataset].BUILDER_CONFIG_CLASS

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
        check_overrides(builder.BUILDER_CONFIG_CLASS, self.dataset, overrides)
        if self.dataset == "synthetic":
            return builder_for(split, **overrides)
        fold = {} if self.fold is None else {"config_name": f"fold{self.fold}"}
        built = builder(
            **fold,
            data_dir=self.data_dir,
            peer_protocol=self.peer_protocol,
            max_missing=missing_limit(str(self.max_missing)),
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
        told = {name: _without_paths(fields) for name, fields in overrides.items()} if self.is_mixture else overrides
        return {**{name: getattr(self, name) for name in names}, "dataset_overrides": _without_paths(told)}

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
            listed, left_out = builder.config.num_listed, 0
        unusable = left_out + num_unreadable
        allowed = allowed_missing(missing_limit(str(self.max_missing)), listed)
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
            "stills": self.stills,
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


def has_folds(name: str) -> bool:
    """Whether a dataset of `BUILDERS` has folds."""
    config = BUILDERS[name].BUILDER_CONFIG_CLASS
    return issubclass(config, ExpressionConfig) and "fold1" in config.folds


def fold_of_all_clips(name: str) -> int | None:
    """A fold to read every clip of a dataset of `BUILDERS` with: each fold lists all of them, in its splits together.
    `None` for a dataset without folds."""
    return 1 if has_folds(name) else None


def _has_votes(name: str) -> bool:
    config = BUILDERS[name].BUILDER_CONFIG_CLASS
    return issubclass(config, ExpressionConfig) and config.has_votes


def _without_paths(fields: dict) -> dict:
    """Fields without absolute paths, which are of this machine."""
    return {
        name: value
        for name, value in fields.items()
        if not (isinstance(value, str) and os.path.isabs(os.path.expanduser(value)))
    }


def folder_of(dataset: str, data_dir: str | None) -> str:
    """
    The folder of one of several datasets: the folder in `data_dir` that is named as the dataset, in any case and with
    any signs in between (`CREMA-D`).

    Raises:
        ValueError: without `data_dir`, or if there are several such folders.
        FileNotFoundError: if there is none.
    """
    if data_dir is None:
        raise ValueError("`data_dir` is missing; set it to the folder that holds a folder for each dataset.")
    if not os.path.isdir(data_dir):
        raise FileNotFoundError(f"{data_dir}: no such folder; `data_dir` must hold a folder for each dataset.")
    with os.scandir(data_dir) as entries:
        folders = sorted(entry.path for entry in entries if entry.is_dir())
    found = [path for path in folders if re.sub("[^a-z0-9]", "", os.path.basename(path).lower()) == dataset]
    if not found:
        raise FileNotFoundError(
            f"{data_dir}: holds no folder {dataset}; with several datasets, put or link the folder of each into it "
            "under the name of the dataset, or give its `data_dir` in `dataset_overrides`."
        )
    if len(found) > 1:
        raise ValueError(f"{data_dir}: {' and '.join(map(os.path.basename, found))} may both be {dataset}; keep one.")
    return found[0]


def class_count_lines(counts: dict[str, dict[str, int]], peer_protocol: bool = False) -> list[str]:
    """One line per split of [`class_counts`], to show before training."""
    lines = []
    for split, by_class in counts.items():
        is_test = " (peer protocol: the test split)" if peer_protocol and split == "validation" else ""
        classes = ", ".join(f"{name} {count}" for name, count in by_class.items())
        lines.append(f"{split}{is_test}: {sum(by_class.values())} clips: {classes}")
    return lines


__all__ = ["BUILDERS", "PUBLISHED_DATASETS", "DataArguments", "class_count_lines", "fold_of_all_clips", "has_folds"]
