"""Clips of any folder, without labels."""

import os

import datasets
import pytest
from PIL import Image
from trees import picture, read_back, write_frames, write_video
from video_files import write_video as encode_video

from modeling_hdf.data import UnlabelledClips, load_clip


@pytest.fixture(autouse=True)
def own_dataset_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")


@pytest.fixture
def folder(tmp_path):
    """Two videos and a folder of frames at three depths, and files that are no clips."""
    root = tmp_path / "clips"
    write_video(root / "10.mp4", number=0)
    write_video(root / "deep" / "deeper" / "2.MP4", number=1)
    write_frames(root / "deep" / "frames", [f"{position}.jpg" for position in range(1, 12)], number=2)
    write_frames(root / "deep" / "deeper", ["poster.jpg", "poster2.jpg"], number=9)  # beside a video
    write_frames(root / "photo", ["single.jpg"], number=9)
    write_video(root / ".hidden" / "old.mp4", number=9)
    write_video(root / "._10.mp4", number=9)
    (root / "notes.txt").write_text("no clip")
    return root


def prepared(folder, **fields):
    builder = UnlabelledClips(data_dir=str(folder), **fields)
    builder.download_and_prepare()
    return builder.as_dataset(split="train")


def test_videos_and_folders_of_frames_are_found_at_any_depth(folder):
    rows = prepared(folder)
    assert rows["clip_id"][:] == ["10.mp4", "deep/deeper/2.MP4", "deep/frames"]
    assert [read_back(load_clip(row))[1] for row in rows] == [0, 1, 2]
    assert read_back(load_clip(rows[2]))[0] == list(range(11))  # in natural order
    assert rows["label"][:] == [-1, -1, -1]


def test_links_that_lead_in_a_circle_are_followed_once(folder):
    (folder / "deep" / "circle").symlink_to(folder)
    elsewhere = folder.parent / "elsewhere"
    write_video(elsewhere / "linked.mp4", number=3)
    (folder / "link").symlink_to(elsewhere)
    assert prepared(folder)["clip_id"][:] == ["10.mp4", "deep/deeper/2.MP4", "deep/frames", "link/linked.mp4"]


def test_other_formats_are_found_and_what_is_left_aside_is_named(folder, monkeypatch):
    frames = [Image.fromarray(picture(position, 5)) for position in range(3)]
    for name in ("moving.gif", "moving.webp"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=40, lossless=True)
    encode_video(folder / "clip.mpg", 12, codec="mpeg2video", rate=25)
    write_frames(folder / "@eaDir", ["1.jpg", "2.jpg"], number=9)
    (folder / "Thumbs.db").write_bytes(b"x")
    warnings = []
    monkeypatch.setattr("modeling_hdf.data.builders.unlabelled.logger.warning", warnings.append)
    rows = prepared(folder)
    found = ["10.mp4", "clip.mpg", "deep/deeper/2.MP4", "deep/frames", "moving.gif", "moving.webp"]
    assert rows["clip_id"][:] == found
    assert [read_back(load_clip(rows[index]))[1] for index in (4, 5)] == [5, 5]
    (note,) = [line for line in warnings if "are ignored" in line]
    assert "4 files are not clips" in note
    for name in ("notes.txt", "photo/single.jpg", "deep/deeper/poster.jpg", "deep/deeper/poster2.jpg"):
        assert name in note


def test_clips_that_cannot_be_read_stop_the_preparation_and_are_named(folder):
    (folder / "broken.mp4").write_bytes((folder / "10.mp4").read_bytes()[:300])
    (folder / "empty.avi").write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        prepared(folder)
    message = str(caught.value)
    assert "2 of 5 listed clips are missing, empty or unreadable" in message
    assert str(folder / "broken.mp4") in message and str(folder / "empty.avi") in message
    with pytest.raises(ValueError, match="allows 1"):
        prepared(folder, max_missing=1)


@pytest.mark.parametrize("limit", [1, 0.25])
def test_max_missing_leaves_them_out_and_names_them(folder, limit, monkeypatch):
    (folder / "empty.avi").write_bytes(b"")
    warnings = []
    monkeypatch.setattr("modeling_hdf.data.builders.unlabelled.logger.warning", warnings.append)
    assert "empty.avi" not in prepared(folder, max_missing=limit)["clip_id"][:]
    assert any("empty.avi" in line for line in warnings)


def test_a_change_of_the_folder_is_seen(folder):
    assert len(prepared(folder)) == 3
    write_video(folder / "new.mp4", number=4)
    assert len(prepared(folder)) == 4
    first = UnlabelledClips(data_dir=str(folder)).cache_dir
    os.utime(folder / "new.mp4", (1, 1))
    assert UnlabelledClips(data_dir=str(folder)).cache_dir != first


def test_a_folder_without_clips_or_no_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no clip"):
        prepared(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        prepared(tmp_path / "gone")
