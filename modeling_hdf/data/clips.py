"""From dataset rows to training batches: decoding, sampling, augmentation, and the collator."""

import copy
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from .clip_io import load_clip
from .clip_samplers import Draw
from .frame_sampling import TemporalSampling
from .mixing import ClipMixing
from .still_motion import STRENGTHS, animate_stills
from .transforms import fit_clip

FrameOrder = Literal["shown", "first", "shuffled"]
Stills = Literal["motion", "single"]


class ClipDataset(Dataset):
    """
    Sampled clips of a dataset whose rows hold a clip in `clip` and a class in `label`.

    Args:
        rows (`Dataset` or `Sequence[dict]`): rows that [`load_clip`] reads, `label` an integer from 0.
        processor ([`HDFVideoProcessor`]): its `num_frames` is the length of a clip.
        sampling ([`TemporalSampling`], *optional*): frame sampling; by default uniform, as in the processor.
        training (`bool`, *optional*, defaults to `False`): whether frames and augmentation are random. Otherwise an
            item is one fixed view of its clip.
        augmentation (`Callable`, *optional*): result of [`build_augmentation`], which maps a decoded clip to the
            model's size with torch's global generator. For training only; by default [`fit_clip`].
        frame_order (`str`, *optional*, defaults to `"shown"`): `"first"` repeats the first frame, `"shuffled"` puts
            the frames in a fixed random order per clip. They measure how much a model learns from a single frame and
            from the order.
        soft_labels (`torch.Tensor` of shape `(len(rows), num_labels)`, *optional*): targets of training instead of
            the classes, see [`vote_targets`]; each row sums to 1.
        cache (`bool`, *optional*, defaults to `False`): whether to keep every decoded clip in memory
            (`num_frames * height * width * 3` bytes each), so that a small dataset is decoded once per process. Our
            trainers keep worker processes and their clips from epoch to epoch. Not for random frames.
        seed (`int`, *optional*, defaults to 0): seed of all random choices.
        stills (`str`, *optional*, defaults to `"motion"`): how training shows stills: moved along random paths, see
            [`animate_stills`], with strengths between 0 (the frame is repeated) and the default ones; or, with
            `"single"`, as the one frame that they are, in data without videos.
        skip_unreadable (`bool`, *optional*, defaults to `False`): whether to mark a clip that cannot be read in
            `unreadable` instead of raising an error, so that one clip does not end an evaluation. Its item is a black
            clip, which no result may count. For evaluation only.

    Each item is `{"clip": uint8 tensor (num_frames, 3, height, width), "label": int}`, with frames of the model's
    size. In training it also has `"seed"`, the seed of [`ClipMixing`], and the clip's row of `soft_labels` as
    `"soft_label"`. A single frame is `(1, 3, height, width)`, with its random `"place"` in time, see [`HDFModel`].
    Random choices depend only on `seed`, the epoch ([`~ClipDataset.set_epoch`]), the index and the number of earlier
    draws ([`Draw`]). They are the same in every worker process and after a resume. A clip is never replaced by
    another clip. A clip that cannot be read raises an error, see [`load_clip`], or is marked, see `skip_unreadable`.

    A still is a clip of one frame. Evaluation repeats the frame; for training see `stills`.

    Raises:
        ValueError: for an unknown frame order or way to show stills, augmentation or soft labels without `training`,
            `skip_unreadable` with `training`, a cache of random frames, or a sampling whose `num_frames` differs from
            the processor's.
    """

    def __init__(
        self,
        rows: datasets.Dataset | Sequence[dict],
        processor: BaseVideoProcessor,
        *,
        sampling: TemporalSampling | None = None,
        training: bool = False,
        augmentation: Callable[[torch.Tensor], torch.Tensor] | None = None,
        frame_order: FrameOrder = "shown",
        soft_labels: torch.Tensor | None = None,
        cache: bool = False,
        seed: int = 0,
        stills: Stills = "motion",
        skip_unreadable: bool = False,
    ):
        sampling = sampling or TemporalSampling(num_frames=processor.num_frames)
        if frame_order not in ("shown", "first", "shuffled"):
            raise ValueError(f"`frame_order` is {frame_order!r}; choose 'shown', 'first' or 'shuffled'.")
        if stills not in get_args(Stills):
            raise ValueError(f"`stills` is {stills!r}; choose one of {get_args(Stills)}.")
        if augmentation is not None and not training:
            raise ValueError("`augmentation` is for training: also pass `training=True`.")
        if soft_labels is not None and not training:
            raise ValueError("`soft_labels` are for training: also pass `training=True`.")
        if skip_unreadable and training:
            raise ValueError("`skip_unreadable` is for evaluation: training must see every clip.")
        if cache and training and sampling.is_random:
            raise ValueError(
                f"`cache` keeps the same frames, but {sampling.kind!r} sampling takes new frames: turn it off."
            )
        if sampling.num_frames != processor.num_frames:
            raise ValueError(f"`sampling` takes {sampling.num_frames} frames, `processor` {processor.num_frames}.")
        self.rows = rows
        self.processor = processor
        self.sampling = sampling
        self.training = training
        self.augmentation = augmentation
        self.frame_order = frame_order
        self.soft_labels = soft_labels
        self.stills = stills
        self.seed = seed
        self.skip_unreadable = skip_unreadable
        self.cache: dict[int, tuple[torch.Tensor, int]] | None = {} if cache else None
        self._view = (0, 1)
        # Shared with other views and with worker processes, which may live longer than an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._is_unreadable = torch.zeros(len(rows), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> list[int]:
        """Class of each clip, without decoding."""
        if isinstance(self.rows, datasets.Dataset):
            return self.rows["label"][:]
        return [row["label"] for row in self.rows]

    @property
    def unreadable(self) -> list[int]:
        """Indices of the clips that could not be read so far, by this process or by its worker processes."""
        return self._is_unreadable.nonzero().flatten().tolist()

    def why_unreadable(self, index: int) -> str:
        """The error message of a clip that cannot be read. Tries to read it again."""
        for sample in (self.sampling.view(*self._view), None):  # another view may need a frame that this one lacks
            message = self._error_of(index, sample)
            if message is not None:
                return message
        return "could not be read at first, but was readable when it was tried again; check the disk or the network."

    def find_unreadable(self) -> dict[int, str]:
        """The error messages of the clips that cannot be read, by index. Reads the view of each clip, in threads."""
        sample = self.sampling.view(*self._view)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # decoding releases the interpreter lock
            messages = list(pool.map(lambda index: self._error_of(index, sample), range(len(self))))
        return {index: message for index, message in enumerate(messages) if message is not None}

    def without(self, indices: Collection[int]) -> "ClipDataset":
        """The same clips, in the same view, without those at `indices`; for evaluation only."""
        if self.training:
            raise ValueError("Soft labels and draws belong to all clips; this dataset is for training.")
        kept = [index for index in range(len(self)) if index not in indices]
        fewer = copy.copy(self)
        fewer.rows = (
            self.rows.select(kept) if isinstance(self.rows, datasets.Dataset) else [self.rows[index] for index in kept]
        )
        fewer.cache = None if self.cache is None else {}
        fewer._is_unreadable = torch.zeros(len(kept), dtype=torch.bool).share_memory_()
        return fewer

    def _error_of(self, index: int, sample: Callable[..., np.ndarray] | None) -> str | None:
        try:
            load_clip(self.rows[int(index)], sample=sample)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the random choices, also in worker processes that already run."""
        self._epoch.fill_(epoch)

    def with_view(self, number: int, num_views: int) -> "ClipDataset":
        """The same clips in another view of [`TemporalSampling.view`], without cache; for evaluation only."""
        if self.training:
            raise ValueError("Views belong to evaluation; this dataset is for training.")
        viewed = copy.copy(self)
        viewed.cache, viewed._view = None, (number, num_views)
        return viewed

    def __getitem__(self, index: int) -> dict:
        if not self.training:
            return self._evaluated(index)
        occurrence = index.occurrence if isinstance(index, Draw) else 0
        generator = np.random.default_rng([self.seed, self._epoch.item(), index, occurrence])
        clip, label = self._decoded(index, self.sampling.sample_randomly(generator))
        if self.stills == "single" and len(clip) > 1:
            raise ValueError(
                "`stills` is 'single', but the training data hold videos, which have more than one frame: train on "
                "them with `stills='motion'` (`--stills motion`)."
            )
        clip = self._ordered(clip, index)
        if self.augmentation is None:
            clip = fit_clip(clip, self.processor)
        else:
            with torch.random.fork_rng(devices=[]):
                # `torch.manual_seed` would seed the accelerators too, outside of the fork, and is slow.
                torch.default_generator.manual_seed(int(generator.integers(2**63)))
                clip = self.augmentation(clip)
        if self.stills == "motion" and self._is_still(clip):
            clip = self._moved(clip, generator)
        item = {"clip": clip, "label": label, "seed": int(generator.integers(2**63))}
        if self.stills == "single":
            item["place"] = int(generator.integers(self.processor.num_frames))
        return item if self.soft_labels is None else item | {"soft_label": self.soft_labels[index]}

    def _evaluated(self, index: int) -> dict:
        try:
            clip, label = self._decoded(index, self.sampling.view(*self._view))
        except (OSError, ValueError):
            if not self.skip_unreadable:
                raise
            self._is_unreadable[index] = True
            clip = torch.zeros((self.processor.num_frames, 3, 16, 16), dtype=torch.uint8)
            return {"clip": fit_clip(clip, self.processor), "label": self.rows[int(index)]["label"]}
        clip = fit_clip(self._ordered(clip, index), self.processor)
        return {"clip": clip.expand(self.processor.num_frames, -1, -1, -1), "label": label}

    def _is_still(self, clip: torch.Tensor) -> bool:
        """Whether a clip `(F, 3, H, W)` is the one frame of a still, see `_decoded`."""
        return len(clip) < self.processor.num_frames

    def _moved(self, still: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """The clip `(num_frames, 3, H, W)` of a still `(1, 3, H, W)`."""
        strengths = {name: generator.random() * most for name, most in STRENGTHS.items()}
        paths = torch.Generator().manual_seed(int(generator.integers(2**63)))
        return animate_stills(still, self.processor.num_frames, paths, **strengths)[0]

    def _ordered(self, clip: torch.Tensor, index: int) -> torch.Tensor:
        if self.frame_order == "first":
            return clip[:1].expand_as(clip)
        if self.frame_order == "shuffled":
            return clip[torch.randperm(len(clip), generator=torch.Generator().manual_seed(int(index)))]
        return clip

    def _decoded(self, index: int, sample: Callable[..., np.ndarray]) -> tuple[torch.Tensor, int]:
        """The sampled frames of a clip `(num_frames, 3, H, W)`, of a still its frame `(1, 3, H, W)`; and the class."""
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        row = self.rows[int(index)]
        # The memory layout stays (F, H, W, 3), which torchvision resizes faster than (F, 3, H, W).
        clip = torch.from_numpy(_read(row, sample)).movedim(-1, -3)
        if self.cache is not None:
            self.cache[index] = (clip, row["label"])
        return clip, row["label"]


def _read(row: dict, sample: Callable[..., np.ndarray]) -> np.ndarray:
    """The frames of a row's clip that `sample` picks `(F, H, W, 3)`; of a clip of one frame this frame alone."""
    num_frames = 0

    def counted(metadata: VideoMetadata, timestamps: np.ndarray | None = None) -> np.ndarray:
        nonlocal num_frames
        num_frames = metadata.total_num_frames
        return sample(metadata=metadata, timestamps=timestamps)

    frames = load_clip(row, sample=counted)
    return frames[:1] if num_frames == 1 else frames


