"""Clips that are not video files: pictures, folders of pictures, animated pictures, and frames in memory.

Pictures are turned by their EXIF orientation and converted to RGB with 8 bits per channel. Deeper pictures are scaled
to 8 bits; transparency is dropped, as for videos.
"""

import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from time import monotonic
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers.image_utils import ChannelDimension, is_pil_image
from transformers.video_utils import VideoMetadata

from .file_kinds_hdf import ANIMATED_FORMATS, PICTURE_FORMATS, read_head, what_it_is
from .limits_hdf import LIMITS, LimitError, empty_clip
from .video_reading_hdf import timeline

_ORIENTATION, _BITS_PER_SAMPLE, _SAMPLE_FORMAT = 0x0112, 258, 339  # tags of EXIF and TIFF
_UNHURRIED = 0.02, 0.1  # seconds; browsers show animated frames shorter than the first number for the second


@contextmanager
def open_picture(source: str | bytes, name: str) -> Iterator[Image.Image]:
    """Open a picture from its path or content.

    Raises:
        FileNotFoundError, PermissionError: for such a path.
        ValueError: if the file is empty, truncated, not a picture, or larger than [`LIMITS`] allow, also while the
            `with` block reads it; the message names the file.
    """
    if (os.path.isfile(source) and os.path.getsize(source) == 0) if isinstance(source, str) else not source:
        raise ValueError(f"{name}: the picture is empty (0 bytes).")
    if isinstance(source, str) and os.path.exists(source) and not os.path.isfile(source):
        raise ValueError(f"{name}: is a folder, a device or a pipe; expected a regular file.")  # which may never end
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=PICTURE_FORMATS) as picture:
            LIMITS.check_frame(name, *picture.size)
            yield picture
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: no such picture; was it removed after the folder was listed?") from error
    except (PermissionError, LimitError):
        raise
    except Image.DecompressionBombError as error:  # raised before the size is known
        pixels = int(re.search(r"(\d+) pixels", str(error)).group(1))
        LIMITS.refuse("frame_pixels", pixels, name, f"the picture has {pixels:,} pixels", "Scale it down")
        raise ValueError(f"{name}: {error} Raise `PIL.Image.MAX_IMAGE_PIXELS` too.") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error) as error:
        # Pillow raises `SyntaxError` for broken PNG files, `IndexError` for GIF files, and errors without a file name
        # for truncated ones.
        head = source if isinstance(source, bytes) else read_head(source)
        reason = what_it_is(head) or re.sub(r" ('.*'|<_io.*)$", "", str(error))  # without the source
        raise ValueError(f"{name}: cannot be read as a picture: {reason}.") from error


def is_animation(picture: Image.Image) -> bool:
    """Whether a picture is an animation. Several pictures in one TIFF or camera JPEG (MPO) are not."""
    return picture.format in ANIMATED_FORMATS and picture.is_animated


def rgb8(picture: Image.Image) -> Image.Image:
    """A picture as 8-bit RGB, upright. Grey, palette, CMYK and deeper pictures are converted, transparency is dropped.

    Raises:
        ValueError: for numbers below 0, and for floats above 1, because their white level is unknown.
    """
    tags = getattr(picture, "tag_v2", {})  # TIFF tags; a turned copy has no tags
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("F", "I") or picture.mode.startswith("I;16"):
        picture = Image.fromarray(_eight_bits(picture, tags))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bits(picture: Image.Image, tags: Mapping[int, Any]) -> np.ndarray:
    """The grey values `(height, width)` of a picture of 16 or 32 bits, scaled to 8 bits by the range of its type.

    Numbers of 32 bits that all fit into 16 bits are read as 16 bits: scaled by the 32-bit range they would all be
    black.
    """
    pixels = np.asarray(picture)
    if picture.mode == "F":
        if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):
            raise ValueError("its floats are not all from 0 to 1; save it with 8 or 16 bits")
        return np.rint(pixels * 255.0).astype(np.uint8)
    pixels = pixels.astype(np.int64)
    is_unsigned = bool(tags) and 2 not in np.atleast_1d(tags.get(_SAMPLE_FORMAT, 1))
    if picture.mode == "I" and is_unsigned:
        pixels %= 1 << 32  # Pillow keeps 32 bits as signed numbers
    if picture.mode == "I":
        bits = 16 if pixels.max() < 1 << 16 else 32 if is_unsigned else 31
    else:
        bits = int(np.atleast_1d(tags.get(_BITS_PER_SAMPLE, 16))[0])
    if pixels.min() < 0:
        raise ValueError("it holds numbers below 0; save it with 8 or 16 bits")
    return (pixels >> (bits - 8)).astype(np.uint8)


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """Height and width in pixels, as shown."""
    width, height = picture.size
    # Orientations 5 to 8 are quarter turns. Pillow turns TIFF files by itself.
    is_turned = picture.format != "TIFF" and picture.getexif().get(_ORIENTATION, 1) >= 5
    return (width, height) if is_turned else (height, width)


