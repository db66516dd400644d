"""A moving face and a folder of it, for the tests of `hdf data faces`, and videos for those of `hdf predict`."""

from pathlib import Path

import numpy as np
import pytest
from face_clips import FPS, hidden, place_faces, straight
from PIL import Image
from video_files import write_video


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Twelve frames of a moving face."""
    return place_faces({0: straight((40, 40), (70, 60), 12)}, 12, size=(240, 320))


@pytest.fixture
def source(tmp_path, clip) -> Path:
    """A folder with a video, a frame folder, a single image and a note."""
    folder = tmp_path / "in"
    (folder / "deep" / "frames").mkdir(parents=True)
    write_video(folder / "deep" / "uneven.mkv", list(clip), pts=[0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16], rate=30)
    for index, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / "deep" / "frames" / f"{index + 1}.png")
    Image.fromarray(clip[0]).save(folder / "photo.jpg")
    (folder / "readme.txt").write_text("not a clip")
    return folder


@pytest.fixture(scope="session")
def party(tmp_path_factory) -> Path:
    """A face from the start, and a second one from 1 s on."""
    paths = {0: straight((40, 40), (90, 60), 60), 1: hidden(straight((300, 40), (300, 60), 60), 0, 24)}
    return write_video(tmp_path_factory.mktemp("videos") / "party.mp4", list(place_faces(paths, 60)), rate=FPS)


@pytest.fixture(scope="session")
def short(tmp_path_factory) -> Path:
    """Half a second of one face."""
    frames = place_faces({0: straight((40, 40), (50, 40), 12)}, 12, size=(200, 240))
    return write_video(tmp_path_factory.mktemp("videos") / "short.mp4", list(frames), rate=FPS)


@pytest.fixture(scope="session")
def wall(tmp_path_factory) -> Path:
    """Half a second without a face."""
    frames = place_faces({}, 12, size=(200, 240))
    return write_video(tmp_path_factory.mktemp("videos") / "wall.mp4", list(frames), rate=FPS)
