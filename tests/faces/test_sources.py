"""Kinds of clips in which faces are looked for, whole and damaged."""

import numpy as np
import pytest
from face_clips import FACE, write_clip
from PIL import Image

from modeling_hdf.faces.cropping import crop_face, track_faces
from modeling_hdf.faces.tracking import box_iou


def test_every_kind_of_source_gives_the_same_track(tmp_path, moving, detector):
    frames, _ = moving
    file = write_clip(tmp_path / "clip.mkv", frames, codec="ffv1", pix_fmt="bgr0", max_b_frames=0)
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{index + 1}.png")  # frame_10 sorts before frame_2 by letters
    (folder / "notes.txt").write_text("no frame")
    paths = [folder / f"frame_{index + 1}.png" for index in range(50)]
    (expected,) = track_faces(frames, detector).tracks
    for source in (file, str(file), file.read_bytes(), folder, paths, frames.transpose(0, 3, 1, 2), list(frames)):
        (track,) = track_faces(source, detector).tracks
        np.testing.assert_array_equal(track.frames, expected.frames)
        np.testing.assert_allclose(track.boxes, expected.boxes, atol=0.05 * FACE)


def test_broken_frames_are_named(tmp_path, moving):
    for index in range(6):
        Image.fromarray(moving[0][index]).save(tmp_path / f"{index}.jpg")
    whole = (tmp_path / "3.jpg").read_bytes()
    for content, message in ((whole[:2000], "truncated"), (b"", "empty"), (b"text", "text file")):
        (tmp_path / "3.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=rf"3\.jpg.*{message}"):
            crop_face(tmp_path)


def test_frames_of_another_size_are_scaled_to_that_of_the_first(tmp_path, moving, detector):
    for index in range(6):
        Image.fromarray(moving[0][index]).save(tmp_path / f"{index}.png")
    (expected,) = track_faces(tmp_path, detector, interval=0.0).tracks
    Image.fromarray(moving[0][3]).resize((960, 540)).save(tmp_path / "3.png")
    (track,) = track_faces(tmp_path, detector, interval=0.0).tracks
    assert box_iou(track.boxes, expected.boxes).diagonal().min() > 0.9


def test_sources_without_frames_are_named(tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: the folder holds no frame"):
        track_faces(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere.mp4"):
        track_faces(tmp_path / "nowhere.mp4")
    with pytest.raises(TypeError, match="floats"):
        track_faces(np.zeros((2, 32, 32, 3)))


def test_damage_to_a_part_is_reported_and_the_rest_is_used(tmp_path, moving, detector):
    file = write_clip(tmp_path / "cut.mp4", moving[0], container_options={"movflags": "faststart"})
    file.write_bytes(file.read_bytes()[: int(0.6 * file.stat().st_size)])
    faces = track_faces(file, detector)
    assert 10 < faces.num_frames < 50 and faces.main().frames[0] == 0
    assert any("cut.mp4" in problem for problem in faces.problems)