class PictureFrame:
    """A frame that is an array `(height, width, 3)` uint8, or a picture file, read when `rgb` is called.

    Attributes:
        size: height and width in pixels after scaling.
        start, duration: start and duration in seconds; `None` if unknown.
    """

    def __init__(
        self,
        content: np.ndarray | str | bytes,
        size: tuple[int, int],
        name: str = "frame",
        start: Fraction | None = None,
        duration: Fraction | None = None,
    ):
        self._content, self._name = content, name
        self.size, self.start, self.duration = size, start, duration

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        """uint8 RGB of shape `(height, width, 3)`, upright, scaled down to a longer side of `max_side` pixels."""
        scale = min(1.0, (max_side or max(self.size)) / max(self.size))
        height, width = (max(1, round(side * scale)) for side in self.size)
        if isinstance(self._content, np.ndarray):
            if self._content.shape[:2] == (height, width):
                return self._content
            picture = Image.fromarray(self._content)
        else:
            with open_picture(self._content, self._name) as opened:
                if is_animation(opened):
                    raise ValueError(
                        f"it is an animation of {opened.n_frames} frames; a frame must be a still picture"
                    )
                if scale < 1.0:
                    longer = max(width, height)
                    opened.draft("RGB", (longer, longer))  # JPEG decodes faster to 1/2, 1/4 or 1/8 of its size
                picture = rgb8(opened)
        if picture.size != (width, height):
            picture = picture.resize(
                (width, height), Image.Resampling.BOX if scale < 1.0 else Image.Resampling.BILINEAR
            )
        return np.asarray(picture)


class PictureFiles:
    """A clip of picture files, in order, without times.

    All frames are scaled to the size of the first frame (bilinear).

    Args:
        pictures: path or content of each picture.
        name: name in errors for the clip, and for pictures without a path.

    Raises:
        ValueError: if there is no picture; reading raises as [`open_picture`].
    """

    def __init__(self, pictures: Sequence[str | bytes], name: str = "video"):
        if not len(pictures):
            raise ValueError(f"{name}: the list of frames is empty; a clip needs at least one frame.")
        LIMITS.check_frames(name, len(pictures))
        self.name = name
        self.pictures = pictures
        # Only a single picture comes as content.
        self._names = [picture if isinstance(picture, str) else name for picture in pictures]

    def _frame(self, index: int, size: tuple[int, int]) -> PictureFrame:
        return PictureFrame(self.pictures[index], size, self._names[index])

    def _size(self) -> tuple[int, int]:
        with open_picture(self.pictures[0], self._names[0]) as picture:
            return _upright_size(picture)

    def read(self, sample: Callable[..., np.ndarray]) -> tuple[np.ndarray, VideoMetadata]:
        """Read the frames that `sample` picks, each picture once; see [`read_clip`]."""
        metadata = VideoMetadata(len(self.pictures), fps=None, duration=None, video_backend="pillow")
        indices = np.asarray(sample(metadata=metadata, timestamps=None))
        size = self._size()
        clip = empty_clip(self.name, len(indices), size)
        for index in np.unique(indices).tolist():
            clip[indices == index] = self._frame(index, size).rgb()
        return clip, replace(metadata, height=size[0], width=size[1], frames_indices=indices.tolist())

    def stream(self) -> Iterator[PictureFrame]:
        """All frames in order; a file is read only when its frame's `rgb` is called."""
        size = self._size()
        return (self._frame(index, size) for index in range(len(self.pictures)))

    def problems(self, duration: float | None) -> list[str]:
        """Always empty: a picture is read whole or not at all."""
        return []


