"""The training conditions of `controlled_ablation.py`: foreign frames, a long tail, noisy labels, corrupted clips."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from synthetic_runs import build_clips, build_processor
from torchvision.transforms import v2

from modeling_hdf.data import ClipDataset, build_augmentation


def long_tail_indices(labels: Sequence[int], ratio: float) -> list[int]:
    """
    The first clips of each class, in sizes that fall geometrically from the first class to the last.

    Args:
        labels (`Sequence[int]`): class of each clip.
        ratio (`float`): size of the first class, which stays whole, divided by that of the last.

    Returns:
        `list[int]`: indices in rising order; every class keeps at least 2 clips.
    """
    labels = np.array(labels)
    classes = np.unique(labels)
    kept = []
    for rank, label in enumerate(classes):
        indices = np.flatnonzero(labels == label)
        size = len(indices) * ratio ** (-rank / max(1, len(classes) - 1))
        kept += indices[: max(2, round(size))].tolist()
    return sorted(kept)


def noisy_labels(labels: Sequence[int], share: float, num_labels: int, seed: int) -> list[int]:
    """Labels of which a share, chosen at random, is replaced by another class."""
    rng = np.random.default_rng(seed)
    noisy = np.array(labels)
    wrong = rng.permutation(len(noisy))[: round(share * len(noisy))]
    noisy[wrong] = (noisy[wrong] + rng.integers(1, num_labels, len(wrong))) % num_labels
    return noisy.tolist()


class ForeignFrames:
    """
    An augmentation that puts frames of a clip of another class into half of the clips; draws from torch's generator.

    Args:
        clips (`Sequence[torch.Tensor]`): uint8 clips `(F, 3, H, W)` that give the foreign frames.
        labels (`Sequence[int]`): their classes.
        shares (`tuple[float, float]`): smallest and largest share of foreign frames; at least one frame.
    """

    def __init__(self, clips: Sequence[torch.Tensor], labels: Sequence[int], shares: tuple[float, float]):
        self.clips = clips
        self.labels = torch.tensor(labels)
        self.shares = shares

    def __call__(self, clip: torch.Tensor) -> torch.Tensor:
        if torch.rand(()) < 0.5:
            return clip
        own = next(index for index, other in enumerate(self.clips) if other.equal(clip))
        others = (self.labels != self.labels[own]).nonzero().flatten()
        foreign = self.clips[int(others[torch.randint(len(others), ())])]
        low, high = self.shares
        number = max(1, round((low + (high - low) * torch.rand(()).item()) * len(clip)))
        places = torch.randperm(len(clip))[:number]
        mixed = clip.clone()
        mixed[places] = foreign[places]
        return mixed


def training_clips(data: dict, condition: dict, seed: int, num_labels: int, cache: Path) -> ClipDataset:
    """The training clips of a condition, see [`run_settings`] of `controlled_settings.py`."""
    name = "corrupted" if condition["name"] == "augmented" else "flip"
    augmentation = build_augmentation(name, build_processor(data))
    whole = build_clips(data, "train", cache, training=True, augmentation=augmentation, seed=seed)
    kept = long_tail_indices(whole.labels, condition["long_tail"])
    labels = noisy_labels([whole.labels[i] for i in kept], condition["label_noise"], num_labels, seed)
    if condition["foreign_shares"] is not None:
        decoded = [whole.cache[i][0] for i in kept]
        augmentation = v2.Compose([ForeignFrames(decoded, labels, tuple(condition["foreign_shares"])), augmentation])
    clips = ClipDataset(
        whole.rows.select(kept), whole.processor, training=True, augmentation=augmentation, seed=seed, cache=True
    )
    clips.cache = {
        place: (whole.cache[i][0], label) for place, (i, label) in enumerate(zip(kept, labels, strict=True))
    }
    return clips
