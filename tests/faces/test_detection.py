"""Pictures that are too thin or too small for the detector."""

import numpy as np
import pytest
from face_clips import rendered_face
from PIL import Image

from modeling_hdf.faces.detection import _detect


class Recorder:
    """In place of OpenCV's detector: keeps the picture that it is given, and finds these faces."""

    def __init__(self, *faces):
        self.faces = np.array(faces, np.float32)

    def setInputSize(self, size):
        self.size = size

    def detect(self, picture):
        self.picture = picture
        return 1, self.faces


def face(x, y, width, height):
    return [x, y, width, height, *range(10), 0.9]


@pytest.mark.parametrize("size, seen", [((8, 8), (64, 64)), ((30, 300), (64, 300)), ((300, 32), (300, 64))])
def test_thin_pictures_are_padded_below_and_beside_and_faces_outside_are_no_faces(size, seen):
    height, width = size
    good = face(1, 1, 5, 6)
    outside = [face(width, 1, 9, 9), face(1, height, 9, 9), face(-9, 1, 9, 9), face(1, -9, 9, 9)]
    wrong = [face(1, 1, 0, 5), face(1, 1, 5, -1), face(np.nan, 1, 5, 5), face(1, 1, np.inf, 5)]
    net, picture = Recorder(*outside, good, *wrong), np.full((*size, 3), 7, np.uint8)
    np.testing.assert_allclose(_detect(net, picture), [good])
    assert net.picture.shape == (*seen, 3) and net.size == seen[::-1]
    assert (net.picture[:height, :width] == 7).all() and net.picture.sum() == 7 * 3 * height * width


def test_other_pictures_are_looked_at_as_they_are():
    net, picture = Recorder(face(500, 1, 5, 5)), np.zeros((33, 320, 3), np.uint8)
    assert len(_detect(net, picture)) == 1 and net.picture.shape == picture.shape


def test_a_face_is_found_in_a_thin_picture_and_none_where_there_is_none(detector):
    picture = np.full((30, 300, 3), 120, np.uint8)
    assert not len(detector(picture))
    picture[:, 200:230] = np.asarray(Image.fromarray(rendered_face()).resize((30, 30)))
    ((x, y, width, height),) = detector(picture)[:, :4]
    assert x + width / 2 == pytest.approx(215, abs=4) and y + height / 2 == pytest.approx(15, abs=5)
