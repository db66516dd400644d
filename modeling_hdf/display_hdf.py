"""The pictures of a video as players show them: with square pixels, turned and mirrored as the file says."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

_MOST_STRETCHED = 16  # a larger ratio of a pixel's sides is a fault of the file
Matrix = tuple[float, float, float, float]


def is_sound(pixel_aspect: Fraction) -> bool:
    """Whether a pixel can have sides of this ratio."""
    return Fraction(1, _MOST_STRETCHED) <= pixel_aspect <= _MOST_STRETCHED


@dataclass(frozen=True)
class Display:
    """Size and rotation of the displayed pictures. As in players, the first frame sets both for the whole video.

    Attributes:
        width, height: size of the stored picture with square pixels.
        matrix: the numbers a, b, c, d of FFmpeg's display matrix, which maps a stored point to the displayed point by
            `x' = a x + c y`, `y' = b x + d y`, with y downwards.
    """

    width: int
    height: int
    matrix: Matrix

    @classmethod
    def of(
        cls, frame: av.VideoFrame, pixel_aspect: Fraction | None, matrix_of_file: Callable[[], Matrix | None]
    ) -> "Display":
        """
        Args:
            frame: the first frame.
            pixel_aspect: ratio of a pixel's sides; ignored if it [`is_sound`] not.
            matrix_of_file: reads the matrix from the file, `None` if it has none; called if the frame does not tell.
        """
        if not pixel_aspect or not is_sound(pixel_aspect):
            pixel_aspect = 1
        matrix = _display_matrix(frame, matrix_of_file)
        return cls(max(1, round(frame.width * pixel_aspect)), frame.height, matrix)

    @property
    def is_on_its_side(self) -> bool:
        """Whether the matrix turns rows into columns."""
        a, b, c, d = self.matrix
        return abs(b) + abs(c) > abs(a) + abs(d)

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """Apply the matrix, rounded to quarter turns and mirrorings, to a picture `(height, width, 3)`."""
        a, b, c, d = self.matrix
        if self.is_on_its_side:
            picture = picture.swapaxes(0, 1)
            a, d = c, b
        return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _display_matrix(frame: av.VideoFrame, matrix_of_file: Callable[[], Matrix | None]) -> Matrix:
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # Newer cameras write data beside the matrix that PyAV does not know. PyAV then gives only the rotation angle,
        # which does not tell whether the picture is mirrored.
        matrix = matrix_of_file()
        if matrix is not None:
            return matrix
        angle = np.deg2rad(frame.rotation)
        cosine, sine = float(np.cos(angle)), float(np.sin(angle))
        return cosine, -sine, sine, cosine
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, dtype=np.int32)[:5].tolist()
    return a, b, c, d


__all__ = ["Display", "Matrix", "is_sound"]
