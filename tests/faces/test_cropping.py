"""Finding and cropping faces: rendered faces at known places, and real videos where there are any."""

import os
import weakref
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from face_clips import FACE, FPS, assert_alike, hidden, place_faces, straight, write_clip
from PIL import Image

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.clip_reading_hdf import open_clip
from modeling_hdf.faces.cropping import NoFaceError, crop_face, track_faces
from modeling_hdf.faces.detection import FaceDetector, cut_square
from modeling_hdf.faces.tracking import box_iou, crop_squares, eye_angles

real_videos = pytest.mark.skipif("HDF_REAL_VIDEOS" not in os.environ, reason="HDF_REAL_VIDEOS names a folder of clips")


def centres(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, :2] + boxes[:, 2:] / 2.0


def offsets(track, path: np.ndarray) -> np.ndarray:
    """Where the box lies in the picture of the face, which should be the same in all frames, in pixels."""
    return centres(track.boxes) - np.rint(path[track.frames])


def test_the_detector_finds_a_face_where_it_is(detector):
    picture = place_faces({0: np.array([[200, 90]])}, 1)[0]
    (face,) = detector(picture)
    left, top, width, height = face[:4]
    assert 190 < left < left + width < 200 + FACE + 10 and 80 < top < top + height < 90 + FACE + 10
    right_eye, left_eye, nose, right_mouth, left_mouth = face[4:14].reshape(5, 2)
    assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert face[14] > 0.8


def test_boxes_do_not_depend_on_the_scale_of_the_search(detector):
    picture = place_faces({0: np.array([[500, 200]])}, 1, size=(540, 960))[0]
    (small,), (full,) = detector(picture), FaceDetector(max_side=None)(picture)
    assert box_iou(small[None, :4], full[None, :4])[0, 0] > 0.8
    assert np.abs(small[4:14] - full[4:14]).max() < 0.08 * FACE


@pytest.mark.parametrize("arguments", [{"score_threshold": 0.0}, {"score_threshold": 1.0}, {"max_side": 8}])
def test_a_detector_out_of_range_is_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        FaceDetector(**arguments)


def test_a_moving_face_is_one_track_though_few_frames_are_looked_at(moving, detector):
    frames, path = moving
    faces = track_faces(frames, detector)
    (track,) = faces.tracks
    assert faces.num_frames == 50 and track.frames.tolist() == list(range(50))
    assert faces.looked_at <= 20
    assert offsets(track, path).std(axis=0).max() < 0.03 * FACE
    assert len(faces.frames_without_face()) == 0


def test_sudden_motion_makes_the_detector_look_closer(detector):
    # Still, then across the picture within six frames, then still: a straight line from look to look would miss it.
    path = np.concatenate([np.full((24, 2), 20), straight((20, 20), (320, 20), 6), np.tile((320, 20), (20, 1))])
    faces = track_faces(place_faces({0: path}, 50), detector, smoothing=0.0)
    (track,) = faces.tracks
    assert np.abs(offsets(track, path) - np.median(offsets(track, path), axis=0)).max() < 0.1 * FACE


def test_a_face_that_comes_late_is_found_to_the_frame(detector):
    path = hidden(straight((100, 60), (140, 60), 60), 0, 30)
    faces = track_faces(place_faces({0: path}, 60), detector)
    (track,) = faces.tracks
    assert (track.frames[0], track.frames[-1]) == (31, 59)
    assert faces.frames_without_face().tolist() == list(range(31))


def test_a_short_absence_is_filled_along_the_path(detector):
    path = straight((40, 60), (240, 60), 50)
    frames = place_faces({0: hidden(path, 20, 26)}, 50)
    (track,) = track_faces(frames, detector).tracks
    assert np.flatnonzero(track.filled).tolist() == list(range(20, 27))
    assert offsets(track, path).std(axis=0).max() < 0.04 * FACE
    tracks = track_faces(frames, detector, max_gap=0.2).tracks
    assert sorted(track.frames[0] for track in tracks) == [0, 27]


