"""What files and folders are by their names, and clutter."""

import pytest
from PIL import Image

from modeling_hdf.file_kinds_hdf import PICTURE_SUFFIXES, VIDEO_SUFFIXES, file_kind, frame_files, is_clutter


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir",
        "__MACOSX",
        ".AppleDouble",
        "#recycle",
        "lost+found",
        "Thumbs.db",
        ".DS_Store",
        "desktop.ini",
        "._x.jpg",
    ],
)
def test_what_systems_leave_is_clutter(name):
    assert is_clutter(name)


@pytest.mark.parametrize("name", ["1.jpg", "eaDir", "thumbs.jpg", "lost", "recycle", "clip.mp4"])
def test_what_people_name_is_not(name):
    assert not is_clutter(name)


def test_a_suffix_is_of_one_kind():
    assert not set(VIDEO_SUFFIXES) & set(PICTURE_SUFFIXES)
    needed = ".flv .wmv .mpg .3gp .ts .m4v .m2ts .mts .asf .ogv .vob .mp4 .avi .mkv .mov .webm .mpeg"
    assert set(needed.split()) <= set(VIDEO_SUFFIXES)


@pytest.mark.parametrize("suffix", ["gif", "webp", "apng"])
def test_pictures_that_move_are_videos_and_stills_are_not(tmp_path, suffix):
    pages = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (200, 10)]
    format = "PNG" if suffix == "apng" else None
    pages[0].save(tmp_path / f"still.{suffix}", format=format)
    pages[0].save(tmp_path / f"moving.{suffix}", format=format, save_all=True, append_images=pages[1:])
    assert file_kind(tmp_path / f"still.{suffix}") == "picture"
    assert file_kind(tmp_path / f"moving.{suffix}") == "video"


def test_other_names():
    kinds = {name: file_kind(name) for name in ("A.MP4", "b.JPG", "c.txt", "mp4", "d.mp4:Zone.Identifier")}
    assert kinds == {"A.MP4": "video", "b.JPG": "picture", "c.txt": None, "mp4": None, "d.mp4:Zone.Identifier": None}


def test_frames_of_a_relative_folder_unpacked_into_itself_are_found(tmp_path, monkeypatch):
    (tmp_path / "clip" / "clip").mkdir(parents=True)
    (tmp_path / "clip" / "__MACOSX").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "clip" / "clip" / "1.png")
    monkeypatch.chdir(tmp_path / "clip")
    assert len(frame_files(".")) == 1
