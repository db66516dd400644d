"""The journal of cropped folders: what it takes for a line, and what it removes and replaces."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from modeling_hdf.faces.journal import Journal
from modeling_hdf.faces.settings import CropSettings


def record(clip="a.mov", outputs=("a.mp4",), status="ok", **fields) -> dict:
    line = {
        "clip": clip,
        "status": status,
        "kind": "video",
        "outputs": list(outputs),
        "settings": asdict(CropSettings()),
        "source": [1, 10, 100],
        "frames": 5,
        "faces": 1,
        "warnings": [],
        "frames_without_face": [[0, 1]],
        "message": "none",
    }
    return line | fields


def write(folder: Path, *lines: bytes | dict, end: bytes = b"\n") -> Path:
    folder.mkdir(exist_ok=True)
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "faces.jsonl").write_bytes(b"\n".join(texts) + end)
    return folder


def make(folder: Path, **files: str) -> Path:
    """Files of these contents by name; `__` stands for `/` and `_mp4` for the suffix."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_mp4", ".mp4").replace("_jpg", ".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "faces.jsonl"
    }


WRONG = {
    "text": b"hello",
    "bytes": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "number": b"5",
    "null": b"null",
    "list": b"[]",
    "empty object": b"{}",
    "not a number": record(frames=float("nan")),
    **{
        f"no {name}": {k: v for k, v in record().items() if k != name}
        for name in record()
        if name not in ("kind", "message")
    },
    "no message": {k: v for k, v in record(status="failed").items() if k != "message"},
    "status": record(status="done"),
    "status of a list": record(status=["ok"]),
    "clip": record(clip=5),
    "outputs a text": record(outputs=()) | {"outputs": "a.mp4"},
    "outputs of numbers": record(outputs=[1]),
    "outputs of lists": record(outputs=[["a"]]),
    "frames a text": record(frames="5"),
    "frames true": record(frames=True),
    "frames negative": record(frames=-1),
    "stretch": record(frames_without_face=[[3]]),
    "stretch backwards": record(frames_without_face=[[3, 1]]),
    "source": record(source=None),
    "warnings": record(warnings=[1]),
    "settings": record(settings=[]),
    "other settings": record(settings={"size": 5}),
    "settings of text": record(settings=asdict(CropSettings()) | {"size": "224"}),
    "settings out of range": record(settings=asdict(CropSettings()) | {"size": 7}),
    "parent": record(outputs=["../victim.mp4"]),
    "parent within": record(outputs=["a/../../victim.mp4"]),
    "absolute": record(outputs=["/etc/passwd"]),
    "folder itself": record(outputs=["."]),
    "empty output": record(outputs=[""]),
    "null byte": record(outputs=["a\0.mp4"]),
    "the journal": record(outputs=["faces.jsonl"]),
    "through a link": record(outputs=["link/victim.mp4"]),
    "of another clip": record(clip="other.mov", outputs=["good.mp4"]),
    "frame files": record(frame_files={"a": ["../b"]}),
    "frame files a list": record(frame_files=["a"]),
}


@pytest.mark.parametrize("line", WRONG.values(), ids=WRONG)
def test_a_line_that_does_not_fit_is_named_and_counts_as_none(tmp_path, line):
    elsewhere = make(tmp_path / "elsewhere", victim_mp4="mine")
    out = write(tmp_path / "out", record("good.mov", ["good.mp4"]), line, record("last.mov", ["last.mp4"]))
    (out / "link").symlink_to(elsewhere)
    before = (out / "faces.jsonl").read_bytes()
    journal = Journal(out)
    assert list(journal.records) == ["good.mov", "last.mov"]
    (problem,) = journal.problems
    assert problem.startswith(f"{out / 'faces.jsonl'}, line 2: ")
    journal.rewrite()
    assert list(Journal(out).records) == ["good.mov", "last.mov"] and not Journal(out).problems
    kept = (out / "faces.rejected.jsonl").read_text()  # what it held is not lost
    assert kept.encode() in before or line == WRONG["bytes"]
    assert tree(elsewhere) == {"victim.mp4": "mine"}