def test_all_faces_have_their_track_and_the_longest_of_equal_size_is_the_main_one(detector):
    paths = {
        0: hidden(straight((10, 20), (40, 20), 40), 15, 39),
        1: straight((170, 100), (200, 130), 40),
        2: hidden(straight((340, 20), (340, 60), 40), 0, 9),
    }
    faces = track_faces(place_faces(paths, 40), detector)
    assert [track.id for track in faces.tracks] == [0, 1, 2]
    assert [len(track.frames) for track in faces.tracks] == [40, 30, 15]
    for track, identity in zip(faces.tracks, (1, 2, 0), strict=True):
        assert np.linalg.norm(offsets(track, paths[identity]).mean(axis=0) - FACE / 2) < 0.2 * FACE
    assert len(faces.frames_without_face()) == 0 and len(faces.frames_without_face(faces.tracks[1])) == 10


def test_no_face_says_so_with_the_path_and_what_to_do(tmp_path, detector):
    file = write_clip(tmp_path / "wall.mp4", place_faces({}, 10))
    assert track_faces(file, detector).tracks == []
    with pytest.raises(NoFaceError, match=r"wall\.mp4: no face.*10 frame.*480x270.*max_side"):
        crop_face(file, detector=detector)


def test_the_times_of_the_frames_are_kept(tmp_path, detector):
    pts = np.cumsum([0] + [1, 3] * 12).tolist()
    frames = place_faces({0: hidden(straight((100, 60), (140, 60), 25), 0, 9)}, 25)
    clip = crop_face(write_clip(tmp_path / "uneven.mp4", frames, pts=pts, rate=30), 64, detector=detector)
    assert clip.timestamps == [Fraction(tick, 30) for tick in pts[10:]]
    assert clip.faces.has_timestamps and clip.track.frames.tolist() == list(range(10, 25))


def test_times_that_are_all_one_count_as_none(tmp_path, detector):
    # Matroska counts milliseconds: at 100 000 frames per second all frames start at 0.
    frames = place_faces({0: straight((60, 60), (200, 60), 40)}, 40)
    file = write_clip(tmp_path / "clip.mkv", frames, rate=100_000, max_b_frames=0)
    processor = HDFVideoProcessor(num_frames=4)
    clip = crop_face(file, 64, detector=detector, sample=processor.sample_frames)
    assert not clip.faces.has_timestamps and len(clip.track.frames) == 40
    assert clip.timestamps == [Fraction(index, 25) for index in (5, 15, 25, 35)]


def test_a_tilted_face_is_turned_upright(detector):
    # Rendered with a known tilt, positive to the left: so the eye on the right of the picture is the higher one.
    for roll in (-25.0, 0.0, 18.0):
        clip = crop_face(place_faces({0: straight((60, 40), (90, 60), 20)}, 20, roll=roll), 160, detector=detector)
        angles = np.degrees(crop_squares(clip.track, 0.1)[:, 3])
        np.testing.assert_allclose(angles, -roll, atol=4.0)
        np.testing.assert_allclose(angles, angles.mean(), atol=3.0)


def test_a_strong_tilt_is_seen_by_looking_again_at_the_face_turned_back(detector):
    for roll in (-36.0, 36.0):
        picture = place_faces({0: np.array([[60, 40]])}, 1, roll=roll)[0]
        face = detector(picture)
        first, refined = (np.degrees(eye_angles(each)[0]) for each in (face, detector.refine(picture, face[0])[None]))
        assert abs(first + roll) > 8  # far too upright in the first look
        assert refined == pytest.approx(-roll, abs=5)


