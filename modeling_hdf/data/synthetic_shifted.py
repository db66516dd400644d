"""Test clips of the parametric face outside what [`SyntheticFaces`] ever shows: other people, nuisances and styles.

They measure how a model trained on the synthetic faces carries over to conditions that it has not met. As with all
rendered clips, no figure from them says anything about real faces.
"""

from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np

from modeling_hdf.data.face_dynamics import BACKGROUNDS, LABELS, ClipFactors
from modeling_hdf.data.synthetic import FaceClipsConfig, SyntheticFaces

SHIFTED_BACKGROUNDS = ("stripes",)
# Beyond the people and the streams of random numbers of the ordinary splits.
FIRST_IDENTITY = 1_000_000
CLIP_STREAM, ORDER_STREAM, PERSON_STREAM = 7, 8, 9


@dataclass
class ShiftedFacesConfig(FaceClipsConfig):
    """What [`ShiftedSyntheticFaces`] renders; see [`FaceClipsConfig`] for the other fields.

    Args:
        num_test: number of clips, at least 7.
    """

    num_test: int = 700

    splits = ("test",)


def shifted_clip_factors(config: ShiftedFacesConfig, index: int) -> ClipFactors:
    """Label, identity and factors of clip `index`; a pure function of its arguments.

    Each run of seven clips shows one person with each of the seven labels once, in random order.
    """
    person, turn = divmod(index, len(LABELS))
    order = np.random.default_rng([config.seed, ORDER_STREAM, person]).permutation(len(LABELS))
    rng = np.random.default_rng([config.seed, CLIP_STREAM, index])
    difficulty = config.difficulty

    def beyond(low: float, high: float) -> float:
        """Between `low` and `high`, of either sign."""
        return float(rng.uniform(low, high) * rng.choice((-1.0, 1.0)))

    def scaled(low: float, high: float) -> float:
        return difficulty * beyond(low, high)

    skin = np.random.default_rng([config.seed, PERSON_STREAM, person]).uniform()
    length = config.duration * rng.uniform(0.9, 1.1)
    speed = rng.uniform(2.2, 3.0) if rng.random() < 0.5 else rng.uniform(6.0, 8.0)
    return ClipFactors(
        label=LABELS[order[turn]],
        identity=FIRST_IDENTITY + person,
        duration=float(length),
        onset=float(length * rng.uniform(0.10, 0.28)),
        speed=float(speed / length),
        intensity=1.0 + beyond(0.2, 0.4),
        asymmetry=beyond(0.3, 0.6),
        yaw=scaled(10.0, 15.0),
        pitch=scaled(6.0, 9.0),
        roll=scaled(4.0, 6.0),
        head_motion=difficulty * float(rng.uniform(2.5, 3.5)),
        zoom=1.0 + scaled(0.04, 0.06),
        light=scaled(40.0, 60.0),
        brightness=float(np.exp2(scaled(0.35, 0.55))),
        background=str(rng.choice(SHIFTED_BACKGROUNDS)) if difficulty > 0 else "grey",
        skin=float(np.clip(0.4 + min(difficulty, 1.0) * (skin - 0.4), 0.0, 1.0)),
        blinks=int(rng.binomial(2, min(0.25 * difficulty, 1.0))),
        talking=float(min(difficulty * rng.uniform(0.45, 0.65), 1.0) * (rng.random() < 0.4)),
        noise=float(difficulty * rng.uniform(5.0, 7.0)),
        compression=float(min(18.0 + difficulty * rng.uniform(8.0, 12.0), 51.0)),
        fps=int(rng.integers(max(4, round(11 - 4 * difficulty)), round(11 + 5 * difficulty) + 1)),
    )


class ShiftedSyntheticFaces(SyntheticFaces):
    """A single split, `test`, of clips whose people, nuisances and styles no split of [`SyntheticFaces`] holds.

    Columns and classes are those of [`SyntheticFaces`]. With `d` the difficulty, the range of each factor begins where
    that of [`SyntheticFaces`] at the same difficulty ends:

    | column | range |
    |---|---|
    | `speed` | 2.2 to 3 or 6 to 8, divided by the duration |
    | `intensity` | 0.6 to 0.8 or 1.2 to 1.4 |
    | `asymmetry` | 0.3 to 0.6 either side |
    | `yaw`, `pitch`, `roll` | 10 d to 15 d, 6 d to 9 d, 4 d to 6 d either way |
    | `head_motion` | 2.5 d to 3.5 d |
    | `zoom` | 1 - 0.06 d to 1 - 0.04 d or 1 + 0.04 d to 1 + 0.06 d |
    | `light` | 40 d to 60 d either way |
    | `brightness` | 2^(0.35 d) to 2^(0.55 d) or one over it |
    | `background` | `stripes` (`grey` if d = 0) |
    | `talking` | 0 (60 % of the clips), else 0.45 d to 0.65 d, at most 1 |
    | `noise` | 5 d to 7 d |
    | `compression` | 18 + 8 d to 18 + 12 d, at most 51 |
    | `identity` | from 1,000,000: other people |

    `duration`, `onset`, `skin`, `blinks` and `fps` keep the ranges of [`SyntheticFaces`], which leave nothing beyond
    that would still show the same task.

    See [`ShiftedFacesConfig`] for the arguments.

    Example:

    ```python
    >>> from modeling_hdf.data import ShiftedSyntheticFaces
    >>> builder = ShiftedSyntheticFaces(num_test=700, difficulty=1.5)
    >>> builder.download_and_prepare()
    >>> shifted = builder.as_dataset(split="test")
    ```
    """

    # Raise it whenever a change alters pixels, factors or columns: it is part of the cache folder's name.
    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = ShiftedFacesConfig
    backgrounds = BACKGROUNDS + SHIFTED_BACKGROUNDS

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("dataset_name", "shifted_synthetic_faces")
        super().__init__(*args, **kwargs)

    def _draw(self, split: str, index: int) -> tuple[ClipFactors, tuple[int, int]]:
        return shifted_clip_factors(self.config, index), (CLIP_STREAM, index)


__all__ = ["ShiftedFacesConfig", "ShiftedSyntheticFaces", "shifted_clip_factors"]
