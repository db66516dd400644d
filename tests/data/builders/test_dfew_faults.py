"""DFEW: missing and damaged clips, wrong lines, and wrong options, each named."""

import shutil
from pathlib import Path

import pytest
from dfew_builders import prepare, rows_of, split_csv
from trees import NUM_FRAMES, VOTE_COLUMNS, check_rows, write_dfew, write_frames, write_votes

from modeling_hdf.file_kinds_hdf import frame_files


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "DFEW"


def test_files_of_two_bases_are_refused(root):
    write_dfew(root, base=1)
    path = split_csv(root, "test")
    path.write_text("video_name,label\n108,0\n113,1\n118,6\n")
    with pytest.raises(ValueError, match=r"run from 0 .*line 2.* to 7 .*0 to 6 or 1 to 7"):
        rows_of(root)


@pytest.mark.parametrize("label", ["8", "-1"])
def test_a_label_outside_the_classes_is_refused_with_its_line(root, label):
    write_dfew(root)
    path = split_csv(root, "train")
    path.write_text(path.read_text().replace("3,1\n", f"3,{label}\n", 1))
    with pytest.raises(ValueError, match=r"set_1.csv, line 2"):
        rows_of(root)


def test_two_different_copies_of_a_split_file_are_refused(root):
    write_dfew(root)
    folder = root / "EmoLabel_DataSplit"
    shutil.copytree(folder / "train(single-labeled)", folder / "train(single_labeled)")
    assert len(rows_of(root)["test"]) == 7  # equal copies are no conflict
    copy = folder / "train(single_labeled)" / "set_1.csv"
    copy.write_text(copy.read_text().replace("3,1\n", "3,2\n", 1))
    with pytest.raises(ValueError, match=r"train\(single-labeled\)/set_1.csv and .*train\(single_labeled\)"):
        rows_of(root)


def test_a_clip_that_lies_there_twice_is_refused(root):
    write_dfew(root)
    write_frames(root / "Clip/clip_224x224/3", ["1.jpg"])
    with pytest.raises(ValueError, match="'00003' and '3'"):
        rows_of(root)


def test_a_workbook_without_a_class_is_refused(root):
    expected = write_dfew(root)
    write_votes(root, expected, [*VOTE_COLUMNS[:3], "3other", *VOTE_COLUMNS[4:]])
    with pytest.raises(ValueError, match=r"annotation.xlsx: names no column for neutral"):
        rows_of(root)


def test_a_missing_clip_fails_by_name_and_nothing_takes_its_place(root):
    expected = write_dfew(root)
    gone = root / "Clip/clip_224x224/00003"
    shutil.rmtree(gone)
    with pytest.raises(ValueError, match=rf"(?s)1 of 28 listed clips.*{gone}"):
        rows_of(root)
    for allowed in (1, 0.04):
        builder = prepare(root, max_missing=allowed)
        check_rows(builder.as_dataset(), [clip for clip in expected if clip.number != 3])
        assert [clip.clip_id for clip in builder.check_result.problems["missing"]] == ["3"]
    with pytest.raises(ValueError, match="allows 0"):
        rows_of(root, max_missing=0.03)


def test_a_folder_without_frames_and_an_empty_video_count_as_missing(root, tmp_path):
    write_dfew(root)
    for frame in (root / "Clip/clip_224x224/00003").iterdir():
        frame.unlink()
    with pytest.raises(ValueError, match=r"(?s)empty: 1.*00003: the folder holds no frame"):
        rows_of(root)
    other = tmp_path / "other" / "DFEW"
    write_dfew(other, "original")
    (other / "Clip/original/00003.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)empty: 1.*00003.mp4: the file is empty"):
        rows_of(other)


def test_a_folder_that_cannot_be_read_is_named(root, monkeypatch):
    write_dfew(root)
    folder = str(root / "Clip/clip_224x224/00003")

    def refuse(path):
        if path == folder:
            raise PermissionError(13, "Permission denied", path)
        return frame_files(path)

    monkeypatch.setattr("modeling_hdf.data.builders.clip_files.frame_files", refuse)
    with pytest.raises(ValueError, match=rf"(?s)unreadable: 1.*{folder}: cannot be read \(Permission denied\)"):
        rows_of(root)


def test_short_clips_are_used_and_reported(root):
    write_dfew(root)
    builder = prepare(root)
    assert NUM_FRAMES < 16
    assert len(builder.check_result.problems["short"]) == 28
    assert sum(builder.as_dataset().num_rows.values()) == 28


@pytest.mark.parametrize(
    "split, line, message",
    [
        ("train", "3,2", r"'3' is listed as happiness \(.*line 2\) and as sadness \(.*line 23\)"),
        ("train", "00003,2", r"'00003' is listed as happiness .* and as sadness"),
        ("test", "3,1", r"'3' is listed for train \(.*\) and for test"),
        ("train", "3,happy", r"line 23: label 'happy' among labels like '1'"),
        ("train", "abc,1", r"line 23: 'abc' is not the number of a clip"),
        ("train", "3", r"line 23: has 1 cells, but the first line names 2 columns"),
    ],
)
def test_a_bad_line_is_refused_with_its_place(root, split, line, message):
    write_dfew(root)
    path = split_csv(root, split)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=message):
        rows_of(root)


def test_a_clip_listed_twice_alike_is_used_once(root):
    expected = write_dfew(root)
    path = split_csv(root, "train")
    path.write_text(path.read_text() + "3,1\n")
    builder = prepare(root)
    check_rows(builder.as_dataset(), expected)
    assert "1 clips are listed more than once" in str(builder.check_result)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"config_name": None}, "fold1, fold2, fold3, fold4, fold5"),
        ({"config_name": "fold6"}, "fold1, fold2"),
        ({"data_dir": None}, "`data_dir` is missing"),
        ({"validation_fraction": 0.0}, "`validation_fraction`"),
        ({"max_missing": 1.5}, "`max_missing`"),
        ({"max_missing": -1}, "`max_missing`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_a_bad_option_is_refused_by_name(root, options, message):
    write_dfew(root)
    with pytest.raises(ValueError, match=message):
        rows_of(root, **options)


def test_folders_that_do_not_exist_are_named(root):
    with pytest.raises(FileNotFoundError, match="DFEW: no such folder"):
        rows_of(root)
    write_dfew(root)
    with pytest.raises(FileNotFoundError, match=r"set_2.csv"):
        rows_of(root, config_name="fold2")
