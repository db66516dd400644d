"""From decoded clips to clips of the model's size: as for inference, or augmented for training with torchvision v2.

Augmentation draws every parameter once per clip, for all its frames alike. Everything works on uint8 frames, before
they are normalised; after the crop, on frames of the model's size.
"""

from collections.abc import Callable
from functools import partial

import torch
from torchvision.transforms import v2
from transformers import BaseVideoProcessor

AUGMENTATIONS = ("none", "flip", "crop", "standard", "strong")

# Smallest share of the frame that a crop keeps. Image classification goes down to 0.08, where a face loses its mouth
# or its eyes, and with them its expression.
_CROP_SCALE = (0.5, 1.0)


def fit_clip(clip: torch.Tensor, processor: BaseVideoProcessor) -> torch.Tensor:
    """
    Resizes and crops a uint8 clip `(F, 3, height, width)` as the processor does, to the last bit.

    Several times faster than calling the processor on clips of full size: that would stack them first.
    """
    if processor.do_resize:
        clip = processor.resize(clip, processor.size, resample=processor.resample)
    if processor.do_center_crop:
        clip = processor.center_crop(clip, processor.crop_size)
    return _contiguous(clip)


def _contiguous(clip: torch.Tensor) -> torch.Tensor:
    """
    The layout that normalisation is fast on. Decoded clips lie in memory as `(F, height, width, 3)`, the layout that
    resizing is fast on.
    """
    return clip.contiguous()


def _randaugment(num_ops: int, magnitude: int, fill: list[float]) -> list[v2.Transform]:
    """
    RandAugment as video recipes write it, "rand-m7-n4": `num_ops` operations in turn, each applied with probability
    1/2, on a scale of magnitudes from 0 to 10. (torchvision's own applies all of them, on a scale to 30.)
    """
    operation = v2.RandAugment(num_ops=1, magnitude=magnitude, num_magnitude_bins=11, fill=fill)
    return [v2.RandomApply([operation], p=0.5) for _ in range(num_ops)]


def build_augmentation(name: str, processor: BaseVideoProcessor) -> Callable[[torch.Tensor], torch.Tensor]:
    """
    The augmentation of that name.

    Args:
        name (`str`):
            - `"none"`: clips are resized and cropped as for evaluation, see [`fit_clip`].
            - `"flip"`: the same, and mirrored with probability 1/2.
            - `"crop"`: resized crop, flip: what masked autoencoding needs, and no more (VideoMAE, section 4).
            - `"standard"`: resized crop, flip, colour jitter.
            - `"strong"`: resized crop, flip, RandAugment (m7 n4), random erasing with probability 1/4, as MAE-DFER and
              VideoMAE train.
        processor ([`HDFVideoProcessor`]): gives the size of the model's frames, and the mean colour, which fills what
            is moved out of sight or erased, so that it is 0 after normalisation.

    Returns:
        A callable from a uint8 clip `(F, 3, height, width)` of any size to one of the model's size, random by torch's
        global generator.

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
