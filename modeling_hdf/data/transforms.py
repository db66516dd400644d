"""Transforms of decoded clips to the model's size: as for inference, or augmented with torchvision v2 for training.

Augmentation draws every parameter once per clip and applies it to all frames. All transforms work on uint8 frames
before normalisation. Those after the crop work on frames of the model's size.
"""

from collections.abc import Callable
from functools import partial

import torch
from torchvision.transforms import v2
from transformers import BaseVideoProcessor

from .training_corruptions import corrupt_for_training

AUGMENTATIONS = ("none", "flip", "crop", "standard", "strong", "corrupted")

# Range of the share of the frame that a crop keeps. Image classification goes down to 0.08, but such a crop can cut
# off the mouth or the eyes and with them the expression.
_CROP_SCALE = (0.5, 1.0)


def fit_clip(clip: torch.Tensor, processor: BaseVideoProcessor) -> torch.Tensor:
    """
    Resizes and crops a uint8 clip `(F, 3, height, width)` exactly as the processor does.

    This is several times faster than the processor, which would stack clips of full size first.
    """
    if processor.do_resize:
        clip = processor.resize(clip, processor.size, resample=processor.resample)
    if processor.do_center_crop:
        clip = processor.center_crop(clip, processor.crop_size)
    return _contiguous(clip)


def _contiguous(clip: torch.Tensor) -> torch.Tensor:
    """
    Copies a clip to the memory layout in which normalisation is fast. Decoded clips lie in memory as
    `(F, height, width, 3)`, in which resizing is fast.
    """
    return clip.contiguous()


def _randaugment(num_ops: int, magnitude: int, fill: list[float]) -> list[v2.Transform]:
    """
    RandAugment of video recipes ("rand-m7-n4"): `num_ops` operations in sequence, each applied with probability 1/2,
    with magnitudes from 0 to 10. torchvision's RandAugment applies all operations, with magnitudes up to 30.
    """
    operation = v2.RandAugment(num_ops=1, magnitude=magnitude, num_magnitude_bins=11, fill=fill)
    return [v2.RandomApply([operation], p=0.5) for _ in range(num_ops)]


def build_augmentation(name: str, processor: BaseVideoProcessor) -> Callable[[torch.Tensor], torch.Tensor]:
    """
    The augmentation with the given name.

    Args:
        name (`str`):
            - `"none"`: clips are resized and cropped as for evaluation, see [`fit_clip`].
            - `"flip"`: the same, and mirrored with probability 1/2.
            - `"crop"`: resized crop, flip, for masked autoencoding (VideoMAE, section 4).
            - `"standard"`: resized crop, flip, colour jitter.
            - `"strong"`: resized crop, flip, RandAugment (m7 n4), random erasing with probability 1/4, as MAE-DFER and
              VideoMAE train.
            - `"corrupted"`: flip, and one of [`TRAINING_CORRUPTIONS`] with probability 1/2. `hdf robustness` tests
              on others.
        processor ([`HDFVideoProcessor`]): gives the model's frame size and the mean colour. Empty and erased pixels
            get the mean colour, which is 0 after normalisation.

    Returns:
        A callable that maps a uint8 clip `(F, 3, height, width)` of any size to the model's size. It draws from
        torch's global generator.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in AUGMENTATIONS:
        raise ValueError(f"`augmentation` is {name!r}; choose one of {AUGMENTATIONS}.")
    fit = partial(fit_clip, processor=processor)
    if name == "none":
        return fit
    flip = v2.RandomHorizontalFlip(0.5)
    if name == "flip":
        return v2.Compose([fit, flip])
    if name == "corrupted":
        return v2.Compose([fit, flip, corrupt_for_training])
    fill = [round(255 * value) for value in processor.image_mean]
    size = (processor.crop_size["height"], processor.crop_size["width"])
    crop = v2.RandomResizedCrop(size, scale=_CROP_SCALE, ratio=(3 / 4, 4 / 3), antialias=True)
    if name == "crop":
        return v2.Compose([crop, _contiguous, flip])
    if name == "standard":
        return v2.Compose([crop, _contiguous, flip, v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4)])
    erase = v2.RandomErasing(p=0.25, scale=(0.02, 1 / 3), ratio=(0.3, 10 / 3), value=fill)
    return v2.Compose([crop, _contiguous, flip, *_randaugment(4, 7, fill), erase])


__all__ = ["AUGMENTATIONS", "build_augmentation", "fit_clip"]
