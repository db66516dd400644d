"""`hdf data faces`: mirroring, resuming, failures, kills, full disks."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from face_clips import FPS, hidden, place_faces, straight
from PIL import Image
from video_files import write_video

from modeling_hdf.cli.main import main
from modeling_hdf.faces import writing as face_writing
from modeling_hdf.faces.folder_run import crop_folder
from modeling_hdf.faces.folders import CropSettings, find_clips, stretches

COMMAND = [sys.executable, "-m", "modeling_hdf", "data", "faces"]


def hdf(*arguments) -> int:
    return main(["data", "faces", *map(str, arguments), "--workers", "1", "--size", "64"])


def journal(out: Path) -> dict[str, dict]:
    lines = [json.loads(line) for line in (out / "faces.jsonl").read_text().splitlines()]
    assert len({line["clip"] for line in lines}) == len(lines)
    return {line["clip"]: line for line in lines}


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def shown_at(file: Path) -> tuple[list[Fraction], Fraction, tuple[int, int]]:
    """Times of the frames of a video, its duration and its size, by PyAV alone."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        return times, stream.duration * stream.time_base, (stream.width, stream.height)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Twelve frames of a moving face."""
    return place_faces({0: straight((40, 40), (70, 60), 12)}, 12, size=(240, 320))


@pytest.fixture
def source(tmp_path, clip) -> Path:
    """A folder with a video, a frame folder, a single image and a note."""
    folder = tmp_path / "in"
    (folder / "deep" / "frames").mkdir(parents=True)
    write_video(folder / "deep" / "uneven.mkv", list(clip), pts=[0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16], rate=30)
    for index, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / "deep" / "frames" / f"{index + 1}.png")
    Image.fromarray(clip[0]).save(folder / "photo.jpg")
    (folder / "readme.txt").write_text("not a clip")
    return folder


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


