"""Test clips of the parametric face with people, nuisances and styles outside the ranges of [`SyntheticFaces`].

They measure how well a model trained on the synthetic faces works under new conditions. As with all rendered clips,
the results do not apply to real faces.
"""

from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np

from ...configuration_hdf import EMOTIONS
from .builder import FaceClipsConfig, SyntheticFaces
from .dynamics import BACKGROUNDS, ClipFactors, sample_factors

SHIFTED_BACKGROUNDS = ("stripes",)
SHIFTED_FACTORS = (
    "speed", "intensity", "asymmetry", "yaw", "pitch", "roll", "head_motion", "zoom", "light", "brightness", "talking",
    "noise", "compression",
)  # fmt: skip
# No overlap with the people and the random streams of the ordinary splits.
FIRST_IDENTITY = 1_000_000
CLIP_STREAM, ORDER_STREAM, PERSON_STREAM, SHIFT_STREAM = 7, 8, 9, 10


@dataclass
class ShiftedFacesConfig(FaceClipsConfig):
    """Configuration of [`ShiftedSyntheticFaces`]; see [`FaceClipsConfig`] for the other fields.

    Args:
        num_test: number of clips, at least 7.
        num_shifts: number of factors per clip outside their ordinary ranges, 1 to 13.

    Raises:
        ValueError: if a field is out of its range.
    """

    num_test: int = 700
    num_shifts: int = 3

    splits = ("test",)

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.num_shifts <= len(SHIFTED_FACTORS):
            raise ValueError(f"`num_shifts` must be from 1 to {len(SHIFTED_FACTORS)}, got {self.num_shifts}.")


def _beyond(rng: np.random.Generator, difficulty: float, duration: float) -> dict[str, float]:
    """For every factor a value outside its ordinary range."""

    def either_side(low: float, high: float) -> float:
        return float(rng.uniform(low, high) * rng.choice((-1.0, 1.0)))

    return {
        "speed": float(4.5 + either_side(1.5, 2.3)) / duration,
        "intensity": 1.0 + either_side(0.2, 0.4),
        "asymmetry": either_side(0.3, 0.6),
        "yaw": difficulty * either_side(10.0, 15.0),
        "pitch": difficulty * either_side(6.0, 9.0),
        "roll": difficulty * either_side(4.0, 6.0),
        "head_motion": difficulty * float(rng.uniform(2.5, 3.5)),
        "zoom": 1.0 + difficulty * either_side(0.04, 0.06),
        "light": difficulty * either_side(40.0, 60.0),
        "brightness": float(np.exp2(difficulty * either_side(0.35, 0.55))),
        "talking": float(min(difficulty * rng.uniform(0.45, 0.65), 1.0)),
        "noise": difficulty * float(rng.uniform(5.0, 7.0)),
        "compression": float(min(18.0 + difficulty * rng.uniform(8.0, 12.0), 51.0)),
    }


def shifted_clip_factors(config: ShiftedFacesConfig, index: int) -> ClipFactors:
    """Label, identity and factors of clip `index`; a pure function of its arguments.

    Each run of seven clips shows one person with each of the seven labels once, in random order.
    """
    person, turn = divmod(index, len(EMOTIONS))
    order = np.random.default_rng([config.seed, ORDER_STREAM, person]).permutation(len(EMOTIONS))
    ordinary = sample_factors(
        np.random.default_rng([config.seed, CLIP_STREAM, index]),
        label=EMOTIONS[order[turn]],
        identity=FIRST_IDENTITY + person,
        skin=np.random.default_rng([config.seed, PERSON_STREAM, person]).uniform(),
        difficulty=config.difficulty,
        duration=config.duration,
    )
    rng = np.random.default_rng([config.seed, SHIFT_STREAM, index])
    beyond = _beyond(rng, config.difficulty, ordinary.duration)
    chosen = rng.choice(SHIFTED_FACTORS, size=config.num_shifts, replace=False)
    background = str(rng.choice(SHIFTED_BACKGROUNDS)) if config.difficulty > 0 else "grey"
    return replace(ordinary, background=background, **{name: beyond[name] for name in chosen.tolist()})


class ShiftedSyntheticFaces(SyntheticFaces):
    """A single split, `test`, whose people, backdrop and some factors do not occur in [`SyntheticFaces`].

    Columns and classes are the same as in [`SyntheticFaces`]. Every clip shows a new person and a new kind of
    backdrop. In each clip, `num_shifts` random factors of the following table lie outside the ranges of
    [`SyntheticFaces`] with the same difficulty `d`. The other factors are drawn as in [`SyntheticFaces`].

    | column | range when shifted |
    |---|---|
    | `speed` | 2.2 to 3 or 6 to 6.8, divided by the duration |
    | `intensity` | 0.6 to 0.8 or 1.2 to 1.4 |
    | `asymmetry` | 0.3 to 0.6 either side |
    | `yaw`, `pitch`, `roll` | 10 d to 15 d, 6 d to 9 d, 4 d to 6 d either way |
    | `head_motion` | 2.5 d to 3.5 d |
    | `zoom` | 1 - 0.06 d to 1 - 0.04 d or 1 + 0.04 d to 1 + 0.06 d |
    | `light` | 40 d to 60 d either way |
    | `brightness` | 2^(0.35 d) to 2^(0.55 d) or one over it |
    | `talking` | 0.45 d to 0.65 d, at most 1 |
    | `noise` | 5 d to 7 d |
    | `compression` | 18 + 8 d to 18 + 12 d, at most 51 |

    In every clip `background` is `stripes` (`grey` if d = 0) and `identity` is 1,000,000 or more.

    See [`ShiftedFacesConfig`] for the arguments.

    Example:

    ```python
    >>> from modeling_hdf.data import ShiftedSyntheticFaces
    >>> builder = ShiftedSyntheticFaces(num_test=700, difficulty=1.5)
    >>> builder.download_and_prepare()
    >>> shifted = builder.as_dataset(split="test")
    ```
    """

    # Part of the cache folder's name. Raise it with every change of pixels, factors or columns.
    VERSION = datasets.Version("1.1.0")
    BUILDER_CONFIG_CLASS = ShiftedFacesConfig
    backgrounds = BACKGROUNDS + SHIFTED_BACKGROUNDS

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("dataset_name", "shifted_synthetic_faces")
        super().__init__(*args, **kwargs)

    def _draw(self, split: str, index: int) -> tuple[ClipFactors, tuple[int, int]]:
        return shifted_clip_factors(self.config, index), (CLIP_STREAM, index)


__all__ = ["ShiftedFacesConfig", "ShiftedSyntheticFaces", "shifted_clip_factors"]
