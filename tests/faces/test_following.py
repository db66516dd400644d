"""Faces followed in one pass, against the tracks of the whole clip."""

from pathlib import Path

import numpy as np
import pytest
from face_clips import FPS, hidden, place_faces, straight
from video_files import write_video

from modeling_hdf.clip_reading_hdf import open_clip
from modeling_hdf.faces import FaceDetector, track_faces
from modeling_hdf.faces.cuts import CutDetector
from modeling_hdf.faces.following import Moment, follow_faces
from modeling_hdf.faces.tracking import box_iou, crop_squares

DETECTOR = FaceDetector()


def follow(video: Path, with_cuts: bool = False) -> list[Moment]:
    cuts = CutDetector() if with_cuts else None
    return list(follow_faces(open_clip(video).stream(), DETECTOR, cuts=cuts, interval=0.125))  # as `track_faces`


def frames_of(moments: list[Moment]) -> dict[int, list[int]]:
    """Indices of the frames of each track."""
    found: dict[int, list[int]] = {}
    for index, moment in enumerate(moments):
        for face in moment.faces:
            found.setdefault(face.track, []).append(index)
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A face that is hidden for a moment, one that comes late, and one that leaves for good and comes back."""
    paths = {
        0: hidden(straight((20, 40), (60, 60), 70), 25, 32),
        1: hidden(straight((170, 100), (175, 110), 70), 0, 39),
        2: hidden(straight((330, 40), (330, 80), 70), 20, 45),
    }
    path = tmp_path_factory.mktemp("clips") / "three.mp4"
    times = np.cumsum([0, *np.random.default_rng(0).integers(1, 4, 69)])
    return write_video(path, list(place_faces(paths, 70)), rate=2 * FPS, pts=times.tolist())


def test_tracks_are_those_of_the_whole_clip(clip):
    moments, faces = follow(clip), track_faces(clip)
    assert len(moments) == faces.num_frames == 70 and len(faces.tracks) == 4
    assert [moment.start for moment in moments] + [moments[-1].end] == faces.timestamps
    found = frames_of(moments)
    assert sorted(found.values()) == sorted(track.frames.tolist() for track in faces.tracks)
    for track in faces.tracks:
        (number,) = [number for number, frames in found.items() if frames == track.frames.tolist()]
        places = [face for moment in moments for face in moment.faces if face.track == number]
        np.testing.assert_allclose([face.box for face in places], track.boxes, atol=1e-6)
        np.testing.assert_allclose([face.square for face in places], crop_squares(track, 0.1), atol=1e-6)
        assert [face.seen for face in places] == (~track.filled).tolist()
    assert sorted(number for moment in moments for number in moment.ended) == [
        number for number, frames in sorted(found.items()) if frames[-1] < 69
    ]


def test_frames_wait_less_than_two_seconds(clip):
    taken = 0

    def counted():
        nonlocal taken
        for frame in open_clip(clip).stream():
            taken += 1
            last.append(frame.start)
            yield frame

    last = []
    for moment in follow_faces(counted(), DETECTOR):
        assert last[-1] - moment.start < 1.5


def test_a_track_ends_at_a_cut(tmp_path):
    still = straight((150, 60), (150, 60), 40)
    frames = place_faces({0: still}, 40)
    frames[18:] = (30, 200, 40)  # another scene
    face = place_faces({0: still[:1]}, 1)[0, 60:188, 150:278]
    frames[18:, 60:188, 150:278] = face
    path = write_video(tmp_path / "cut.mp4", list(frames), rate=FPS)
    moments = follow(path, with_cuts=True)
    assert [index for index, moment in enumerate(moments) if moment.starts_shot] == [18]
    assert frames_of(moments) == {0: list(range(18)), 1: list(range(18, 40))}
    assert moments[18].ended == [0]
    assert frames_of(follow(path)) == {0: list(range(40))}


def test_a_flash_ends_no_track(tmp_path):
    frames = place_faces({0: straight((150, 60), (180, 60), 40)}, 40)
    frames[[13, 25, 26]] = 255
    moments = follow(write_video(tmp_path / "flash.mp4", list(frames), rate=FPS), with_cuts=True)
    assert not any(moment.starts_shot for moment in moments) and frames_of(moments) == {0: list(range(40))}


def test_fewer_looks_give_nearly_the_same_boxes(clip):
    found = []
    for interval in (0.0, 0.2):
        moments = follow_faces(open_clip(clip).stream(), DETECTOR, interval=interval)
        found.append([[face.box for face in moment.faces] for moment in moments])
    for every, few in zip(*found, strict=True):
        assert len(every) == len(few)
        if few:
            assert box_iou(np.array(every), np.array(few)).max(1).min() > 0.85


def test_a_picture_and_a_slow_clip_show_their_faces(tmp_path):
    picture = place_faces({0: straight((150, 60), (150, 60), 1)}, 1)
    (moment,) = follow_faces(open_clip(picture).stream(), DETECTOR)
    assert len(moment.faces) == 1
    slow = write_video(tmp_path / "slow.mp4", list(place_faces({0: straight((150, 60), (190, 60), 5)}, 5)), rate=1)
    moments = follow(slow, with_cuts=True)
    assert frames_of(moments) == {0: [0, 1, 2, 3, 4]} and float(moments[-1].end) == 5.0
