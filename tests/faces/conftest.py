"""The detector, and a clip with a face that moves."""

import numpy as np
import pytest
from face_clips import place_faces, straight

from modeling_hdf.faces.detection import FaceDetector


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def moving() -> tuple[np.ndarray, np.ndarray]:
    """A clip of two seconds in which a face moves steadily, and the path of its picture."""
    path = straight((20, 20), (220, 120), 50)
    return place_faces({0: path}, 50), path