def test_a_full_disk_ends_the_run_with_the_path_and_keeps_what_is_done(source, tmp_path, clip, capsys):
    """The kernel refuses to let a file grow: the same path through FFmpeg as on a full disk."""
    write_video(source / "a_first.mp4", list(clip[:4]), rate=FPS)
    out = tmp_path / "out"
    assert hdf(source, out, "--format", "mp4") == 0
    size = max((out / name).stat().st_size for name in tree(out))
    small = (out / "a_first.mp4").stat().st_size
    assert small + 100 < size
    script = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({small + 50}, resource.RLIM_INFINITY))\n"
        "from modeling_hdf.cli.main import main\n"
        "sys.exit(main(['data', 'faces', *sys.argv[1:]]))\n"
    )
    limited = tmp_path / "limited"
    result = subprocess.run(
        [sys.executable, "-c", script, source, limited, "--size", "64", "--format", "mp4", "--workers", "1"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    assert f"stopped: {limited}/" in result.stderr and "cannot be written (File too large)" in result.stderr
    assert "run the same command again" in result.stderr
    assert "a_first.mp4" in tree(limited) and not [name for name in tree(limited) if "part" in name]
    assert hdf(source, limited, "--format", "mp4") == 0
    assert "(1 were done before)" in capsys.readouterr().out


def test_no_space_left_is_said_as_such(source, tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(face_writing, "_encode", full)
    out = tmp_path / "out"
    assert hdf(source, out) == 1
    printed = capsys.readouterr()
    assert f"stopped: {out / 'deep' / 'uneven.mp4'}: cannot be written (No space left on device)" in printed.err
    assert "deep/frames/1.png" in tree(out) and journal(out)["deep/frames"]["status"] == "ok"


def test_a_killed_run_leaves_no_half_file_and_is_finished_by_the_next(tmp_path, clip):
    """Kills a run with two processes as soon as it has written a clip; also shows that two make what one makes."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_video(source / "00.mp4", list(np.tile(clip, (4, 1, 1, 1))), rate=FPS)
    for index in range(1, 12):
        shutil.copy(source / "00.mp4", source / f"{index:02d}.mp4")
    command = [*COMMAND, source, out, "--size", "64", "--workers", "2"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    written = [path.name for path in out.glob("*.mp4")]
    assert 0 < len(written) < 12
    for name in written:
        assert len(shown_at(out / name)[0]) == 48
    deadline = time.monotonic() + 30
    while _group_is_alive(run.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group_is_alive(run.pid)  # the workers end with their parent

    part = out / "deep" / ".x.hdf-part"
    part.mkdir(parents=True)
    (part / "clip.mp4").write_bytes(b"half")
    assert hdf(source, out) == 0
    assert tree(out) == sorted([f"{index:02d}.mp4" for index in range(12)] + ["faces.jsonl"])
    assert len({(out / f"{index:02d}.mp4").read_bytes() for index in range(12)}) == 1


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_cut_off_line_of_the_journal_costs_one_clip_alone(source, tmp_path, capsys):
    out = tmp_path / "out"
    hdf(source, out)
    lines = (out / "faces.jsonl").read_text()
    (out / "faces.jsonl").write_text(lines[: len(lines) - 40])
    capsys.readouterr()
    assert hdf(source, out) == 0
    assert "3 cropped, 0 without a face, 0 failed (2 were done before)" in capsys.readouterr().out
    assert len(journal(out)) == 3


def test_the_function_gives_what_the_command_prints(source, tmp_path):
    summary = crop_folder(source, tmp_path / "out", CropSettings(size=64), workers=1, progress=False)
    assert summary.is_complete and len(summary.of("ok")) == 3 and summary.already_done == 0
    assert not list((tmp_path / "out").rglob(".*"))


# ---- Nothing of anyone else's is lost ----


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


def test_frames_whose_names_fall_together_are_all_kept(tmp_path, clip):
    folder = tmp_path / "in" / "frames"
    folder.mkdir(parents=True)
    for name, frame in zip(("1.bmp", "1.bmp.png", "2.bmp"), clip, strict=False):
        Image.fromarray(frame).save(folder / name)
    assert hdf(tmp_path / "in", tmp_path / "out") == 0
    assert tree(tmp_path / "out") == ["faces.jsonl", *(f"frames/00000{number}.jpg" for number in (1, 2, 3))]


def test_frames_that_were_deleted_from_the_output_are_made_again(source, tmp_path):
    out = tmp_path / "out"
    hdf(source, out)
    (out / "deep" / "frames" / "5.png").unlink()
    assert hdf(source, out) == 0 and (out / "deep" / "frames" / "5.png").exists()


def test_a_clip_filmed_sideways_is_cropped_upright_and_named(tmp_path, clip, capsys):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", list(clip), rate=FPS)
    write_video(tmp_path / "in" / "b.mp4", [np.rot90(frame).copy() for frame in clip], rate=FPS)
    assert hdf(tmp_path / "in", tmp_path / "out") == 0
    assert "turned upright:\n  b.mp4 (270 degrees)" in capsys.readouterr().out
    assert [journal(tmp_path / "out")[name]["quarter_turns"] for name in ("a.mp4", "b.mp4")] == [0, 3]
    first, second = (decoded(tmp_path / "out" / name) for name in ("a.mp4", "b.mp4"))
    assert np.abs(first - second).mean() < 8.0 < np.abs(first - np.rot90(second, axes=(1, 2))).mean()


def decoded(file: Path) -> np.ndarray:
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


# ---- Two runs, and Ctrl-C ----


def wait_until(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory, clip) -> Path:
    """Clips of which each takes seconds; the first two are short."""
    source = tmp_path_factory.mktemp("long")
    write_video(source / "00.mp4", list(clip), rate=FPS)
    shutil.copy(source / "00.mp4", source / "01.mp4")
    write_video(source / "02.mp4", list(np.tile(clip, (200, 1, 1, 1))), rate=FPS)
    for index in range(3, 6):
        shutil.copy(source / "02.mp4", source / f"{index:02d}.mp4")
    return source


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_at_once_and_keeps_what_is_done(long_clips, tmp_path, capsys, workers):
    out = tmp_path / "out"
    command = [*COMMAND, long_clips, out, "--size", "64", "--workers", str(workers)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_until(lambda: (out / "01.mp4").exists() and (out / "00.mp4").exists())
        assert hdf(long_clips, out) == 1  # meanwhile, a second run
        assert f"`hdf data faces` (process {run.pid} on " in capsys.readouterr().err and run.poll() is None
        started = time.monotonic()
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all processes
        printed, errors = run.communicate(timeout=60)
        taken = time.monotonic() - started
    finally:
        if _group_is_alive(run.pid):
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 130, errors
    assert taken < 6.0  # 2 on a machine that does nothing else; the clips take far longer
    lines = journal(out)
    kept = [name for name in lines if lines[name]["status"] == "ok"]
    assert 2 <= len(kept) < 6
    assert f"6 clips: {len(kept)} cropped" in printed and "Traceback" not in errors
    assert f"stopped: interrupted. The {len(kept)} clips that are done are kept" in errors
    assert tree(out) == sorted([*kept, "faces.jsonl"])  # no crop without its line, nothing half done, no lock


def test_ctrl_c_while_the_workers_start_ends_without_their_errors(long_clips, tmp_path):
    out = tmp_path / "out"
    command = [*COMMAND, long_clips, out, "--size", "64", "--workers", "2", "--quiet"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: (out / "faces.jsonl").exists())
    time.sleep(0.5)
    started = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert time.monotonic() - started < 6.0
    assert run.returncode == 130 and len(errors.splitlines()) == 1 and "interrupted" in errors