class ClipCollator:
    """
    Batches the items of [`ClipDataset`], normalised by the video processor.

    Args:
        processor ([`HDFVideoProcessor`]): the processor that inference also uses.
        num_labels (`int`): number of classes; a label outside `0 ... num_labels - 1` raises a `ValueError`.
        mixing ([`ClipMixing`], *optional*): mixes training batches; evaluation batches have no seeds and stay unmixed.

    Returns `{"pixel_values": (B, F, 3, H, W) float32, "labels": (B,) int64}`, with soft labels also
    `"soft_labels": (B, num_labels) float32`, for single frames `"place": (B,) int64`, and the entries of
    [`ClipMixing`]. The collator is safe in worker processes: it keeps no state, and random choices depend only on the
    seeds of the items.
    """

    def __init__(self, processor: BaseVideoProcessor, num_labels: int, mixing: ClipMixing | None = None):
        self.processor = processor
        self.num_labels = num_labels
        self.mixing = mixing

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        labels = [item["label"] for item in items]
        wrong = sorted({label for label in labels if not 0 <= label < self.num_labels})
        if wrong:
            raise ValueError(
                f"`label` holds {wrong}, but the model has classes 0 to {self.num_labels - 1}; labels count from 0."
            )
        clips = [item["clip"] for item in items]
        as_they_are = {"do_sample_frames": False, "do_resize": False, "do_center_crop": False}
        pixel_values = self.processor(clips, **as_they_are, return_tensors="pt")["pixel_values"]
        batch = {"pixel_values": pixel_values, "labels": torch.tensor(labels)}
        if all("place" in item for item in items):
            batch["place"] = torch.tensor([item["place"] for item in items])
        if all("soft_label" in item for item in items):
            batch["soft_labels"] = torch.stack([item["soft_label"] for item in items])
        if self.mixing is not None and all("seed" in item for item in items):
            seeds = [item["seed"] for item in items]
            batch.update(self.mixing(pixel_values, batch["labels"], seeds, batch.get("soft_labels")))
        return batch


__all__ = ["ClipCollator", "ClipDataset", "Stills"]
