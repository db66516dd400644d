"""`hdf data faces` on a folder that an earlier run has filled."""

import json
import os
from pathlib import Path

import pytest
from face_clips import FPS, place_faces
from faces_command import hdf, journal, shown_at, tree
from PIL import Image
from video_files import write_video


def test_a_second_run_does_what_is_missing_and_nothing_else(source, tmp_path, capsys):
    out = tmp_path / "out"
    hdf(source, out)
    before = {name: (out / name).stat().st_mtime_ns for name in tree(out) if name != "faces.jsonl"}
    (out / "photo.jpg").unlink()
    capsys.readouterr()
    assert hdf(source, out) == 0
    assert "3 cropped, 0 without a face, 0 failed (2 were done before)" in capsys.readouterr().out
    after = {name: (out / name).stat().st_mtime_ns for name in tree(out) if name != "faces.jsonl"}
    assert {name for name in before if after[name] != before[name]} == {"photo.jpg"}


def test_a_changed_clip_is_done_again(source, tmp_path, clip):
    out = tmp_path / "out"
    hdf(source, out)
    write_video(source / "deep" / "uneven.mkv", list(clip[:6]), rate=30)
    (source / "deep" / "frames" / "12.png").unlink()
    assert hdf(source, out) == 0
    assert len(shown_at(out / "deep" / "uneven.mp4")[0]) == 6
    assert "deep/frames/12.png" not in tree(out) and "deep/frames/11.png" in tree(out)


def test_other_settings_are_not_mixed_in(source, tmp_path, capsys):
    out = tmp_path / "out"
    hdf(source, out)
    assert hdf(source, out, "--margin", "0.3") == 1
    assert "margin=0.1" in capsys.readouterr().err
    assert hdf(source, out, "--margin", "0.3", "--overwrite") == 0
    assert {record["settings"]["margin"] for record in journal(out).values()} == {0.3}


