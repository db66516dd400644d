"""Clips of the CC0 parametric face, rendered on the user's machine.

They serve to check a pipeline end to end and to study single nuisance factors. A model trained on them does not work
on real faces. Do not compare results on them with results on DFEW, FERV39k or MAFW.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets
import numpy as np

from ...configuration_hdf import EMOTIONS
from ..processes import forks_follow, usable_cores
from ..video_encoding import encode_mp4
from .dynamics import BACKGROUNDS, ClipFactors, sample_factors
from .renderer import person_traits, render_clip

SPLITS = ("train", "validation", "test")
# Streams of random numbers. Streams 0 to 2 belong to the clips of the three splits; these are shared by all clips.
PERSON_STREAM, ORDER_STREAM = 5, 6
_PERSONAL = ("age", "gender")  # traits of the person that are columns


@dataclass
class FaceClipsConfig(datasets.BuilderConfig):
    """Fields shared by builders of rendered clips. Every field is part of the name of the cache folder.

    Args:
        image_size: edge of the square frames in pixels, even, 32 to 512.
        duration: mean length of a clip in seconds, 0.8 to 10; lengths vary by up to 10 %.
        difficulty: factor on the range of every nuisance: 0 = no nuisance, 1 = mild, 2 = strong; at most 4.
        seed: non-negative seed of all random choices.

    Raises:
        ValueError: if a field is out of its range.
    """

    image_size: int = 64
    duration: float = 1.6
    difficulty: float = 1.0
    seed: int = 0

    splits: ClassVar[tuple[str, ...]]

    def __post_init__(self):
        super().__post_init__()
        for split in self.splits:
            if self.num_clips(split) < len(EMOTIONS):
                raise ValueError(
                    f"`num_{split}` must be at least 7 (one clip per class), got {self.num_clips(split)}."
                )
        if self.image_size % 2 or not 32 <= self.image_size <= 512:
            raise ValueError(f"`image_size` must be even and from 32 to 512, got {self.image_size}.")
        if not 0.8 <= self.duration <= 10.0:
            raise ValueError(f"`duration` must be from 0.8 to 10 seconds, got {self.duration}.")
        if not 0.0 <= self.difficulty <= 4.0:
            raise ValueError(f"`difficulty` must be from 0 (no nuisance) to 4, got {self.difficulty}.")
        if self.seed < 0:
            raise ValueError(f"`seed` must not be negative, got {self.seed}.")

    def num_clips(self, split: str) -> int:
        """Number of clips of a split."""
        return getattr(self, f"num_{split}")

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Name of the cache folder, from all fields. Defaults are included because they may change."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del fields["version"]  # a folder of its own
        if self.splits == type(self).splits:
            fields.pop("splits", None)  # caches of earlier versions keep their names
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()[:16]
        return super().create_config_id({"fields": digest}, custom_features)


@dataclass
class SyntheticFacesConfig(FaceClipsConfig):
    """Configuration of [`SyntheticFaces`]: the fields of [`FaceClipsConfig`] and the sizes of the splits.

    Args:
        num_train: number of training clips, at least 7.
        num_validation: number of validation clips, at least 7.
        num_test: number of test clips, at least 7.
        splits: the splits to render; all by default. The clips of a split do not depend on the others.
    """

    num_train: int = 3500
    num_validation: int = 350
    num_test: int = 700
    splits: tuple[str, ...] = SPLITS

    def __post_init__(self):
        if not self.splits or not set(self.splits) <= set(SPLITS):
            raise ValueError(f"`splits` must name at least one of {', '.join(SPLITS)}, got {self.splits!r}.")
        super().__post_init__()

    @property
    def num_listed(self) -> int:
        """Number of clips of all splits, also of those that are not rendered."""
        return sum(map(self.num_clips, SPLITS))


def clip_factors(config: SyntheticFacesConfig, split: str, index: int) -> ClipFactors:
    """Label, identity and factors of clip `index` of a split; a pure function of its arguments.

    Each run of seven clips shows one person with each of the seven labels once, in random order. People differ between
    splits.
    """
    split_id = SPLITS.index(split)
    person, turn = divmod(index, len(EMOTIONS))
    identity = person * len(SPLITS) + split_id
    order = np.random.default_rng([config.seed, ORDER_STREAM, identity]).permutation(len(EMOTIONS))
    skin = np.random.default_rng([config.seed, PERSON_STREAM, identity]).uniform()
    return sample_factors(
        np.random.default_rng([config.seed, split_id, index]),
        label=EMOTIONS[order[turn]],
        identity=identity,
        skin=skin,
        difficulty=config.difficulty,
        duration=config.duration,
    )


class SyntheticFaces(datasets.GeneratorBasedBuilder):
    """Labelled clips of a parametric face that goes from neutral to an expression and back.

    The seven classes and their order are DFEW's. A neutral clip has talking, blinks and head motion like other clips,
    but no expression. No person appears in two splits.

    The clips are rendered in parallel on all usable cores and cached like any dataset. The pixels depend only on the
    configuration, not on the number of processes.

    Columns:
        - `clip` (`Video(decode=False)`): `{"bytes": H.264 MP4, "path": "train_00012.mp4"}`, square frames.
        - `label` (`ClassLabel`): happiness, sadness, neutral, anger, surprise, disgust, fear.
        - `clip_id` (string): the name of the clip, unique over all splits.
        - `identity` (int32): the person.
        - one column per factor, all drawn independently of the label. With `d` the difficulty:

    | column | unit | range |
    |---|---|---|
    | `duration` | s | 0.9 to 1.1 times the configured duration |
    | `onset` | s | 0.10 to 0.28 of the duration; the face is neutral before |
    | `speed` | apexes per s | 3 to 6 divided by the duration; 1 / rise time |
    | `intensity` | factor on the apex | 0.8 to 1.2 |
    | `asymmetry` | share taken from the left (+) or right (-) side | -0.3 to 0.3 |
    | `yaw`, `pitch`, `roll` | degrees, mean over the clip | up to 10 d, 6 d, 4 d either way |
    | `head_motion` | degrees, amplitude of the sway | 0.5 d to 2.5 d |
    | `zoom` | factor on the face's size | 1 - 0.04 d to 1 + 0.04 d |
    | `light` | degrees from the camera, + from the viewer's right | up to 40 d either way |
    | `brightness` | factor on the light | 2^(-0.35 d) to 2^(0.35 d) |
    | `background` | `grey`, `colour`, `gradient`, `blobs` | `grey` if d = 0 |
    | `skin` | tone, 0 = light, 1 = dark; one per person | 0 to 1; 0.4 if d = 0 |
    | `age` | share of the old shape in the blend with the young adult one; one per person | 0 to 0.6 |
    | `gender` | how the shape presents, 0 = masculine, 1 = feminine; one per person | 0 to 1 |
    | `blinks` | number | 0 to 2 |
    | `talking` | strength of mouth motion by speech | 0 (60 % of the clips), else 0.15 d to 0.45 d, at most 1 |
    | `noise` | standard deviation in 8-bit levels | d to 5 d |
    | `compression` | constant rate factor of x264 | 18 to 18 + 8 d, at most 51 |
    | `fps` | frames per second | 11 - 4 d (at least 4) to 11 + 5 d |

    See [`SyntheticFacesConfig`] for the arguments.

    Example:

    ```python
    >>> from modeling_hdf.data import SyntheticFaces
    >>> builder = SyntheticFaces(num_train=700, num_validation=70, num_test=70)
    >>> builder.download_and_prepare()
    >>> train = builder.as_dataset(split="train")
    ```
    """

    # Part of the cache folder's name. Raise it with every change of pixels, factors or columns.
    VERSION = datasets.Version("1.1.0")
    BUILDER_CONFIG_CLASS = SyntheticFacesConfig
    backgrounds = BACKGROUNDS

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("dataset_name", "synthetic_faces")
        super().__init__(*args, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        features = {
            "clip": datasets.Video(decode=False),
            "label": datasets.ClassLabel(names=list(EMOTIONS)),
            "clip_id": datasets.Value("string"),
        }
        types = {str: "string", int: "int32", float: "float64"}
        for field in dataclasses.fields(ClipFactors):
            if field.name != "label":
                features[field.name] = datasets.Value(types[field.type])
        features["background"] = datasets.ClassLabel(names=list(self.backgrounds))
        features |= {name: datasets.Value("float64") for name in _PERSONAL}
        return datasets.DatasetInfo(
            description="Synthetic dynamic facial expressions, rendered from a CC0 parametric face.",
            features=datasets.Features(features),
            license="CC0-1.0",
        )

    def download_and_prepare(self, *args: Any, num_proc: int | None = None, **kwargs: Any) -> None:
        """Render and cache the splits; nothing is downloaded. `num_proc` defaults to the number of usable cores."""
        with forks_follow():
            super().download_and_prepare(*args, num_proc=num_proc or usable_cores(), **kwargs)

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        generators = []
        for split in self.config.splits:
            count = self.config.num_clips(split)
            # `datasets` gives each process its share of the list.
            generator = datasets.SplitGenerator(split, gen_kwargs={"split": split, "indices": list(range(count))})
            generator.split_info.num_examples = count  # the length of the progress bar
            generators.append(generator)
        return generators

    def _draw(self, split: str, index: int) -> tuple[ClipFactors, tuple[int, int]]:
        """Factors of a clip, and numbers that make its pixels differ from another clip with equal factors."""
        return clip_factors(self.config, split, index), (SPLITS.index(split), index)

    def _generate_examples(self, split: str, indices: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in indices:
            factors, clip_seed = self._draw(split, index)
            frames = render_clip(factors, self.config.image_size, self.config.seed, clip_seed)
            clip_id = f"{split}_{index:05d}"
            clip = {"bytes": encode_mp4(frames, factors.fps, factors.compression), "path": f"{clip_id}.mp4"}
            traits = person_traits(self.config.seed, factors.identity)
            personal = {name: getattr(traits, name) for name in _PERSONAL}
            yield index, {"clip": clip, "clip_id": clip_id, **dataclasses.asdict(factors), **personal}


def builder_for(split: str | None, **fields: Any) -> SyntheticFaces:
    """
    The builder for measuring on a split. It renders no training clips, which are most of all; unless the split is
    another than these two, or an earlier run has rendered all splits.

    Args:
        split: `"test"`; `"validation"`, which calibration needs together with the test split; or any other.
        fields: of [`SyntheticFacesConfig`].
    """
    whole, needed = SyntheticFaces(**fields), {"test": ("test",), "validation": ("validation", "test")}.get(split)
    return whole if needed is None or os.path.isdir(whole.cache_dir) else SyntheticFaces(**fields, splits=needed)