def test_every_status_is_read_back():
    for status in ("ok", "no_face", "failed"):
        assert json.loads(json.dumps(record(status=status)))["status"] == status


def test_the_last_line_may_be_cut_off_without_a_report_but_no_other(tmp_path):
    cut = json.dumps(record("b.mov")).encode()[:-30]
    assert Journal(write(tmp_path, record(), cut, end=b"")).problems == []
    assert list(Journal(tmp_path).records) == ["a.mov"]
    assert len(Journal(write(tmp_path, record(), cut)).problems) == 1  # it ends: nothing was cut off
    assert len(Journal(write(tmp_path, cut, record(), end=b"")).problems) == 1
    assert list(Journal(tmp_path).records) == ["a.mov"]


def test_a_file_of_other_lines_is_put_aside_whole(tmp_path):
    write(tmp_path, b"my notes", b"on faces")
    make(tmp_path, **{"faces.rejected.jsonl": "from an earlier run"})
    journal = Journal(tmp_path)
    journal.rewrite()
    assert tree(tmp_path) == {
        "faces.rejected.jsonl": "from an earlier run",
        "faces.rejected-2.jsonl": "my notes\non faces\n",
    }
    assert "faces.rejected-2.jsonl" in journal.problems[-1]


# ---- Taking crops in ----


def journal_of(out: Path, *records: dict) -> Journal:
    journal = Journal(write(out, *records) if records else out)
    out.mkdir(exist_ok=True)
    journal.rewrite()
    return journal


def test_crops_replace_what_the_journal_lists_for_their_clip(tmp_path):
    out = make(tmp_path / "out", a_face0_mp4="old", a_face1_mp4="old", b_mp4="b", notes="mine")
    journal = journal_of(out, record(outputs=["a_face0.mp4", "a_face1.mp4"]), record("b.mov", ["b.mp4"]))
    made = make(out / ".made", a_face0_mp4="new")
    assert journal.add(record(outputs=["a_face0.mp4"]), made)["status"] == "ok"
    assert tree(out) == {"a_face0.mp4": "new", "b.mp4": "b", "notes": "mine"}
    assert Journal(out).records["a.mov"]["outputs"] == ["a_face0.mp4"]


def test_a_file_that_is_not_listed_is_never_replaced_and_an_equal_one_is_taken_over(tmp_path):
    out = make(tmp_path / "out", a_mp4="mine")
    journal = journal_of(out)
    added = journal.add(record(), make(out / ".made", a_mp4="new"))
    assert added["status"] == "failed" and f"{out / 'a.mp4'}: is there" in added["message"] and added["outputs"] == []
    assert tree(out) == {"a.mp4": "mine"}
    assert journal.add(record(), make(out / ".made", a_mp4="mine"))["status"] == "ok"
    other = journal.add(record("a.avi"), make(out / ".made", a_mp4="mine"))  # equal, but of another clip
    assert other["status"] == "failed" and Journal(out).records["a.mov"]["outputs"] == ["a.mp4"]


FRAMES = {"frame_files": {"a": ["1.jpg", "2.jpg"]}}


def test_of_a_folder_of_frames_only_the_listed_files_are_removed(tmp_path):
    out = make(tmp_path / "out", a__1_jpg="1", a__2_jpg="2")
    journal = journal_of(out, record(outputs=["a"], **FRAMES))
    make(out, a__mine="mine", a__sub__b_mp4="mine")
    added = journal.add(record(outputs=["a"], **FRAMES), make(out / ".made", a__1_jpg="new"))
    assert added["status"] == "failed" and f"{out / 'a'}: holds mine" in added["message"]
    assert added["outputs"] == ["a"] and added["frame_files"] == FRAMES["frame_files"]
    assert tree(out) == {"a/1.jpg": "1", "a/2.jpg": "2", "a/mine": "mine", "a/sub/b.mp4": "mine"}
    # Another place: the listed files go, the others stay.
    assert journal.add(record(outputs=["a.mp4"]), make(out / ".made", a_mp4="new"))["status"] == "ok"
    assert tree(out) == {"a.mp4": "new", "a/mine": "mine", "a/sub/b.mp4": "mine"}


