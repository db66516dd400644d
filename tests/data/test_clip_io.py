"""load_clip: every kind of clip, frame order, sampling, and what is said of files that cannot be read."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import padded, picture, read_back, unpadded, write_frames, write_video

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import load_clip
from modeling_hdf.file_kinds_hdf import frame_files, natural_key
from modeling_hdf.frame_reading_hdf import rgb8


def frames_row(folder: Path) -> dict:
    return {"clip": {"path": None, "frames": frame_files(folder)}}


def test_numbers_in_names_sort_by_value():
    names = ["00001_00010.jpg", "00001_00009.jpg", "10.jpg", "9.jpg", "img10.png", "img9.png", "00002_1.jpg"]
    expected = ["00001_00009.jpg", "00001_00010.jpg", "00002_1.jpg", "9.jpg", "10.jpg", "img9.png", "img10.png"]
    assert sorted(names, key=natural_key) == expected


@pytest.mark.parametrize("names", [unpadded(3), padded(3), [f"{i}.png" for i in range(8, 20)]], ids=str)
def test_frames_come_in_natural_order(tmp_path, names):
    write_frames(tmp_path, names, number=3)
    assert [Path(path).name for path in frame_files(tmp_path)] == names
    assert read_back(load_clip(frames_row(tmp_path))) == (list(range(12)), 3)


def test_other_files_in_a_folder_are_no_frames(tmp_path):
    write_frames(tmp_path, unpadded(0))
    for name in ("._1.jpg", ".DS_Store", "Thumbs.db", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert len(frame_files(tmp_path)) == 12


def test_a_clip_folder_unpacked_into_itself_is_found(tmp_path):
    write_frames(tmp_path / "00001" / "00001", unpadded(0))
    assert len(frame_files(tmp_path / "00001")) == 12


def test_two_files_of_one_number_are_refused(tmp_path):
    write_frames(tmp_path, ["1.jpg", "2.jpg", "02.jpg"])
    with pytest.raises(ValueError, match="(?s)02.jpg.*2.jpg|2.jpg.*02.jpg") as error:
        frame_files(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_every_kind_of_clip_gives_the_same_frames(tmp_path):
    write_frames(tmp_path / "frames", padded(5), number=5)
    write_video(tmp_path / "clip.mp4", number=5)
    video = str(tmp_path / "clip.mp4")
    clips = [
        {"path": None, "frames": frame_files(tmp_path / "frames")},
        {"path": video, "frames": None},
        {"path": video, "bytes": None},
        {"path": "name only.mp4", "bytes": Path(video).read_bytes()},
    ]
    for clip in clips:
        frames = load_clip({"clip": clip})
        assert frames.dtype == np.uint8 and frames.shape == (12, 16, 16, 3)
        assert read_back(frames) == (list(range(12)), 5)


def test_sampling_of_frames_and_video_agree_with_the_processor(tmp_path):
    write_frames(tmp_path / "frames", padded(1), number=1)
    write_video(tmp_path / "clip.mp4", number=1)
    processor = HDFVideoProcessor(num_frames=5)
    rows = [frames_row(tmp_path / "frames"), {"clip": {"path": str(tmp_path / "clip.mp4"), "frames": None}}]
    for row in rows:
        assert read_back(load_clip(row, processor.sample_frames))[0] == [1, 3, 6, 8, 10]


def test_only_sampled_frames_are_decoded_and_each_once(tmp_path, monkeypatch):
    write_frames(tmp_path, unpadded(0))
    decoded = []
    monkeypatch.setattr(
        "modeling_hdf.frame_reading_hdf.rgb8",
        lambda picture: decoded.append(Path(picture.filename).name) or rgb8(picture),
    )
    seen = {}

    def sample(metadata, timestamps):
        seen.update(total=metadata.total_num_frames, timestamps=timestamps)
        return np.array([9, 2, 2, 9])

    clip = load_clip(frames_row(tmp_path), sample)
    assert read_back(clip)[0] == [9, 2, 2, 9]
    assert sorted(decoded) == ["10.jpg", "3.jpg"]
    assert seen == {"total": 12, "timestamps": None}


def test_frames_of_another_size_take_that_of_the_first_frame_of_the_clip(tmp_path):
    write_frames(tmp_path, unpadded(0)[:3], size=24)
    Image.fromarray(picture(1, 0, 40)).save(tmp_path / "2.jpg", quality=95)
    for sample, positions in ((None, [0, 1, 2]), (lambda metadata, timestamps: np.array([1, 2]), [1, 2])):
        clip = load_clip(frames_row(tmp_path), sample)
        assert clip.shape[1:] == (24, 24, 3)
        assert read_back(clip)[0] == positions


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_pictures_of_any_mode_become_rgb(tmp_path, mode):
    Image.fromarray(picture(4, 0)).convert(mode).save(tmp_path / "1.png")
    clip = load_clip(frames_row(tmp_path))
    assert clip.shape == (1, 16, 16, 3)
    expected = np.asarray(Image.fromarray(picture(4, 0)).convert(mode).convert("RGB"))
    np.testing.assert_array_equal(clip[0], expected)


@pytest.mark.parametrize("name", ["7.jpg", "7.png"])
def test_a_truncated_frame_is_named(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / name
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"{path}: cannot be read as a picture"):
        load_clip(frames_row(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_file_that_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "1.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{tmp_path}/1.jpg"):
        load_clip(frames_row(tmp_path))


def test_a_truncated_video_is_named(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=str(path)):
        load_clip({"clip": {"path": str(path), "frames": None}})


def test_files_that_have_gone_are_named(tmp_path):
    write_frames(tmp_path, unpadded(0))
    row = frames_row(tmp_path)
    os.remove(tmp_path / "5.jpg")
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/5.jpg"):
        load_clip(row)
    with pytest.raises(FileNotFoundError, match="gone.mp4"):
        load_clip({"clip": {"path": str(tmp_path / "gone.mp4"), "frames": None}})


@pytest.mark.parametrize(
    "clip", [{"path": None, "frames": None}, {"path": None, "frames": []}, {"path": "a.mp4", "frames": ["1.jpg"]}]
)
def test_a_clip_that_sets_nothing_or_two_things_is_refused(clip):
    with pytest.raises(ValueError, match="clip"):
        load_clip({"clip": clip})