class AnimatedPicture:
    """An animated GIF, WebP or PNG. As in browsers, frames of less than 20 ms are shown for 100 ms.

    Args:
        source: path or content of the file.
        name: name of the clip in errors.

    Raises:
        ValueError: reading raises as [`open_picture`].
    """

    def __init__(self, source: str | bytes, name: str):
        self.name = name
        self.source = source

    def stream(self) -> Iterator[PictureFrame]:
        """All frames in order, holding one at a time."""
        start, size, taken = Fraction(0), None, 0.0
        with open_picture(self.source, self.name) as picture:
            LIMITS.check_frames(self.name, picture.n_frames)
            # An APNG may begin with a still that only programs without animation show.
            for index in range(getattr(picture, "default_image", False), picture.n_frames):
                before = monotonic()
                picture.seek(index)
                picture.load()  # WebP gives a frame's duration only after loading
                seconds = float(picture.info.get("duration", 0.0)) / 1000.0
                shortest, usual = _UNHURRIED
                duration = Fraction(seconds if seconds >= shortest else usual).limit_denominator(1_000_000)
                pixels = np.asarray(rgb8(picture))
                taken += monotonic() - before
                LIMITS.check_decoding(self.name, taken)
                size = size or pixels.shape[:2]
                yield PictureFrame(pixels, size, self.name, start, duration)
                start += duration

    def timeline_of_frames(self) -> tuple[VideoMetadata, np.ndarray]:
        """Presentation times of the frames in microseconds; see [`timeline`]. Decodes the whole file."""
        microsecond = Fraction(1, 1_000_000)
        shown = [(round(frame.start / microsecond), round(frame.duration / microsecond)) for frame in self.stream()]
        return timeline(self.name, shown, microsecond, None, "pillow")

    def read(self, sample: Callable[..., np.ndarray]) -> tuple[np.ndarray, VideoMetadata]:
        """Decode the frames that `sample` picks; see [`read_clip`]."""
        metadata, timestamps = self.timeline_of_frames()
        indices = np.asarray(sample(metadata=metadata, timestamps=timestamps))
        clip = None
        for index, frame in enumerate(self.stream()):
            if clip is None:
                clip = empty_clip(self.name, len(indices), frame.size)
            clip[indices == index] = frame.rgb()
            if index == indices.max():
                break
        height, width = clip.shape[1:3]
        return clip, replace(metadata, height=height, width=width, frames_indices=indices.tolist())

    def problems(self, duration: float | None) -> list[str]:
        """Always empty: an animation is read whole or not at all."""
        return []


class FrameArray:
    """A clip of frames in memory, without times; see [`frames_to_tensor`] for the kinds of frames.

    Args:
        frames: the frames.
        name: name of the clip in errors.
        input_data_format: `"channels_first"` or `"channels_last"`; inferred if `None`.
        metadata: `fps` and `duration` of the frames.
    """

    def __init__(
        self,
        frames: Any,
        name: str = "video",
        input_data_format: str | ChannelDimension | None = None,
        metadata: VideoMetadata | None = None,
    ):
        self.name = name
        self.frames = frames_to_tensor(frames, input_data_format, name)  # (F, 3, H, W)
        total = len(self.frames)
        self.metadata = VideoMetadata(total_num_frames=total) if metadata is None else metadata
        if self.metadata.total_num_frames != total:
            raise ValueError(
                f"{name}: `video_metadata` says total_num_frames={self.metadata.total_num_frames}, but has {total} "
                "frames."
            )

    def read(self, sample: Callable[..., np.ndarray]) -> tuple[torch.Tensor, VideoMetadata]:
        """The frames that `sample` picks, a tensor `(F, H, W, 3)`, uint8 or float32; see [`read_clip`]."""
        indices = np.asarray(sample(metadata=self.metadata))
        height, width = self.frames.shape[-2:]
        LIMITS.check_returned(self.name, len(indices), height, width, 3 * self.frames.element_size())
        metadata = replace(self.metadata, height=height, width=width, frames_indices=indices.tolist())
        return self.frames[torch.from_numpy(indices)].movedim(-3, -1), metadata

    def stream(self) -> Iterator[PictureFrame]:
        """All frames in order. Raises `TypeError` for floats."""
        if self.frames.is_floating_point():
            raise TypeError(f"{self.name}: frames must be integers within 0..255 here, got floats.")
        pixels = np.ascontiguousarray(self.frames.movedim(1, -1).cpu().numpy())
        return (PictureFrame(frame, frame.shape[:2], self.name) for frame in pixels)

    def problems(self, duration: float | None) -> list[str]:
        """Always empty: frames in memory are complete."""
        return []


