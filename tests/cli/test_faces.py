"""`hdf data faces`: what one run writes and says."""

import errno
import os
from fractions import Fraction

import numpy as np
import pytest
from face_clips import FPS, hidden, place_faces, straight
from faces_command import decoded, hdf, journal, shown_at, tree
from PIL import Image
from video_files import write_video

from modeling_hdf.faces.folder_run import crop_folder
from modeling_hdf.faces.folders import CropSettings, find_clips, stretches


def test_the_output_mirrors_the_input(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert hdf(source, out) == 0
    frames = [f"deep/frames/{index + 1}.png" for index in range(12)]
    assert tree(out) == sorted(["deep/uneven.mp4", *frames, "faces.jsonl", "photo.jpg"])
    for picture in ("photo.jpg", "deep/frames/12.png"):
        assert Image.open(out / picture).size == (64, 64)
    printed = capsys.readouterr()
    assert "3 clips: 3 cropped, 0 without a face, 0 failed (0 were done before)" in printed.out
    assert "frames without the face: 0 of 25" in printed.out
    assert "neither video nor image: 1" in printed.out
    assert "3/3" in printed.err  # the progress bar
    records = journal(out)
    assert list(records) == ["deep/frames", "deep/uneven.mkv", "photo.jpg"]
    assert records["deep/uneven.mkv"]["outputs"] == ["deep/uneven.mp4"]


def test_videos_keep_their_times(source, tmp_path):
    hdf(source, tmp_path / "out")
    times, duration, size = shown_at(tmp_path / "out" / "deep" / "uneven.mp4")
    ticks = [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16]
    assert [round(float(moment), 3) for moment in times] == [round(tick / 30, 3) for tick in ticks]
    assert size == (64, 64) and float(duration) == pytest.approx(17 / 30, abs=0.002)


def test_a_face_that_comes_late_makes_a_shorter_clip_and_is_reported(tmp_path):
    path = hidden(straight((40, 40), (80, 60), 50), 0, 19)
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "late.mp4", list(place_faces({0: path}, 50)), rate=FPS)
    assert hdf(tmp_path / "in", tmp_path / "out") == 0
    times, duration, _ = shown_at(tmp_path / "out" / "late.mp4")
    assert times == [Fraction(index, FPS) for index in range(30)] and duration == Fraction(30, FPS)
    record = journal(tmp_path / "out")["late.mp4"]
    assert record["frames"] == 50 and record["frames_without_face"] == [[0, 19]]
    assert (record["start"], record["seconds"]) == (0.8, 1.2)


def test_stretches_are_runs_of_indices():
    assert stretches(np.array([], int)) == []
    assert stretches(np.array([0, 1, 2, 7, 9, 10])) == [[0, 2], [7, 7], [9, 10]]


def test_all_faces_and_other_formats(source, tmp_path):
    two = place_faces({0: straight((5, 40), (20, 60), 12), 1: straight((170, 40), (180, 60), 12)}, 12, size=(240, 320))
    write_video(source / "two.mp4", list(two), rate=FPS)
    assert hdf(source, tmp_path / "all", "--all-faces") == 0
    assert {"two_face0.mp4", "two_face1.mp4", "photo_face0.jpg", "deep/frames_face0/3.png"} <= set(
        tree(tmp_path / "all")
    )
    assert journal(tmp_path / "all")["two.mp4"]["outputs"] == ["two_face0.mp4", "two_face1.mp4"]
    assert hdf(source, tmp_path / "mp4", "--format", "mp4") == 0
    assert {"deep/frames.mp4", "two.mp4"} <= set(tree(tmp_path / "mp4"))
    assert len(shown_at(tmp_path / "mp4" / "deep" / "frames.mp4")[0]) == 12
    assert hdf(source, tmp_path / "frames", "--format", "frames") == 0
    assert [f"two/{index:06d}.jpg" for index in range(1, 13)] == [
        name for name in tree(tmp_path / "frames") if name.startswith("two/")
    ]
    assert hdf(source, tmp_path / "single", "--single-images") == 0
    assert len(journal(tmp_path / "single")) == 15


