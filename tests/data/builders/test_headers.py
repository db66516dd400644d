"""A look at the headers of all clips, which training takes before its first step."""

import pytest
from trees import write_frames, write_video

from modeling_hdf.data.builders import clip_files
from modeling_hdf.data.builders.clip_files import inspect_clip, inspect_clips
from modeling_hdf.data.builders.folder import VideoFolder
from modeling_hdf.data.builders.listing import ListedClip


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # an MP4 file ends with its index


def test_headers_tell_of_broken_files_that_a_list_does_not(tmp_path, monkeypatch):
    for name in ("whole.mp4", "cut.mp4"):
        write_video(tmp_path / name, number=1)
    cut(tmp_path / "cut.mp4")
    for name in ("frames", "holes"):
        write_frames(tmp_path / name, [f"{index}.png" for index in range(5)])
    (tmp_path / "holes" / "3.png").write_bytes(b"")
    paths = [str(tmp_path / name) for name in ("whole.mp4", "cut.mp4", "frames", "holes")]
    assert all(inspect_clip(path, "listing").problem is None for path in paths)
    monkeypatch.setattr(clip_files.VideoFile, "stream", lambda self: pytest.fail("a frame was decoded"))
    monkeypatch.setattr(clip_files.PictureFiles, "stream", lambda self: pytest.fail("a picture was decoded"))
    found = inspect_clips([ListedClip(path, "x", "train", path, "x") for path in paths], "headers")
    assert [found[path].problem for path in paths] == [None, "unreadable", None, "unreadable"]
    assert found[paths[0]].num_frames == 12 and found[paths[2]].num_frames == 5
    assert paths[1] in found[paths[1]].detail and str(tmp_path / "holes" / "3.png") in found[paths[3]].detail


def test_broken_clips_count_as_missing_ones_do_and_are_left_out(tmp_path):
    root = tmp_path / "videos"
    for split in ("train", "validation", "test"):
        for label, name in enumerate(("happiness", "fear")):
            for index in range(2):
                write_video(root / split / name / f"{index}.mp4", number=label)
    cut(root / "train" / "fear" / "1.mp4")
    options = {"data_dir": str(root), "cache_dir": str(tmp_path / "cache")}
    listed = VideoFolder(**options)
    listed.download_and_prepare()
    assert listed.info.splits["train"].num_examples == 4 and listed.num_left_out == 0
    with pytest.raises(ValueError, match=r"1 of 12 listed clips .*allows 0(.|\n)*train/fear/1.mp4"):
        VideoFolder(**options, depth="headers").download_and_prepare()
    allowed = VideoFolder(**options, depth="headers", max_missing=1)
    allowed.download_and_prepare()
    assert "train/fear/1.mp4" not in allowed.as_dataset("train")["clip_id"] and allowed.num_left_out == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.flv", "a.jpg"])
def test_a_pointer_of_git_lfs_is_no_clip(tmp_path, name):
    path = tmp_path / name
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n")
    found = clip_files.inspect_clip(str(path))
    assert found.problem == "unreadable"
    assert f"{path}: is a pointer of Git LFS" in found.detail and "`git lfs pull`" in found.detail
