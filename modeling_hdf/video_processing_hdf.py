"""Video processor of HDF: any video file or frame array to normalised clips of a fixed number of frames."""

# First: it refuses a transformers that lacks names imported below.
from .requirements_hdf import LOWEST_TRANSFORMERS  # noqa: F401

# isort: split
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ChannelDimension,
    PILImageResampling,
    is_pil_image,
)
from transformers.processing_utils import Unpack, VideosKwargs
from transformers.utils import logging
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata, make_batched_metadata

from .clip_reading_hdf import read_clip
from .limits_hdf import LIMITS
from .video_reading_hdf import all_frames

logger = logging.get_logger(__name__)


class HDFVideoProcessor(BaseVideoProcessor):
    r"""
    Turns videos into the `pixel_values` of HDF: sample `num_frames` frames over the whole clip, resize, centre crop,
    rescale, normalise.

    A video is a path, an http(s) URL, the bytes of a file or a binary file object; a folder of frames; a dataset row's
    `{"bytes", "path"}`; an array or tensor of shape `(num_frames, height, width, 3)` or
    `(num_frames, 3, height, width)`; or a list of PIL images or 3-D arrays. Files are videos, animated pictures, or
    still pictures, which are clips of one frame. A batch is a list of videos, also of different kinds, or a 5-D array.

    Sampling divides the presentation interval, from the start of the first frame to the end of the last, into
    `num_frames` equal parts and takes the frame shown at the centre of each: the last that starts at or before it.
    Without timestamps (frame arrays, raw streams) it takes the frames `floor((i + 0.5) * total / num_frames)`.
    Sampling is deterministic, and frames repeat in clips shorter than `num_frames`.

    Integer and float pixels must lie within 0..255 and are divided by 255; pass `do_rescale=False` for floats within
    0..1 (a warning reports floats that look already rescaled).

    Args:
        num_frames (`int`, defaults to 16): Frames per clip.
        size (`dict[str, int]`, defaults to `{"shortest_edge": 224}`): Size after resizing, in pixels.
        crop_size (`dict[str, int]`, defaults to `{"height": 224, "width": 224}`): Size of the centre crop, in pixels.
        do_sample_frames (`bool`, defaults to `True`): Whether to sample; otherwise all frames are used unchanged.
        kwargs: The other options of [`~transformers.BaseVideoProcessor`]: `do_resize`, `resample`, `do_center_crop`,
            `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean` and `image_std` (default: ImageNet values).

    Example:

    ```python
    >>> from modeling_hdf import HDFVideoProcessor

    >>> processor = HDFVideoProcessor(num_frames=16)
    >>> processor(["smile.mp4", "frown.webm"], return_tensors="pt").pixel_values.shape
    torch.Size([2, 16, 3, 224, 224])
    ```
    """

    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"shortest_edge": 224}
    default_to_square = False
    crop_size = {"height": 224, "width": 224}
    do_resize = True
    do_center_crop = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = True
    num_frames = 16
    model_input_names = ["pixel_values"]

    def __init__(self, **kwargs: Unpack[VideosKwargs]) -> None:
        super().__init__(**kwargs)
        if self.fps is not None:
            raise ValueError("`fps` cannot be stored: HDF takes clips of a fixed length. Set `num_frames` instead.")
        if not isinstance(self.num_frames, int) or self.num_frames < 1:
            raise ValueError(f"`num_frames` must be a whole number of at least 1, got {self.num_frames!r}.")

    def preprocess(self, videos: Any, **kwargs: Unpack[VideosKwargs]) -> BatchFeature:
        """Prepare one video or a batch for the model.

        Args:
            videos: one video or a list of videos, see the class.
            kwargs: any option of the class, for this call only; `fps` (frames per second to sample, instead of
                `num_frames`); `video_metadata` of frame arrays; `return_metadata`; `return_tensors`; `device`.

        Returns:
            `pixel_values` of shape `(batch_size, num_frames, 3, height, width)` with `return_tensors`, else a list of
            `(num_frames, 3, height, width)` tensors.

        Raises:
            FileNotFoundError, IsADirectoryError, TypeError, ValueError: naming the file, or the position in the list
                as `videos[i]`; see [`read_clip`]. Frame arrays raise for zero frames, channels other than
                3, NaN or infinite values, and integers outside 0..255.
        """
        input_data_format = kwargs.pop("input_data_format", self.input_data_format)
        given_metadata = kwargs.pop("video_metadata", None)
        do_sample_frames = kwargs.pop("do_sample_frames", self.do_sample_frames)
        if kwargs.get("fps") is not None:
            kwargs.setdefault("num_frames", None)  # an `fps` in the call replaces the stored `num_frames`

        videos = split_batch(videos)
        given = [None] * len(videos) if given_metadata is None else make_batched_metadata(videos, given_metadata)
        clips, metadata = [], []
        for position, video in enumerate(videos):
            name = f"videos[{position}]"
            clip, clip_metadata = self.load_clip(
                video,
                num_frames=kwargs.get("num_frames"),
                fps=kwargs.get("fps"),
                do_sample_frames=do_sample_frames,
                input_data_format=input_data_format,
                metadata=given[position],
                name=name,
            )
            if kwargs.get("do_rescale", self.do_rescale) and clip.is_floating_point() and 0 < clip.max() <= 1:
                logger.warning(f"{name}: float pixels within 0..1 are rescaled again; pass `do_rescale=False`.")
            clips.append(clip)
            metadata.append(clip_metadata)

        batch = super().preprocess(
            clips,
            do_sample_frames=False,
            input_data_format=ChannelDimension.FIRST,
            video_metadata=metadata,
            **kwargs,
        )
        batch["pixel_values"] = batch.pop("pixel_values_videos")
        return batch

    def load_clip(
        self,
        video: Any,
        num_frames: int | None = None,
        fps: float | None = None,
        do_sample_frames: bool | None = True,
        input_data_format: str | ChannelDimension | None = None,
        metadata: VideoMetadata | None = None,
        name: str = "video",
    ) -> tuple[torch.Tensor, VideoMetadata]:
        """Read and sample one video without resizing or normalising it, as training transforms want it.

        Args:
            video: one video, see the class.
            num_frames: frames to sample; `None` takes the processor's number.
            fps: frames per second to sample, instead of `num_frames`.
            do_sample_frames: whether to sample; otherwise all frames are returned.
            input_data_format: `"channels_first"` or `"channels_last"`, for frame arrays; inferred if `None`.
            metadata: metadata of frame arrays; sampling by `fps` needs its `fps` and `duration`.
            name: name in errors for a video without path or URL.

        Returns:
            The frames, of shape `(num_frames, 3, height, width)`, uint8 (float32 for float arrays), and the metadata.

        Raises:
            The errors of [`~HDFVideoProcessor.preprocess`].
        """
        sample = partial(self.sample_frames, num_frames=num_frames, fps=fps) if do_sample_frames else all_frames
        frames, metadata = read_clip(video, sample, name, input_data_format=input_data_format, metadata=metadata)
        return torch.as_tensor(frames).movedim(-1, -3), metadata

    def sample_frames(
        self,
        metadata: VideoMetadata,
        num_frames: int | None = None,
        fps: float | None = None,
        timestamps: np.ndarray | None = None,
        **kwargs,
    ) -> np.ndarray:
        """Indices of the frames shown at the centres of equal intervals.

        Args:
            metadata: gives `total_num_frames`, and `fps` or `duration` (in seconds) for sampling by `fps`.
            num_frames: frames to sample; `None` takes the processor's number.
            fps: frames per second to sample, instead of `num_frames`; at least one frame is sampled.
            timestamps: integers of shape `(total_num_frames + 1,)`, the start of each frame in presentation order and
                the end of the last, in any unit; `None` samples by frame index.

        Returns:
            Frame indices of shape `(num_frames,)`, not decreasing.

        Raises:
            ValueError: if both `num_frames` and `fps` are given, one is not positive, the duration is unknown, or more
                frames are requested than [`LIMITS`] allow.
        """
        if fps is not None:
            if num_frames is not None:
                raise ValueError("`num_frames` and `fps` are mutually exclusive: pass one of them.")
            duration = metadata.duration or (metadata.total_num_frames / metadata.fps if metadata.fps else 0.0)
            if fps <= 0 or duration <= 0:
                raise ValueError(f"Sampling by fps={fps} needs a rate above 0 and a video of known duration.")
            num_frames = max(1, int(duration * fps))
            what = f"{duration:,.0f} seconds at fps={fps} are {num_frames:,} frames"
            LIMITS.refuse("frames", num_frames, "sampling", what, "Ask for fewer frames")
        num_frames = self.num_frames if num_frames is None else num_frames
        if num_frames < 1:
            raise ValueError(f"`num_frames` must be at least 1, got {num_frames}.")

        # All times are multiplied by 2 * num_frames: integers stay exact where a centre is the start of a frame.
        length = metadata.total_num_frames if timestamps is None else int(timestamps[-1]) - int(timestamps[0])
        exact = np.int64 if length * 2 * num_frames < 1 << 63 else object
        odd = 2 * np.arange(num_frames, dtype=exact) + 1
        if timestamps is None:
            return odd * metadata.total_num_frames // (2 * num_frames)
        starts = (timestamps[:-1] - timestamps[0]).astype(exact) * (2 * num_frames)
        return np.searchsorted(starts, odd * length, side="right") - 1

    def fetch_videos(self, video_url_or_urls: Any, sample_indices_fn: Callable[..., np.ndarray] | None = None) -> Any:
        """Read one video, or a list; all frames unless `sample_indices_fn` picks some.

        Returns:
            The frames of shape `(num_frames, height, width, 3)`, uint8, and the metadata; for a list, a tuple of
            frames and a tuple of metadata. Raises as [`read_clip`].
        """
        if isinstance(video_url_or_urls, list):
            pairs = [self.fetch_videos(video, sample_indices_fn) for video in video_url_or_urls]
            return list(zip(*pairs, strict=True))
        return read_clip(video_url_or_urls, sample_indices_fn or all_frames)


def _is_frame(value: Any) -> bool:
    return is_pil_image(value) or (isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim == 3)


def split_batch(videos: Any) -> list:
    """Flatten a video, or nested lists of videos, to a list of videos. A list of frames is one video."""
    if isinstance(videos, (list, tuple)):
        if not videos:
            raise ValueError("`videos` is or holds an empty list: zero frames; a video needs at least one frame.")
        if all(_is_frame(item) for item in videos):
            return [videos]
        return [video for item in videos for video in split_batch(item)]
    if isinstance(videos, (np.ndarray, torch.Tensor)) and videos.ndim == 5:
        return list(videos)
    return [videos]


__all__ = ["HDFVideoProcessor"]