def test_the_cropped_face_is_centred_and_steady(moving, detector):
    clip = crop_face(moving[0], 160, detector=detector)
    assert clip.frames.shape == (50, 160, 160, 3) and clip.frames.dtype == np.uint8
    boxes = np.array([detector(frame)[0, :4] for frame in clip.frames])
    assert np.abs(centres(boxes) - 80).max() < 0.06 * 160
    assert centres(boxes).std(axis=0).max() < 0.02 * 160
    wide = crop_face(moving[0], 160, margin=0.5, detector=detector)
    assert detector(wide.frames[5])[0, 3] == pytest.approx(boxes[5, 3] * 1.2 / 2.0, rel=0.1)


def test_sampling_takes_frames_of_the_face_alone(tmp_path, detector):
    frames = place_faces({0: hidden(straight((60, 60), (200, 60), 60), 0, 19)}, 60)
    file = write_clip(tmp_path / "late.mp4", frames)
    everything = crop_face(file, 64, detector=detector)
    processor = HDFVideoProcessor(num_frames=8)
    sampled = crop_face(file, 64, detector=detector, sample=processor.sample_frames)
    assert_alike(sampled.frames, everything.frames[2::5])  # centres of eight equal parts of 40
    repeated = crop_face(file, 64, detector=detector, sample=partial(processor.sample_frames, num_frames=80))
    assert_alike(repeated.frames, everything.frames.repeat(2, axis=0))
    assert everything.summary() == "face in 40 of 60 frames (20 without it)"


