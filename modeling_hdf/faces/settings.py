"""The settings of cropped folders."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CropSettings:
    """The settings that determine the pixels of the output.

    Args:
        size: edge of the crops in pixels, even, at least 16.
        margin: space on each side of the box, as a share of its longer side, 0 to 2.
        all_faces: whether to crop every face rather than the main one.
        format: `"same"` (a video becomes MP4, a frame folder a frame folder), `"mp4"` or `"frames"` for both.
        max_side: longer side in pixels of the picture that is searched; 0 searches at full size.

    Raises:
        ValueError: if a field is out of its range.
    """

    size: int = 224
    margin: float = 0.1
    all_faces: bool = False
    format: str = "same"
    max_side: int = 320

    def __post_init__(self):
        if self.size < 16 or self.size % 2:
            raise ValueError(f"`size` must be even and at least 16 pixels, got {self.size}.")
        if not 0.0 <= self.margin <= 2.0:
            raise ValueError(f"`margin` must be from 0 to 2, got {self.margin}.")
        if self.format not in ("same", "mp4", "frames"):
            raise ValueError(f"`format` is {self.format!r}; choose 'same', 'mp4' or 'frames'.")
        if self.max_side != 0 and self.max_side < 32:
            raise ValueError(f"`max_side` must be 0 (full size) or at least 32 pixels, got {self.max_side}.")


__all__ = ["CropSettings"]