def test_a_folder_of_frames_is_replaced_whole(tmp_path):
    out = make(tmp_path / "out", a__1_jpg="1", a__2_jpg="2")
    journal = journal_of(out, record(outputs=["a"], **FRAMES))
    new = record(outputs=["a"], frame_files={"a": ["2.jpg", "3.jpg"]})
    assert journal.add(new, make(out / ".made", a__2_jpg="new", a__3_jpg="new"))["status"] == "ok"
    assert tree(out) == {"a/2.jpg": "new", "a/3.jpg": "new"}


def test_a_failed_clip_keeps_its_crops(tmp_path):
    out = make(tmp_path / "out", a_mp4="old")
    journal = journal_of(out, record())
    assert journal.add(record(outputs=(), status="failed"), out / ".made")["outputs"] == ["a.mp4"]
    assert tree(out) == {"a.mp4": "old"}
    journal.add(record(outputs=(), status="no_face"), out / ".made")
    assert tree(out) == {}


def test_links_are_removed_and_never_followed(tmp_path):
    elsewhere = make(tmp_path / "elsewhere", **{"1_jpg": "mine", "victim_mp4": "mine"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").symlink_to(elsewhere)
    (out / "a.mp4").symlink_to(elsewhere / "victim.mp4")
    journal = journal_of(out, record(outputs=["a", "a.mp4"], frame_files={"a": ["1.jpg"]}))
    assert journal.add(record(outputs=["b.mp4"]), make(out / ".made", b_mp4="new"))["status"] == "ok"
    assert tree(elsewhere) == {"1.jpg": "mine", "victim.mp4": "mine"}
    assert sorted(os.listdir(out)) == ["b.mp4", "faces.jsonl"]


def test_crops_are_not_written_through_a_link_that_leads_out(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").symlink_to(tmp_path / "elsewhere")
    journal = journal_of(tmp_path / "out")
    made = make(tmp_path / "out" / ".made", deep__a_mp4="new")
    added = journal.add(record(outputs=["deep/a.mp4"]), made)
    assert added["status"] == "failed" and "link leads out" in added["message"]
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    out = make(tmp_path / "out", deep="mine")
    added = journal_of(out).add(record(outputs=["deep/a.mp4"]), make(out / ".made", deep__a_mp4="new"))
    assert added["status"] == "failed" and f"{out / 'deep'}: is a file" in added["message"]


class Killer:
    """Breaks off at a call that changes the folder, counted over all of them."""

    def __init__(self, allowed: int):
        self.allowed, self.count = allowed, 0

    def __call__(self, real):
        def counted(*arguments, **options):
            self.count += 1
            if self.count > self.allowed:
                raise SystemExit
            return real(*arguments, **options)

        return counted


def test_a_process_killed_at_any_step_leaves_no_crop_that_the_next_run_takes_for_a_file_of_the_user(
    tmp_path, monkeypatch
):
    for allowed in range(16):
        out = make(tmp_path / str(allowed), a__1_jpg="1", a__2_jpg="2", b_mp4="old")
        journal = journal_of(out, record(outputs=["a", "b.mp4"], **FRAMES))
        new = record(outputs=["a", "b.mp4"], frame_files={"a": ["1.jpg"]})
        made = make(out / ".made", a__1_jpg="new", b_mp4="new")
        killer = Killer(allowed)
        with monkeypatch.context() as patched:
            for name in ("unlink", "rmdir", "replace", "fsync"):
                patched.setattr(os, name, killer(getattr(os, name)))
            try:
                journal.add(new, made)
            except SystemExit:
                pass
        again = Journal(out)
        again.rewrite()
        added = again.add(new, make(out / ".again", a__1_jpg="newer", b_mp4="newer"))
        assert not again.problems and added["status"] == "ok", (allowed, added.get("message"))
        assert {name: text for name, text in tree(out).items() if name[0] != "."} == {
            "a/1.jpg": "newer",
            "b.mp4": "newer",
        }
    assert 5 < killer.count <= allowed  # the last round was not broken off