def test_bad_clips_are_named_the_others_are_done_and_failures_are_tried_again(source, tmp_path, clip, capsys):
    video = (source / "deep" / "uneven.mkv").read_bytes()
    write_video(source / "cut.mp4", list(clip), rate=FPS)
    whole = (source / "cut.mp4").read_bytes()
    (source / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # the index of an MP4 is at its end
    (source / "cut.jpg").write_bytes((source / "photo.jpg").read_bytes()[:1500])
    (source / "empty.mov").touch()
    (source / "deep" / "frames" / "7.png").write_bytes(b"")
    write_video(source / "wall.mp4", list(place_faces({}, 10)), rate=FPS)
    out = tmp_path / "out"
    assert hdf(source, out) == 1
    printed = capsys.readouterr().out
    assert "7 clips: 2 cropped, 1 without a face, 4 failed" in printed
    for name in ("cut.mp4", "cut.jpg", "empty.mov", "deep/frames/7.png"):
        assert f"{source / name}: " in printed
    assert "wall.mp4 (10 frames)" in printed
    assert tree(out) == ["deep/uneven.mp4", "faces.jsonl", "photo.jpg"]

    (source / "cut.mp4").write_bytes(whole)
    os.utime(source / "cut.mp4", ns=(0, 0))
    assert hdf(source, out) == 1
    assert "3 cropped, 1 without a face, 3 failed (3 were done before)" in capsys.readouterr().out
    assert (source / "deep" / "uneven.mkv").read_bytes() == video  # the input is never touched


def test_crops_are_kept_when_their_clip_can_no_longer_be_read(source, tmp_path):
    out = tmp_path / "out"
    hdf(source, out)
    (source / "deep" / "uneven.mkv").write_bytes(b"broken")
    assert hdf(source, out) == 1
    assert journal(out)["deep/uneven.mkv"]["status"] == "failed" and (out / "deep" / "uneven.mp4").exists()


def test_a_cut_off_line_of_the_journal_costs_one_clip_alone(source, tmp_path, capsys):
    out = tmp_path / "out"
    hdf(source, out)
    lines = (out / "faces.jsonl").read_text()
    (out / "faces.jsonl").write_text(lines[: len(lines) - 40])
    capsys.readouterr()
    assert hdf(source, out) == 0
    assert "3 cropped, 0 without a face, 0 failed (2 were done before)" in capsys.readouterr().out
    assert len(journal(out)) == 3


@pytest.fixture
def mixed(tmp_path, clip) -> Path:
    """A folder of a video and two pictures, as a phone makes it, within the input folder."""
    folder = tmp_path / "in" / "holiday"
    folder.mkdir(parents=True)
    write_video(folder / "a.mp4", list(clip), rate=FPS)
    for name in ("1.jpg", "2.jpg"):
        Image.fromarray(clip[0]).save(folder / name)
    return tmp_path / "in"


def test_pictures_beside_a_video_are_cropped_one_by_one_in_every_run(mixed, tmp_path, clip, capsys):
    out = tmp_path / "out"
    expected = ["faces.jsonl", "holiday/1.jpg", "holiday/2.jpg", "holiday/a.mp4"]
    assert hdf(mixed, out) == 0 and tree(out) == expected
    assert "so their pictures are cropped one by one:\n  holiday" in capsys.readouterr().out
    Image.fromarray(clip[1]).save(mixed / "holiday" / "2.jpg")
    assert hdf(mixed, out) == 0 and tree(out) == expected
    assert hdf(mixed, out, "--overwrite") == 0 and tree(out) == expected
    assert hdf(mixed, tmp_path / "all", "--all-faces") == 0
    assert tree(tmp_path / "all") == [
        "faces.jsonl",
        *(f"holiday/{x}" for x in ("1_face0.jpg", "2_face0.jpg", "a_face0.mp4")),
    ]


def test_a_frame_folder_that_becomes_a_folder_of_clips_gives_way_with_overwrite_alone(mixed, tmp_path, capsys):
    out = tmp_path / "out"
    (mixed / "holiday" / "a.mp4").rename(tmp_path / "a.mp4")
    assert hdf(mixed, out) == 0
    assert journal(out)["holiday"]["outputs"] == ["holiday"]
    (out / "holiday" / "mine.txt").write_text("mine")
    (tmp_path / "a.mp4").rename(mixed / "holiday" / "a.mp4")
    before = {name: (out / name).read_bytes() for name in tree(out) if name != "faces.jsonl"}
    assert hdf(mixed, out) == 1  # there is no place for them
    assert "would be at, in or around that of holiday" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in before} == before
    assert hdf(mixed, out, "--overwrite") == 0
    assert tree(out) == ["faces.jsonl", "holiday/1.jpg", "holiday/2.jpg", "holiday/a.mp4", "holiday/mine.txt"]
    assert (out / "holiday" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("arguments", [(), ("--overwrite",)])
def test_files_of_the_user_stay(source, tmp_path, capsys, arguments):
    out = tmp_path / "out"
    mine = {"photo.jpg": b"mine", "deep/frames/notes.txt": b"mine", "deep/uneven.mp4/x": b"mine", "y": b"mine"}
    for name, content in mine.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    assert hdf(source, out, *arguments) == 1
    printed = capsys.readouterr().out
    for name in ("photo.jpg: is there", "deep/frames: holds notes.txt", "deep/uneven.mp4: holds x"):
        assert f"{out}/{name}" in printed
    assert {name: (out / name).read_bytes() for name in mine} == mine
    assert tree(out) == sorted([*mine, "faces.jsonl"])


def test_wrong_lines_of_the_journal_are_named_and_their_clips_are_done_again(source, tmp_path, capsys):
    out, victim = tmp_path / "out", tmp_path / "victim.mp4"
    hdf(source, out)
    victim.write_text("mine")
    lines = (out / "faces.jsonl").read_text().splitlines()
    assert '"photo.jpg"' in lines[2]
    wrong = json.loads(lines[1]) | {"outputs": ["../victim.mp4"], "source": [1, 2, 3]}
    (out / "faces.jsonl").write_text("\n".join([lines[0], "hello", json.dumps(wrong), lines[2], ""]))
    capsys.readouterr()
    assert hdf(source, out) == 0
    printed = capsys.readouterr().out
    assert f"{out / 'faces.jsonl'}, line 2: is not JSON" in printed
    assert f"{out / 'faces.jsonl'}, line 3: `outputs`" in printed
    assert "3 cropped, 0 without a face, 0 failed (2 were done before)" in printed
    assert victim.read_text() == "mine" and len(journal(out)) == 3
    assert (out / "faces.rejected.jsonl").read_text().startswith("hello\n")
    assert hdf(source, out) == 0
    assert "do not fit" not in capsys.readouterr().out


def test_frames_that_were_deleted_from_the_output_are_made_again(source, tmp_path):
    out = tmp_path / "out"
    hdf(source, out)
    (out / "deep" / "frames" / "5.png").unlink()
    assert hdf(source, out) == 0 and (out / "deep" / "frames" / "5.png").exists()


@pytest.fixture
def alike(tmp_path, clip) -> Path:
    """A folder with two videos whose names differ in the suffix alone."""
    folder = tmp_path / "alike"
    folder.mkdir()
    for name in ("a.mkv", "a.mov"):
        write_video(folder / name, list(clip[:4]), rate=FPS)
    return folder


def test_a_pattern_leaves_the_crops_of_other_clips_and_the_names_alone(alike, tmp_path, capsys):
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert hdf(alike, out, "--only", "*.mkv") == 0
    assert "1 clips: 1 cropped" in capsys.readouterr().out
    first = (out / "a.mkv.mp4").read_bytes()
    assert hdf(alike, out, "--only", "*.mov", "--overwrite") == 0
    assert (out / "a.mkv.mp4").read_bytes() == first and list(journal(out)) == ["a.mkv", "a.mov"]
    hdf(alike, whole)
    assert set(tree(whole)) == set(tree(out)) == {"a.mkv.mp4", "a.mov.mp4", "faces.jsonl"}


def test_a_pattern_with_other_settings_is_refused_because_the_other_crops_would_stay(alike, tmp_path, capsys):
    out = tmp_path / "out"
    hdf(alike, out)
    before = tree(out)
    assert hdf(alike, out, "--margin", "0.3", "--only", "*.mov", "--overwrite") == 1
    assert "margin=0.1; give the same, another folder, or --overwrite without --only" in capsys.readouterr().err
    assert tree(out) == before
    assert hdf(alike, out, "--only", "*.mov", "--overwrite") == 0
