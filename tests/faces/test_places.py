"""Which clips a folder holds, and that no crop lies at the place of another, in it or around it."""

from pathlib import Path

import pytest

from modeling_hdf.faces.folders import find_clips
from modeling_hdf.faces.places import place_clips


def outputs(clips, target, face=None) -> dict[str, str]:
    return {clip.name: clip.output(face).relative_to(target).as_posix() for clip in clips}


def apart(paths: list[str]) -> bool:
    """Reference: no path equals or holds another, pair by pair."""
    return not any(
        first is not second and Path(second).is_relative_to(first) for first in paths for second in paths
    ) and len(set(paths)) == len(paths)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_folder_is_a_clip_if_it_holds_frames_alone(tmp_path):
    source = touch(
        tmp_path / "in",
        *("holiday/a.mp4", "holiday/1.jpg", "holiday/2.jpg"),
        *("clip/1.jpg", "clip/2.jpg", "clip/notes.txt"),
        *("outer/1.jpg", "outer/2.jpg", "outer/deep/inner/1.jpg", "outer/deep/inner/2.jpg"),
        *("1.jpg", "2.jpg", "alone/1.jpg"),
    )
    inventory = find_clips(source, tmp_path / "out")
    assert {clip.name: clip.kind for clip in inventory.clips} == {
        "1.jpg": "image",
        "2.jpg": "image",
        "alone/1.jpg": "image",
        "clip": "frames",
        "holiday/1.jpg": "image",
        "holiday/2.jpg": "image",
        "holiday/a.mp4": "video",
        "outer/1.jpg": "image",
        "outer/2.jpg": "image",
        "outer/deep/inner": "frames",
    }
    assert inventory.mixed == ["holiday", "outer"]


@pytest.mark.parametrize("output_format", ["same", "mp4", "frames"])
@pytest.mark.parametrize("all_faces", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ["a.avi", "a.mov", "a.avi.mov"],
        ["a.mov", "a/b.mp4"],
        ["a.mov", "a/1.jpg", "a/2.jpg"],
        ["a.mov", "a.mp4/1.jpg", "a.mp4/2.jpg"],
        ["a.mov", "a.mp4/b.avi"],
        ["x.bmp", "x.png/c.mp4"],
        ["faces.jsonl/1.jpg", "faces.jsonl/2.jpg"],
        ["faces.jsonl/b.mov"],
        ["a.mov", "a_face0/b.mov", "a_face1.mov", "a_face12/1.jpg", "a_face12/2.jpg"],
        ["a_face0/b.mov", "a_face1/b.mov"],
        ["f/1.jpg", "f/2.jpg", "f/sub/1.jpg", "f/sub/2.jpg", "f_face3/a.mov"],
    ],
)
def test_no_output_is_in_another(tmp_path, names, output_format, all_faces):
    source, target = touch(tmp_path / "in", *names), tmp_path / "out"
    found = [(clip.path, clip.kind) for clip in find_clips(source, target, output_format).clips]
    clips = [clip for clip in place_clips(found, source, target, output_format, all_faces) if not clip.obstacle]

    assert len(clips) == len(found) - (names[0] == "faces.jsonl/b.mov")
    faces = (0, 1, 3, 12) if all_faces else (None,)
    written = [clip.output(face).relative_to(target).as_posix() for clip in clips for face in faces]
    assert apart([*written, "faces.jsonl"]), written


def test_names_stay_short_where_they_can(tmp_path):
    source, target = touch(tmp_path / "in", "a_face0/b.mov", "a_face1/b.mov", "c.mov", "d.avi", "d.mov"), tmp_path
    found = [(clip.path, clip.kind) for clip in find_clips(source, target / "out").clips]
    clips = place_clips(found, source, target / "out", "same", True)
    assert outputs(clips, target / "out", 0) == {
        "a_face0/b.mov": "a_face0/b_face0.mp4",
        "a_face1/b.mov": "a_face1/b_face0.mp4",
        "c.mov": "c_face0.mp4",
        "d.avi": "d.avi_face0.mp4",
        "d.mov": "d.mov_face0.mp4",
    }


def test_outputs_of_earlier_runs_are_no_place_for_other_clips(tmp_path):
    source = touch(tmp_path / "in", "a.mov", "b.mov", "c/d.mov", "e/1.jpg")
    found = [(clip.path, clip.kind) for clip in find_clips(source, tmp_path / "out").clips]
    taken = {"a.avi": ["a.mp4"], "b.mov": ["b.mp4"], "c.mov": ["c"], "e/1.jpg": ["e"]}
    clips = place_clips(found, source, tmp_path / "out", "same", taken=taken)
    assert {name: place for name, place in outputs(clips, tmp_path / "out").items() if name[0] in "abe"} == {
        "a.mov": "a.mov.mp4",
        "b.mov": "b.mp4",
        "e/1.jpg": "e/1.jpg",
    }
    (blocked,) = [clip for clip in clips if clip.obstacle]
    assert blocked.name == "c/d.mov" and "c.mov" in blocked.obstacle