def test_a_straight_cut_is_a_slice_and_a_turned_cut_is_turned():
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    square = np.array([30.0, 24.0, 16.0, 0.0])
    assert_alike(cut_square(picture, square, 16), picture[16:32, 22:38])
    blocks = picture[16:32, 22:38].reshape(4, 4, 4, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(cut_square(picture, square, 4), blocks, atol=1.0)  # averaged, not sampled
    turned = cut_square(picture, np.array([30.0, 24.0, 16.0, np.pi / 2]), 16)
    assert_alike(turned, np.rot90(picture[16:32, 22:38]))
    outside = cut_square(picture, np.array([0.0, 24.0, 16.0, 0.0]), 16)
    assert_alike(outside[:, :8], np.repeat(picture[16:32, :1], 8, axis=1))


def test_slow_frames_show_a_face(tmp_path, detector):
    """A slide show of one picture each second: every picture shows the face."""
    frames = place_faces({0: straight((40, 40), (80, 60), 10)}, 10)
    clip = crop_face(write_clip(tmp_path / "slow.mp4", frames, rate=1), 64, detector=detector)
    assert clip.track.frames.tolist() == list(range(10)) and not clip.track.filled.any()
    assert clip.timestamps == [Fraction(index) for index in range(10)]


def test_a_cut_between_slow_frames_keeps_two_people_apart(tmp_path, detector):
    paths = {
        0: hidden(straight((20, 40), (20, 40), 10), 5, 9),
        1: hidden(straight((330, 100), (330, 100), 10), 0, 4),
    }
    faces = track_faces(write_clip(tmp_path / "cut.mp4", place_faces(paths, 10), rate=1), detector)
    assert sorted(track.frames.tolist() for track in faces.tracks) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert all(offsets(track, paths[track.frames[0] // 5]).std() < 0.1 * FACE for track in faces.tracks)


def test_a_freeze_drops_no_frame(tmp_path, detector):
    pts = [index + 20 * (index > 24) for index in range(50)]  # 0.8 seconds after frame 24
    file = write_clip(tmp_path / "freeze.mp4", place_faces({0: straight((40, 40), (80, 60), 50)}, 50), pts=pts)
    clip = crop_face(file, 64, detector=detector)
    assert len(clip.frames) == 50 and clip.timestamps == [Fraction(tick, FPS) for tick in pts]


def test_crops_that_do_not_fit_into_memory_are_refused_before_they_are_made(moving, detector, monkeypatch):
    monkeypatch.setattr("modeling_hdf.faces.cropping.MAX_CROP_BYTES", 50 * 64 * 64 * 3)
    assert len(crop_face(moving[0], 64, detector=detector).frames) == 50
    monkeypatch.setattr("modeling_hdf.faces.cropping.MAX_CROP_BYTES", 50 * 64 * 64 * 3 - 1)
    monkeypatch.setattr("modeling_hdf.faces.cropping.iterate_crops", None)
    with pytest.raises(ValueError, match="50 crops of 64x64 pixels take 0.0 GB.*`sample`.*hdf data faces"):
        crop_face(moving[0], 64, detector=detector)


def test_long_clips_are_not_held_in_memory(moving, detector, monkeypatch):
    """Counts the frames that live at one time: a fake source of 400 of them."""
    frames, _ = moving
    alive, most = weakref.WeakSet(), 0

    class Frame:
        start = duration = None
        size = frames.shape[1:3]

        def __init__(self, index):
            self.index = index

        def rgb(self, max_side=None):
            return frames[self.index % 50 if self.index % 100 < 50 else 49 - self.index % 50]

    class Source:
        name = "long"

        def stream(self):
            nonlocal most
            for index in range(400):
                frame = Frame(index)
                alive.add(frame)
                most = max(most, len(alive))
                yield frame

        def problems(self, duration):
            return []

    monkeypatch.setattr("modeling_hdf.faces.cropping.open_clip", lambda video, name: Source())
    clip = crop_face("long", 16, detector=detector)
    assert len(clip.frames) == 400 and most <= 8


@pytest.mark.parametrize("size", [(0, 0.1), (64, -0.1)])
def test_crops_out_of_range_are_refused(moving, size):
    with pytest.raises(ValueError, match="`size` must be"):
        crop_face(moving[0], *size)


def test_negative_times_are_refused(moving):
    for option in ("interval", "max_gap", "smoothing"):
        with pytest.raises(ValueError, match=option):
            track_faces(moving[0], **{option: -1.0})


@real_videos
class TestRealVideos:
    folder = Path(os.environ.get("HDF_REAL_VIDEOS", "."))

    def test_single_face(self):
        faces = track_faces(self.folder / "single_face.mp4")
        (track,) = faces.tracks
        assert track.frames.tolist() == list(range(72)) and not track.filled.any()

    def test_no_face(self):
        with pytest.raises(NoFaceError, match=r"no_face\.mp4: no face was found"):
            crop_face(self.folder / "no_face.mp4")

    def test_an_upside_down_face_is_turned(self):
        frames = np.stack([frame.rgb() for frame in open_clip(self.folder / "single_face.mp4").stream()])
        upright = crop_face(frames, 96)
        over = crop_face(np.ascontiguousarray(frames[:, ::-1, ::-1]), 96)
        assert (upright.faces.quarter_turns, over.faces.quarter_turns) == (0, 2)
        assert_alike(over.frames, upright.frames)

    def test_five_faces(self, tmp_path):
        picture = np.asarray(Image.open(self.folder / "multi_face.jpg").convert("RGB"))[:666]
        faces = track_faces(write_clip(tmp_path / "group.mp4", np.repeat(picture[None], 25, axis=0)))
        assert [track.id for track in faces.tracks] == [0, 1, 2, 3, 4]
        assert all(len(track.frames) == 25 for track in faces.tracks)
        assert box_iou(*[np.stack([track.boxes[0] for track in faces.tracks])] * 2).sum() == pytest.approx(5.0)

    def test_a_face_that_comes_late(self):
        faces = track_faces(self.folder / "noface_face.mov")
        (track,) = faces.tracks
        assert 90 <= track.frames[0] <= 100 and track.frames[-1] >= 160

    def test_crops_agree_with_a_search_of_every_frame_at_full_size(self):
        frames = [frame.rgb() for frame in open_clip(self.folder / "single_face.mp4").stream()]
        full = FaceDetector(max_side=None)
        expected = np.concatenate([full(frame)[:, :4] for frame in frames[::6]])
        ours = track_faces(self.folder / "single_face.mp4").main()
        assert box_iou(ours.boxes[::6], expected).diagonal().min() > 0.85
