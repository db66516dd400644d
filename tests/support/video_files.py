"""Small video files for tests, whose frames carry their own number."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

_BLOCK = 16  # pixels; blocks this large survive lossy compression
_BITS = 12
WIDTH, HEIGHT = 6 * _BLOCK, 2 * _BLOCK


def numbered_frame(number: int) -> np.ndarray:
    """RGB frame of shape `(HEIGHT, WIDTH, 3)` whose black and white blocks spell `number` in binary."""
    bits = np.array([number >> bit & 1 for bit in range(_BITS)], dtype=np.uint8).reshape(2, 6)
    grey = np.kron(bits * 255, np.ones((_BLOCK, _BLOCK), dtype=np.uint8))
    return np.repeat(grey[:, :, None], 3, axis=2)


def read_numbers(frames: np.ndarray) -> list[int]:
    """Numbers spelled by frames of shape `(num_frames, HEIGHT, WIDTH, 3)`."""
    blocks = np.asarray(frames).reshape(-1, 2, _BLOCK, 6, _BLOCK, 3).mean(axis=(2, 4, 5)).reshape(-1, _BITS)
    return [int(sum(1 << bit for bit in range(_BITS) if row[bit] > 127)) for row in blocks]


def write_video(
    file: str | Path | BinaryIO,
    frames: int | Sequence[np.ndarray],
    codec: str = "libx264",
    container: str | None = None,
    pts: Sequence[int] | None = None,
    rate: int = 30,
    pix_fmt: str = "yuv420p",
    max_b_frames: int = 2,
    gop_size: int = 12,
    display_matrix: Sequence[int] | None = None,
    container_options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
) -> Path | BinaryIO:
    """Encode `frames` (numbered ones if a count is given), shown at `pts` in units of `1 / rate` seconds."""
    if isinstance(frames, int):
        frames = [numbered_frame(number) for number in range(frames)]
    target = str(file) if isinstance(file, Path) else file
    with av.open(target, "w", format=container, options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, rate)
        stream.codec_context.gop_size = gop_size
        stream.codec_context.max_b_frames = max_b_frames
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if display_matrix is not None:
            stream.set_display_matrix(display_matrix)
        for index, picture in enumerate(frames):
            # With more threads the conversion to some formats is not deterministic.
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt, threads=1)
            frame.pts = index if pts is None else pts[index]
            frame.time_base = Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file


def naive_sample(file: str | Path, num_frames: int) -> list[int]:
    """Reference for sampling: decode all frames of `file`, then loop over centres and timestamps.

    Returns the numbers spelled by the sampled frames.
    """
    with av.open(str(file)) as source:
        frames = list(source.decode(video=0))
        time_base = source.streams.video[0].time_base
    numbers = read_numbers(np.stack([frame.to_ndarray(format="rgb24") for frame in frames]))
    pts = [frame.pts for frame in frames]
    if None in pts or any(later < earlier for earlier, later in zip(pts, pts[1:], strict=False)):
        starts = [Fraction(index) for index in range(len(frames))]
        end = Fraction(len(frames))
    else:
        starts = [tick * time_base for tick in pts]
        end = starts[-1] + frames[-1].duration * time_base
    picked = []
    for part in range(num_frames):
        centre = starts[0] + (end - starts[0]) * Fraction(2 * part + 1, 2 * num_frames)
        shown = [number for start, number in zip(starts, numbers, strict=True) if start <= centre]
        picked.append(shown[-1])
    return picked
