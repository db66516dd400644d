"""Frame sampling: uniform, a random frame per segment, or dense with a stride.

`"uniform"` is the sampling of [`HDFVideoProcessor`]. `"segments"` samples one random frame in each of equal segments
in training (as M3DFEL, https://arxiv.org/abs/2303.12993) and is uniform in evaluation, so that scores are not random.
`"dense"` takes every `stride`-th frame from one start (as MAE-DFER, https://arxiv.org/abs/2307.02227).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from transformers.video_utils import VideoMetadata

TEMPORAL_SAMPLINGS = ("uniform", "segments", "dense")

# Called as `sample(metadata=..., timestamps=...)`; returns frame indices `(num_frames,)`.
Sample = Callable[..., np.ndarray]

# A random position is one of this many parts of a segment: fine enough, and 64-bit ticks do not overflow.
_PARTS = 1024


def segment_frames(
    metadata: VideoMetadata,
    timestamps: np.ndarray | None = None,
    *,
    num_frames: int,
    numerators: np.ndarray | int,
    denominator: int,
) -> np.ndarray:
    """
    Frames shown at a given position in each of `num_frames` equal parts of the presentation interval.

    Args:
        metadata (`VideoMetadata`): gives `total_num_frames`.
        timestamps (`np.ndarray` of shape `(total_num_frames + 1,)`, *optional*): start of each frame and end of the
            last frame, integers in any unit; without timestamps, the frame indices are divided instead of the time.
        num_frames (`int`): number of parts.
        numerators (`int` or `np.ndarray` of shape `(num_frames,)`): positions in the parts, in units of
            `1 / denominator`, from 0 to `denominator - 1`.
        denominator (`int`): see `numerators`.

    Returns:
        `np.ndarray`: frame indices of shape `(num_frames,)`, not decreasing; shorter clips repeat frames.
    """
    # Integers, so that a position exactly at the start of a frame gives that frame.
    parts = num_frames * denominator
    positions = np.arange(num_frames, dtype=np.int64) * denominator + numerators
    if timestamps is None:
        return positions * metadata.total_num_frames // parts
    starts = (timestamps[:-1] - timestamps[0]) * parts
    return np.searchsorted(starts, positions * (timestamps[-1] - timestamps[0]), side="right") - 1


def dense_frames(total_num_frames: int, num_frames: int, stride: int, start: int = 0) -> np.ndarray:
    """Frames `start, start + stride, ...`, of shape `(num_frames,)`; after the clip's end the last frame repeats."""
    return np.minimum(start + stride * np.arange(num_frames), total_num_frames - 1)


@dataclass(frozen=True)
class TemporalSampling:
    """
    Temporal sampling of a training run and of its evaluation.

    Args:
        kind (`str`, *optional*, defaults to `"uniform"`): `"uniform"`, `"segments"` or `"dense"`, see above.
        num_frames (`int`, *optional*, defaults to 16): frames of a clip.
        stride (`int`, *optional*, defaults to 1): distance between the frames of dense sampling. MAE-DFER uses 4 for
            DFEW and 1 for FERV39k.

    Dense sampling spans `(num_frames - 1) * stride + 1` frames. In a shorter clip it starts at the first frame, and
    the last frame repeats.

    Raises:
        ValueError: for an unknown kind, numbers below 1, or a stride that the kind does not use.
    """

    kind: str = "uniform"
    num_frames: int = 16
    stride: int = 1

    def __post_init__(self):
        if self.kind not in TEMPORAL_SAMPLINGS:
            raise ValueError(f"`temporal_sampling` is {self.kind!r}; choose one of {TEMPORAL_SAMPLINGS}.")
        for name, value in (("num_frames", self.num_frames), ("sampling_stride", self.stride)):
            if value < 1:
                raise ValueError(f"`{name}` is {value}; it must be at least 1.")
        if self.stride != 1 and self.kind != "dense":
            raise ValueError(
                f"A stride of {self.stride} needs dense sampling, but `temporal_sampling` is {self.kind!r}."
            )

    @property
    def is_random(self) -> bool:
        """Whether [`TemporalSampling.sample_randomly`] depends on its generator."""
        return self.kind != "uniform"

    def sample_randomly(self, generator: np.random.Generator) -> Sample:
        """The sampling of a training clip: a random frame per segment, a random start, or uniform (never random)."""
        if self.kind == "uniform":
            return self.view()

        def sample(metadata: VideoMetadata, timestamps: np.ndarray | None = None) -> np.ndarray:
            if self.kind == "segments":
                numerators = generator.integers(_PARTS, size=self.num_frames)
                return segment_frames(
                    metadata, timestamps, num_frames=self.num_frames, numerators=numerators, denominator=_PARTS
                )
            start = int(generator.integers(self._last_start(metadata) + 1))
            return dense_frames(metadata.total_num_frames, self.num_frames, self.stride, start)

        return sample

    def view(self, number: int = 0, num_views: int = 1) -> Sample:
        """
        The deterministic sampling of evaluation: view `number`, from 0, of `num_views`.

        Uniform views take the frame at `(2 number + 1) / (2 num_views)` of each segment: a single view takes the
        centre, two views take the quarters. Dense views start at equal distances from the first to the last possible
        start; a single view starts in the middle.

        Raises:
            ValueError: unless `0 <= number < num_views`.
        """
        if not 0 <= number < num_views:
            raise ValueError(f"View {number} of {num_views} does not exist; views count from 0.")

        def sample(metadata: VideoMetadata, timestamps: np.ndarray | None = None) -> np.ndarray:
            if self.kind != "dense":
                position = {"numerators": 2 * number + 1, "denominator": 2 * num_views}
                return segment_frames(metadata, timestamps, num_frames=self.num_frames, **position)
            last = self._last_start(metadata)
            start = last // 2 if num_views == 1 else last * number // (num_views - 1)
            return dense_frames(metadata.total_num_frames, self.num_frames, self.stride, start)

        return sample

    def _last_start(self, metadata: VideoMetadata) -> int:
        """The last start at which the whole span of dense sampling fits into the clip; 0 if the clip is too short."""
        return max(0, metadata.total_num_frames - (self.num_frames - 1) * self.stride - 1)


__all__ = ["TEMPORAL_SAMPLINGS", "TemporalSampling", "dense_frames", "segment_frames"]
