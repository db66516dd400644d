"""Limits on the size of a clip. Real videos stay far below them; they stop damaged or hostile files from filling the
memory.

Small files can need much memory: a black video of 140 kB decodes to gigabytes, and a picture of 100 bytes can declare
a width of 60,000 pixels. All readers of clips check [`LIMITS`] before they allocate or decode.
"""

from dataclasses import dataclass

import numpy as np


class LimitError(ValueError):
    """A clip exceeds one of the [`LIMITS`]. The message names the clip, the limit and the value found."""


@dataclass
class Limits:
    """The limits of one clip. Set an attribute of [`LIMITS`] to change a limit for the whole process.

    Attributes:
        frame_pixels: pixels of one frame, as stored and as shown.
        frames: frames of a clip, and frames sampled from it.
        index_entries: packets in the index of an MP4 file, of all tracks.
        returned_bytes: bytes of the frames that one call returns.
        duration: seconds from the start of the first frame to the end of the last frame.
        decoding_seconds: seconds that one decoding pass over the clip may take.
        downloaded_bytes: bytes of a download, unpacked.
        download_seconds: seconds that a whole download may take.
    """

    frame_pixels: int = 8192 * 8192
    frames: int = 2_000_000
    index_entries: int = 8_000_000
    returned_bytes: int = 4 << 30
    duration: float = 7 * 24 * 3600.0
    decoding_seconds: float = 4 * 3600.0
    downloaded_bytes: int = 2 << 30
    download_seconds: float = 600.0

    def refuse(self, limit: str, found: float, name: str, what: str, advice: str) -> None:
        """Raise a [`LimitError`] if `found` is above the attribute `limit`."""
        most = getattr(self, limit)
        if found > most:
            raise LimitError(
                f"{name}: {what}, and the limit is {most:,}. {advice}, or raise `LIMITS.{limit}` of `{__name__}` if "
                "the file is sound."
            )

    def check_frame(self, name: str, width: int, height: int) -> None:
        """Refuse frames of too many pixels."""
        what = f"its frames have {width:,} x {height:,} = {width * height:,} pixels"
        self.refuse("frame_pixels", width * height, name, what, "Scale it down")

    def check_frames(self, name: str, count: int, what: str = "frames") -> None:
        """Refuse too many frames."""
        self.refuse("frames", count, name, f"{count:,} or more {what}", "Cut it into shorter clips")

    def check_index(self, name: str, count: int) -> None:
        """Refuse an index that takes too much memory."""
        what = f"its index lists {count:,} packets"
        self.refuse("index_entries", count, name, what, "Cut it into shorter clips or re-encode it")

    def check_returned(self, name: str, num_frames: int, height: int, width: int, bytes_of_pixel: int = 3) -> None:
        """Refuse to return too many pixels."""
        size = num_frames * height * width * bytes_of_pixel
        what = f"{num_frames:,} frames of {width:,} x {height:,} pixels take {size:,} bytes"
        self.refuse("returned_bytes", size, name, what, "Sample fewer frames or scale it down")

    def check_duration(self, name: str, seconds: float) -> None:
        """Refuse time stamps that jump."""
        what = f"its time stamps span {seconds:,.0f} seconds"
        self.refuse("duration", seconds, name, what, "Re-encode it with time stamps that do not jump")

    def check_decoding(self, name: str, seconds: float) -> None:
        """Refuse to decode for too long."""
        what = f"decoding has taken {seconds:,.0f} seconds"
        self.refuse("decoding_seconds", seconds, name, what, "Cut it into shorter clips or scale it down")

    def check_downloaded(self, name: str, count: int) -> None:
        """Refuse a download of too many bytes."""
        what = f"its download has {count:,} bytes or more"
        self.refuse("downloaded_bytes", count, name, what, "Download it yourself")

    def check_download(self, name: str, seconds: float) -> None:
        """Refuse a download that takes too long."""
        what = f"its download has taken {seconds:,.0f} seconds"
        self.refuse("download_seconds", seconds, name, what, "Download it yourself")


LIMITS = Limits()


def empty_clip(name: str, num_frames: int, size: tuple[int, int]) -> np.ndarray:
    """An uninitialised array `(num_frames, height, width, 3)` uint8. `size` is height and width."""
    LIMITS.check_returned(name, num_frames, *size)
    return np.empty((num_frames, *size, 3), dtype=np.uint8)


__all__ = ["LIMITS", "LimitError", "Limits", "empty_clip"]
