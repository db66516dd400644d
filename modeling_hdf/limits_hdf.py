"""How much of a clip is read at most. No real video comes near; a damaged or hostile file is refused before it fills
the memory.

Small files can ask for much: a black video of 140 kB decodes to gigabytes, and a picture of 100 bytes may say that it
is 60,000 pixels wide. All readers of clips measure by [`LIMITS`], before they allocate or decode.
"""

from dataclasses import dataclass

import numpy as np


class LimitError(ValueError):
    """A clip asks for more than one of the [`LIMITS`]. The message names the clip, the limit and what was found."""


@dataclass
class Limits:
    """The limits of one clip. Set an attribute of [`LIMITS`] to change one for the whole process.

    Attributes:
        frame_pixels: pixels of one frame, as stored and as shown.
        frames: frames of a clip, and frames that are sampled from it.
        index_entries: packets that the index of an MP4 file lists, of all its tracks.
        returned_bytes: bytes of the frames that are returned together.
        duration: seconds from the start of the first frame to the end of the last.
        decoding_seconds: seconds that the decoder may take for one pass over the clip.
        downloaded_bytes: bytes of a download, unpacked.
        download_seconds: seconds that a download may take in all.
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
        """Raise a [`LimitError`] if `found` is above the attribute `limit`. It names the clip, and says what to do."""
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
        self.refuse("index_entries", count, name, what, "Cut it into shorter clips or write it anew")

    def check_returned(self, name: str, num_frames: int, height: int, width: int, bytes_of_pixel: int = 3) -> None:
        """Refuse to return too many pixels."""
        size = num_frames * height * width * bytes_of_pixel
        what = f"{num_frames:,} frames of {width:,} x {height:,} pixels take {size:,} bytes"
        self.refuse("returned_bytes", size, name, what, "Sample fewer frames or scale it down")

    def check_duration(self, name: str, seconds: float) -> None:
        """Refuse time stamps that jump."""
        what = f"by its time stamps it lasts {seconds:,.0f} seconds"
        self.refuse("duration", seconds, name, what, "Write it anew with time stamps that do not jump")

    def check_decoding(self, name: str, seconds: float) -> None:
        """Refuse to decode for too long."""
        what = f"decoding has taken {seconds:,.0f} seconds"
        self.refuse("decoding_seconds", seconds, name, what, "Cut it into shorter clips or scale it down")

    def check_downloaded(self, name: str, count: int) -> None:
        """Refuse a download that is too long."""
        what = f"its download has {count:,} bytes or more"
        self.refuse("downloaded_bytes", count, name, what, "Download it yourself")

    def check_download(self, name: str, seconds: float) -> None:
        """Refuse to download for too long."""
        what = f"its download has taken {seconds:,.0f} seconds"
        self.refuse("download_seconds", seconds, name, what, "Download it yourself")


LIMITS = Limits()


def empty_clip(name: str, num_frames: int, size: tuple[int, int]) -> np.ndarray:
    """An array `(num_frames, height, width, 3)` uint8 to be filled with frames. `size` is height and width."""
    LIMITS.check_returned(name, num_frames, *size)
    return np.empty((num_frames, *size, 3), dtype=np.uint8)


__all__ = ["LIMITS", "LimitError", "Limits", "empty_clip"]
