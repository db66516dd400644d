"""From dataset rows to training batches: decoding, sampling, flipping, and the collator."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch.utils.data import Dataset
from transformers import BaseVideoProcessor

FrameOrder = Literal["shown", "first", "shuffled"]


class ClipDataset(Dataset):
    """
    Sampled clips of a dataset whose rows hold a video in `clip` and a class in `label`.

    Args:
        rows (`Sequence[dict]`): rows such as those of [`SyntheticFaces`]: `clip` is `{"bytes", "path"}` of an encoded
            video, `label` an integer from 0.
        processor ([`HDFVideoProcessor`]): decodes and samples; its `num_frames` is the length of a clip.
        flip (`bool`, *optional*, defaults to `False`): whether to mirror each clip, all its frames alike, with
            probability 1/2. For training only.
        frame_order (`str`, *optional*, defaults to `"shown"`): `"first"` repeats the first frame, `"shuffled"` puts
            the frames in a fixed random order per clip: controls of what a model draws from a single frame and from
            order.
        cache (`bool`, *optional*, defaults to `False`): whether to keep every decoded clip in memory
            (`num_frames * height * width * 3` bytes each), so that a small dataset is decoded once per process.

    Each item is `{"clip": uint8 tensor (num_frames, 3, height, width), "label": int}`.
    """

    def __init__(
        self,
        rows: Sequence[dict],
        processor: BaseVideoProcessor,
        *,
        flip: bool = False,
        frame_order: FrameOrder = "shown",
        cache: bool = False,
    ):
        if frame_order not in ("shown", "first", "shuffled"):
            raise ValueError(f"`frame_order` is {frame_order!r}; choose 'shown', 'first' or 'shuffled'.")
        self.rows = rows
        self.processor = processor
        self.flip = flip
        self.frame_order = frame_order
        self.cache: dict[int, tuple[torch.Tensor, int]] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        clip, label = self._decoded(index)
        if self.frame_order == "first":
            clip = clip[:1].expand_as(clip)
        elif self.frame_order == "shuffled":
            clip = clip[torch.randperm(len(clip), generator=torch.Generator().manual_seed(index))]
        if self.flip and torch.rand(()) < 0.5:
            clip = clip.flip(-1)
        return {"clip": clip, "label": label}

    def _decoded(self, index: int) -> tuple[torch.Tensor, int]:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        row = self.rows[index]
        video = row["clip"]["bytes"] if row["clip"]["bytes"] is not None else row["clip"]["path"]
        clip, _ = self.processor.load_clip(video, name=str(row["clip"]["path"]))
        if self.cache is not None:
            self.cache[index] = (clip, row["label"])
        return clip, row["label"]


class ClipCollator:
    """
    Batches the items of [`ClipDataset`]: resizes, crops and normalises with the video processor.

    Args:
        processor ([`HDFVideoProcessor`]): the processor that inference uses too.
        num_labels (`int`): number of classes; a label outside `0 ... num_labels - 1` raises a `ValueError`.

    Returns `{"pixel_values": (B, num_frames, 3, H, W) float32, "labels": (B,) int64}`. Safe in worker processes.
    """

    def __init__(self, processor: BaseVideoProcessor, num_labels: int):
        self.processor = processor
        self.num_labels = num_labels

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        labels = [item["label"] for item in items]
        wrong = sorted({label for label in labels if not 0 <= label < self.num_labels})
        if wrong:
            raise ValueError(
                f"`label` holds {wrong}, but the model has classes 0 to {self.num_labels - 1}; labels count from 0."
            )
        batch = self.processor([item["clip"] for item in items], do_sample_frames=False, return_tensors="pt")
        return {"pixel_values": batch["pixel_values"], "labels": torch.tensor(labels)}


__all__ = ["ClipCollator", "ClipDataset"]