def test_animated_pictures_are_clips_and_clutter_is_none(tmp_path, clip):
    source = tmp_path / "in"
    (source / "@eaDir").mkdir(parents=True)
    first, *others = map(Image.fromarray, clip)
    for name in ("moving.gif", "moving.webp"):
        first.save(source / name, save_all=True, append_images=others, duration=40)
    first.save(source / "still.webp")
    first.save(source / "@eaDir" / "thumb.jpg")
    (source / "Thumbs.db").write_bytes(b"x")
    inventory = find_clips(source, tmp_path / "out")
    assert [(each.name, each.kind) for each in inventory.clips] == [
        ("moving.gif", "video"), ("moving.webp", "video"), ("still.webp", "image"),
    ]  # fmt: skip
    assert inventory.other_files == 0
    assert hdf(source, tmp_path / "out") == 0
    times, duration, _ = shown_at(tmp_path / "out" / "moving.webp.mp4")
    assert len(times) == 12 and duration == Fraction(12 * 40, 1000)


def test_clips_that_differ_in_their_suffix_alone_do_not_replace_each_other(tmp_path):
    for name in ("a.avi", "a.mov", "b.mp4", "photo.bmp", "photo.tif"):
        (tmp_path / name).touch()
    clips = find_clips(tmp_path, tmp_path / "out").clips
    outputs = {clip.name: clip.output(None).relative_to(tmp_path / "out").as_posix() for clip in clips}
    assert outputs == {
        "a.avi": "a.avi.mp4",
        "a.mov": "a.mov.mp4",
        "b.mp4": "b.mp4",
        "photo.bmp": "photo.bmp.png",
        "photo.tif": "photo.tif.png",
    }


def test_folders_that_cannot_be_listed_are_named(source, tmp_path, monkeypatch, capsys):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert hdf(source, tmp_path / "out") == 1
    assert f"{source / 'deep'}: cannot be listed (Permission denied)" in capsys.readouterr().out
    assert (tmp_path / "out" / "photo.jpg").exists()


def test_links_are_followed_and_circles_end(source, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (source / "deep").rename(elsewhere)
    (source / "deep").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(source)
    names = [clip.name for clip in find_clips(source, tmp_path / "out").clips]
    assert names == ["deep/frames", "deep/uneven.mkv", "photo.jpg"]


def test_an_output_folder_inside_the_input_is_not_searched(source):
    assert hdf(source, source / "crops") == 0
    before = tree(source)
    assert hdf(source, source / "crops") == 0
    assert tree(source) == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("in", "in"), "must not be or hold"),
        (("in/deep", "in"), "must not be or hold"),
        (("in", "out", "--margin", "-1"), "margin"),
        (("in", "out", "--max-side", "5"), "max_side"),
        (("empty", "out"), "holds no video and no image"),
    ],
)
def test_wrong_calls_are_named_and_write_nothing(source, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    before = tree(source)
    assert hdf(*arguments) == 1
    assert message in capsys.readouterr().err
    assert tree(source) == before


@pytest.mark.parametrize("field, value", [("size", 63), ("size", 2), ("format", "gif")])
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        CropSettings(**{field: value})


def test_the_function_gives_what_the_command_prints(source, tmp_path):
    summary = crop_folder(source, tmp_path / "out", CropSettings(size=64), workers=1, progress=False)
    assert summary.is_complete and len(summary.of("ok")) == 3 and summary.already_done == 0
    assert not list((tmp_path / "out").rglob(".*"))


def test_frames_whose_names_fall_together_are_all_kept(tmp_path, clip):
    folder = tmp_path / "in" / "frames"
    folder.mkdir(parents=True)
    for name, frame in zip(("1.bmp", "1.bmp.png", "2.bmp"), clip, strict=False):
        Image.fromarray(frame).save(folder / name)
    assert hdf(tmp_path / "in", tmp_path / "out") == 0
    assert tree(tmp_path / "out") == ["faces.jsonl", *(f"frames/00000{number}.jpg" for number in (1, 2, 3))]


def test_a_clip_filmed_sideways_is_cropped_upright_and_named(tmp_path, clip, capsys):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", list(clip), rate=FPS)
    write_video(tmp_path / "in" / "b.mp4", [np.rot90(frame).copy() for frame in clip], rate=FPS)
    assert hdf(tmp_path / "in", tmp_path / "out") == 0
    assert "turned upright:\n  b.mp4 (270 degrees)" in capsys.readouterr().out
    assert [journal(tmp_path / "out")[name]["quarter_turns"] for name in ("a.mp4", "b.mp4")] == [0, 3]
    first, second = (decoded(tmp_path / "out" / name) for name in ("a.mp4", "b.mp4"))
    assert np.abs(first - second).mean() < 8.0 < np.abs(first - np.rot90(second, axes=(1, 2))).mean()
