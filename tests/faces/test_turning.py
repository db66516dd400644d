"""Clips whose pictures do not lie upright: what the file says, and what it does not say."""

import numpy as np
import pytest
from face_clips import close_up, place_faces, straight, write_clip
from PIL import Image

from modeling_hdf.clip_reading_hdf import open_clip
from modeling_hdf.faces.cropping import crop_face, track_faces
from modeling_hdf.faces.tracking import box_iou


def test_a_rotated_phone_clip_is_upright(tmp_path, detector):
    frames = place_faces({0: straight((30, 40), (60, 300), 20)}, 20, size=(480, 270))
    stored = np.rot90(frames, k=1, axes=(1, 2))
    quarter_turn = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    file = write_clip(tmp_path / "phone.mp4", stored, display_matrix=quarter_turn)
    faces, expected = track_faces(file, detector), track_faces(frames, detector)
    assert faces.size == (480, 270)
    assert box_iou(faces.main().boxes, expected.main().boxes).diagonal().min() > 0.9
    clip = crop_face(file, 96, detector=detector)
    difference = clip.frames.astype(float) - crop_face(frames, 96, detector=detector).frames
    assert np.abs(difference).mean() < 6.0


def looking_away(num_frames: int) -> np.ndarray:
    """An upright clip of a face that moves, high as phones film."""
    return place_faces({0: straight((30, 40), (60, 300), num_frames)}, num_frames, size=(480, 270))


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_clip_filmed_sideways_or_upside_down_is_turned(tmp_path, detector, quarter_turns):
    frames = looking_away(20)
    stored = np.rot90(frames, k=-quarter_turns, axes=(1, 2))  # no display matrix says so
    file = write_clip(tmp_path / "sideways.mp4", np.ascontiguousarray(stored))
    expected = crop_face(frames, 96, detector=detector)
    clip = crop_face(file, 96, detector=detector)
    assert clip.faces.quarter_turns == quarter_turns and clip.faces.size == (480, 270)
    assert box_iou(clip.track.boxes, expected.track.boxes).diagonal().min() > 0.9
    assert np.abs(clip.frames.astype(float) - expected.frames).mean() < 6.0
    assert f"turned by {90 * quarter_turns} degrees" in clip.summary()
    assert expected.faces.quarter_turns == 0 and "turned" not in expected.summary()


@pytest.mark.parametrize("quarter_turns", [1, 3])
def test_a_close_face_filmed_sideways_is_turned_although_the_detector_finds_it(detector, quarter_turns):
    frames = close_up(12)
    stored = np.ascontiguousarray(np.rot90(frames, k=-quarter_turns, axes=(1, 2)))
    assert any(len(detector(frame)) for frame in stored)
    clip, expected = crop_face(stored, 96, detector=detector), crop_face(frames, 96, detector=detector)
    assert (clip.faces.quarter_turns, expected.faces.quarter_turns) == (quarter_turns, 0)
    assert np.abs(clip.frames.astype(float) - expected.frames).mean() < 6.0


def test_upright_clips_are_searched_once_and_others_are_tried_in_few_frames(detector):
    searched = []

    class Counting:
        max_side = detector.max_side
        refine = staticmethod(detector.refine)

        def __call__(self, frame):
            searched.append(frame.size)
            return detector(frame)

    faces = track_faces(looking_away(20), Counting())
    close = 256 * 256 * 3  # the numbers of a close picture; four of them, in four turns
    assert len(searched) == faces.looked_at + 16 and searched.count(close) == 16
    searched.clear()
    wall = track_faces(place_faces({}, 100), Counting())
    assert wall.quarter_turns == 0 and wall.size == (270, 480) and wall.tracks == []
    assert len(searched) == wall.looked_at + 24 and searched.count((480, 270)) == 16


@pytest.mark.parametrize("roll", [-30, 0, 30])
@pytest.mark.parametrize("harm", ["none", "dark", "small", "noisy"])
def test_upright_faces_are_not_turned_over_and_others_are(detector, roll, harm):
    frames = place_faces({3: straight((60, 60), (90, 70), 8)}, 8, roll=roll)
    if harm == "dark":
        frames = frames // 4
    if harm == "small":
        frames = frames[:, ::2, ::2]
    if harm == "noisy":
        noise = np.random.default_rng(0).normal(0.0, 20.0, frames.shape)
        frames = np.clip(frames + noise, 0, 255).astype(np.uint8)
    assert track_faces(frames, detector).quarter_turns == 0
    over = track_faces(np.ascontiguousarray(frames[:, ::-1, ::-1]), detector)
    assert over.quarter_turns == 2 and len(over.tracks) == 1


def test_an_upright_face_with_a_strong_tilt_is_not_turned_over(detector):
    frames = place_faces({2: straight((60, 60), (62, 62), 4)}, 4, roll=-48)
    assert track_faces(frames, detector).quarter_turns == 0


def test_pictures_taken_sideways_are_turned_by_their_exif_tag(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter clockwise to see it
    Image.fromarray(np.rot90(picture)).save(tmp_path / "phone.png", exif=exif)
    (frame,) = open_clip(tmp_path / "phone.png").stream()
    assert frame.size == (40, 60)
    np.testing.assert_array_equal(frame.rgb(), picture)