def _channels_first(
    pixels: Any, input_data_format: str | ChannelDimension | None, name: str, ndim: int
) -> torch.Tensor:
    """Check the pixels of a frame (`ndim` 3) or video (`ndim` 4) and return them as `(..., 3, height, width)`."""
    if is_pil_image(pixels):
        # A PIL mode says what the channels mean, so grey, palette and alpha images convert without guessing.
        pixels, input_data_format = np.array(rgb8(pixels)), ChannelDimension.LAST
    if isinstance(pixels, np.ndarray):
        if pixels.dtype.kind not in "uif":
            raise TypeError(f"{name}: pixels must be integers or floats, got dtype {pixels.dtype}.")
        # torch shares no memory with arrays that are read-only or have negative strides.
        pixels = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    if not isinstance(pixels, torch.Tensor):
        raise TypeError(f"{name}: a frame must be a PIL image, an array or a tensor, got {type(pixels).__name__}.")
    if pixels.dtype == torch.bool or pixels.is_complex():
        raise TypeError(f"{name}: pixels must be integers or floats, got dtype {pixels.dtype}.")
    shape = tuple(pixels.shape)
    if pixels.ndim != ndim or 0 in shape:
        raise ValueError(
            f"{name}: expected frames of shape (num_frames, height, width, 3) or (num_frames, 3, height, width) with "
            f"at least one frame and one pixel, got shape {shape}."
        )
    formats = [ChannelDimension.FIRST] * (shape[-3] == 3) + [ChannelDimension.LAST] * (shape[-1] == 3)
    if input_data_format is not None:
        formats = [known for known in formats if known == ChannelDimension(input_data_format)]
    if len(formats) != 1:
        problem = "wrong number of channels" if not formats else "ambiguous channels; pass `input_data_format`"
        layout = "" if input_data_format is None else f" with input_data_format={str(input_data_format)!r}"
        raise ValueError(f"{name}: {problem}: expected 3 (RGB), first or last, got shape {shape}{layout}.")
    return pixels if formats[0] == ChannelDimension.FIRST else pixels.movedim(-1, -3)


def frames_to_tensor(video: Any, input_data_format: str | ChannelDimension | None, name: str) -> torch.Tensor:
    """Check a video given as frames; return it as `(num_frames, 3, height, width)`, uint8 or float32."""
    if isinstance(video, (list, tuple)):
        frames = [_channels_first(frame, input_data_format, f"{name}[{i}]", 3) for i, frame in enumerate(video)]
        shapes = sorted({tuple(frame.shape) for frame in frames})
        if len(shapes) != 1:
            raise ValueError(f"{name}: all frames must have one shape, got {shapes}.")
        pixels = torch.stack(frames)
    elif isinstance(video, (np.ndarray, torch.Tensor)):
        pixels = _channels_first(video, input_data_format, name, 4)
    else:
        raise TypeError(
            f"{name}: expected a path, URL, bytes, binary file object, dataset row, array, tensor or list of frames, "
            f"got {type(video).__name__}."
        )
    if pixels.is_floating_point():
        if not torch.isfinite(pixels).all():
            raise ValueError(f"{name}: pixels hold NaN or infinite values.")
        return pixels.to(torch.float32)
    if pixels.dtype != torch.uint8:
        low, high = (int(value) for value in pixels.to(torch.int64).aminmax())
        if low < 0 or high > 255:
            raise ValueError(f"{name}: integer pixels must lie within 0..255, got {low}..{high}.")
    return pixels.to(torch.uint8)


__all__ = [
    "AnimatedPicture",
    "FrameArray",
    "PictureFiles",
    "PictureFrame",
    "frames_to_tensor",
    "is_animation",
    "open_picture",
    "rgb8",
]
