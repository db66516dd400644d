"""Masked autoencoding of clips without labels (VideoMAE, https://arxiv.org/abs/2203.12602): model, masks and trainer.

`hdf pretrain` puts the parts together. It saves a checkpoint of transformers' VideoMAE, which
[`HDFForVideoClassification.from_backbone_pretrained`] loads.
"""

from dataclasses import dataclass, field

import datasets
import numpy as np
import torch
from torch import nn
from transformers import BaseVideoProcessor, VideoMAEConfig, VideoMAEForPreTraining

from ..configuration_hdf import HDFConfig
from ..data.builders.checks import missing_limit
from ..data.builders.unlabelled import UnlabelledClips
from ..data.clips import ClipDataset
from ..data.frame_sampling import TemporalSampling
from ..data.synthetic.builder import SyntheticFaces
from ..data.transforms import build_augmentation
from ..videomae_hdf import VideoMAEBackbone
from .arguments import DeviceCheckedArguments
from .callbacks import EpochCallback
from .resumable import ResumableTrainer


def pretraining_config(preset: HDFConfig, **fields) -> VideoMAEConfig:
    """
    The backbone of a preset, with a decoder of half its width, heads and hidden units and a third of its layers, which
    gives VideoMAE-S and -B their published decoders (192 and 384 channels, 4 layers).

    Args:
        preset ([`HDFConfig`]): its DAM is not used.
        fields: fields of `VideoMAEConfig` that take precedence.

    Raises:
        ValueError: for fields that `VideoMAEConfig` does not have, and sizes that do not fit together.
    """
    unknown = sorted(set(fields) - set(VideoMAEConfig.__annotations__))
    if unknown:
        raise ValueError(f"Unknown fields {unknown}; VideoMAEConfig has {sorted(VideoMAEConfig.__annotations__)}.")
    encoder = {**preset.backbone_config.to_dict(), **fields}
    decoder = {
        "decoder_hidden_size": encoder["hidden_size"] // 2,
        "decoder_num_attention_heads": max(1, encoder["num_attention_heads"] // 2),
        "decoder_intermediate_size": encoder["intermediate_size"] // 2,
        "decoder_num_hidden_layers": max(1, encoder["num_hidden_layers"] // 3),
    }
    # VideoMAE's encoder ends in a norm while it is pretrained; `use_mean_pooling=True` would leave it out.
    config = VideoMAEConfig(**{**encoder, "use_mean_pooling": False, "norm_pix_loss": True, **decoder, **fields})
    VideoMAEBackbone.feature_map_size(config)
    if not isinstance(config.patch_size, int):
        raise ValueError(f"`patch_size` is {config.patch_size}; VideoMAE's decoder takes square patches: one number.")
    return config


def num_masked_patches(height: int, width: int, mask_ratio: float) -> int:
    """
    Number of masked patches in each time step, rounded down as in VideoMAE.

    Raises:
        ValueError: if that number is 0 or all `height * width` patches.
    """
    count = int(mask_ratio * height * width)
    if not 1 <= count < height * width:
        raise ValueError(
            f"`mask_ratio` is {mask_ratio}: it hides {count} of {height} x {width} patches; choose one between 0 and "
            "1 that hides some of them and leaves some."
        )
    return count


def tube_mask(feature_map_size: tuple[int, int, int], mask_ratio: float, seed: int) -> torch.Tensor:
    """
    A tube mask (VideoMAE, section 3.3): the same random patches are hidden at every time step, so that the
    model cannot copy a hidden patch from a neighbouring frame.

    Args:
        feature_map_size (`tuple[int, int, int]`): `(T, h, w)`.
        mask_ratio (`float`): share of hidden patches, see [`num_masked_patches`]; every mask hides equally many.
        seed (`int`): seed of the random choice, not negative.

    Returns:
        `torch.Tensor` of shape `(T*h*w,)`, bool, True where a token is hidden.
    """
    steps, height, width = feature_map_size
    hidden = np.zeros(height * width, dtype=bool)
    hidden[: num_masked_patches(height, width, mask_ratio)] = True
    return torch.from_numpy(np.random.default_rng(seed).permutation(hidden)).repeat(steps)


class PretrainingCollator:
    """
    Batches the items of a [`ClipDataset`] for training, with a tube mask for each.

    Args:
        processor ([`HDFVideoProcessor`]): normalises the clips.
        config (`VideoMAEConfig`): of the model.
        mask_ratio (`float`): see [`tube_mask`].

    Returns `{"pixel_values": (B, num_frames, 3, H, W) float32, "bool_masked_pos": (B, T*h*w) bool}`. The mask of an
    item depends on its `seed`, which depends on the seed of the run, the epoch and the index of the clip.

    Raises:
        ValueError: for a ratio that hides no patch, or all of them.
    """

    def __init__(self, processor: BaseVideoProcessor, config: VideoMAEConfig, mask_ratio: float):
        self.processor = processor
        self.feature_map_size = VideoMAEBackbone.feature_map_size(config)
        self.mask_ratio = mask_ratio
        num_masked_patches(*self.feature_map_size[1:], mask_ratio)

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        as_they_are = {"do_sample_frames": False, "do_resize": False, "do_center_crop": False}
        clips = self.processor([item["clip"] for item in items], **as_they_are, return_tensors="pt")
        masks = [tube_mask(self.feature_map_size, self.mask_ratio, item["seed"]) for item in items]
        return {"pixel_values": clips["pixel_values"], "bool_masked_pos": torch.stack(masks)}


@dataclass
class PretrainingDataArguments:
    """
    Clips for pretraining and how to sample them, for [`~transformers.HfArgumentParser`]; a recipe sets these fields.

    Args:
        data_dir: folder of clips, see [`UnlabelledClips`]; without one, the training split of [`SyntheticFaces`].
        max_missing: clips of the folder that may be unreadable: a number (`5`) or a share (`0.01`).
        dataset_overrides: fields of [`SyntheticFacesConfig`], as JSON; not with `data_dir`.
        cache_clips: keep decoded clips in memory; not for random frames.
        temporal_sampling, sampling_stride: kind and stride of [`TemporalSampling`].
        augmentation: name for [`build_augmentation`].

    Raises:
        ValueError: for values out of range, or arguments that do not apply to the data.
    """

    data_dir: str | None = field(default=None, metadata={"help": "Folder of clips; none: the synthetic faces."})
    max_missing: str = field(default="0", metadata={"help": "Unreadable clips: a number (5) or a share (0.01)."})
    dataset_overrides: str = field(default="{}", metadata={"help": "Fields of the synthetic faces, as JSON."})
    cache_clips: bool = field(default=False, metadata={"help": "Keep decoded clips in memory."})
    temporal_sampling: str = field(default="uniform", metadata={"help": "Frames: uniform, segments or dense."})
    sampling_stride: int = field(default=1, metadata={"help": "Distance of the frames of dense sampling."})
    augmentation: str = field(default="crop", metadata={"help": "none, flip, crop, standard or strong."})

    def __post_init__(self):
        TemporalSampling(self.temporal_sampling, stride=self.sampling_stride)  # raises before any clip is read
        missing_limit(str(self.max_missing))

    def builder(self, overrides: dict) -> datasets.DatasetBuilder:
        """The builder; `overrides` are the parsed `dataset_overrides`."""
        if self.data_dir is None:
            return SyntheticFaces(**overrides)  # all splits: the training that follows reads them from the cache
        if overrides:
            raise ValueError("`dataset_overrides` describes the synthetic faces and has no meaning for `data_dir`.")
        return UnlabelledClips(data_dir=self.data_dir, max_missing=missing_limit(str(self.max_missing)))

    def clips(self, rows: datasets.Dataset, processor: BaseVideoProcessor, seed: int) -> ClipDataset:
        """The clips, with random frames and augmentation."""
        sampling = TemporalSampling(self.temporal_sampling, processor.num_frames, self.sampling_stride)
        augmentation = build_augmentation(self.augmentation, processor)
        return ClipDataset(
            rows,
            processor,
            sampling=sampling,
            training=True,
            augmentation=augmentation,
            cache=self.cache_clips,
            seed=seed,
        )


@dataclass
class PretrainingArguments(DeviceCheckedArguments):
    """
    Arguments of [`PretrainingTrainer`]: those of [`~transformers.TrainingArguments`] and the one below. `adam_beta2`
    defaults to VideoMAE's 0.95.

    Args:
        mask_ratio (`float`, *optional*, defaults to 0.9): share of hidden patches; see [`tube_mask`].
    """

    adam_beta2: float = field(default=0.95, metadata={"help": "Beta2 of AdamW."})
    # A Trainer default that would drop the video columns of a dataset.
    remove_unused_columns: bool = field(default=False, metadata={"help": "Drop columns that the model does not take."})
    mask_ratio: float = field(default=0.9, metadata={"help": "Share of hidden patches."})


class PretrainingTrainer(ResumableTrainer):
    """
    [`ResumableTrainer`] for `VideoMAEForPreTraining` on a [`ClipDataset`]; makes the masks.

    Args:
        model (`VideoMAEForPreTraining`): see [`pretraining_config`].
        args ([`PretrainingArguments`]): the arguments.
        train_dataset ([`ClipDataset`]): made with `training=True`.
        processing_class ([`HDFVideoProcessor`]): saved beside the weights.
        kwargs: further arguments of the Trainer.
    """

    def __init__(
        self,
        model: VideoMAEForPreTraining,
        args: PretrainingArguments,
        train_dataset: ClipDataset,
        processing_class: BaseVideoProcessor,
        **kwargs,
    ):
        collator = PretrainingCollator(processing_class, model.config, args.mask_ratio)
        super().__init__(
            model, args, collator, train_dataset=train_dataset, processing_class=processing_class, **kwargs
        )
        self.add_callback(EpochCallback())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        # transformers stores VideoMAE's query and value biases under the names of older checkpoints. The Trainer does
        # not translate these names and would not load the biases.
        model = self.model if model is None else model
        saved = type(self.model).from_pretrained(resume_from_checkpoint)
        model.load_state_dict(saved.state_dict())


__all__ = [
    "PretrainingArguments",
    "PretrainingCollator",
    "PretrainingDataArguments",
    "PretrainingTrainer",
    "num_masked_patches",
    "pretraining_config",
    "tube_mask",
]
