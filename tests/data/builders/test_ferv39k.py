"""FERV39k: files without a header, labels by name, doubled folders, and validation by whole scenes."""

import re
from pathlib import Path

import pytest
from trees import OURS, SCENES, check_rows, single, unpadded, write_ferv39k

from modeling_hdf.data import FERV39k, class_counts


def prepare(root: Path, **options) -> FERV39k:
    builder = FERV39k(data_dir=str(root), cache_dir=str(root.parent / "cache"), **options)
    builder.download_and_prepare()
    return builder


def rows_of(root: Path, **options):
    return prepare(root, **options).as_dataset()


def split_csv(root: Path, split: str) -> Path:
    return root / "4_setups" / "All_scenes" / f"{split}_All.csv"


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "FERV39k"


@pytest.mark.parametrize(
    "clips",
    [
        "2_ClipsforFaceCrop",
        "2_ClipsforFaceCrop/2_ClipsforFaceCrop",
        "2_ClipsforFaceCrop-002/2_ClipsforFaceCrop",
        "3_ClipsforScenImages",
    ],
)
def test_every_layout_loads_with_its_labels_and_frame_order(root, clips):
    expected = write_ferv39k(root, clips, naming=unpadded)
    splits = rows_of(root)
    check_rows(splits, expected)
    for rows in splits.values():
        for row in rows:
            assert row["scene"] == row["clip_id"].split("/")[0]
            assert row["fold"] is None and row["votes"] is None


def test_the_first_clip_of_a_file_without_a_header_is_not_lost(root):
    expected = write_ferv39k(root)
    assert expected[0].clip_id == "Action/Happy/0009"
    splits = rows_of(root)
    assert expected[0].clip_id in {*splits["train"]["clip_id"], *splits["validation"]["clip_id"]}
    assert expected[2].clip_id == splits["test"][0]["clip_id"]


@pytest.mark.parametrize("header", ["path label", "video_name,label", "clip emotion"])
def test_a_header_is_no_clip(root, header):
    expected = write_ferv39k(root, header=header)
    check_rows(rows_of(root), expected)


def test_a_byte_order_mark_and_other_line_ends_are_no_part_of_a_clip(root):
    expected = write_ferv39k(root)
    for split in ("train", "test"):
        text = split_csv(root, split).read_text()
        split_csv(root, split).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    check_rows(rows_of(root), expected)


def test_face_crops_are_preferred_and_both_forms_reported(root):
    write_ferv39k(root, "3_ClipsforScenImages")
    expected = write_ferv39k(root)
    builder = prepare(root)
    assert "/2_ClipsforFaceCrop/" in builder.as_dataset(split="test")[0]["clip"]["frames"][0]
    assert "not used: scenes" in str(builder.check_result)
    scenes = rows_of(root, variant="scenes")
    check_rows(scenes, expected)
    assert "/3_ClipsforScenImages/" in scenes["test"][0]["clip"]["frames"][0]


def test_clips_in_two_unpacked_parts_are_all_found(root):
    expected = write_ferv39k(root)
    (root / "2_ClipsforFaceCrop-002").mkdir()
    (root / "2_ClipsforFaceCrop/War").rename(root / "2_ClipsforFaceCrop-002/War")
    check_rows(rows_of(root), expected)


def test_numbers_for_classes_are_refused(root):
    write_ferv39k(root, naming=single)
    path = split_csv(root, "train")
    path.write_text("path,id\n" + re.sub(" [A-Z].*", ",3", path.read_text()))
    with pytest.raises(ValueError, match=r"train_All.csv, line 2: label '3' is a number.*two orders"):
        rows_of(root)


@pytest.mark.parametrize(
    "line, message",
    [
        ("Action/Sad/0010 Sadly", r"train_All.csv, line 29: unknown label 'Sadly'"),
        ("Action/Happy/0009 Sad", r"'Action/Happy/0009' is listed as happiness .*line 1\) and as sadness .*line 29"),
        ("Action/0010 Sad", r"line 29: expected a clip such as 'Action/Sad/0010'"),
        ("Action/Sad/face Sad", r"line 29: 'face' is not the number of a clip"),
        ("Action/Sad/0011 Sad", r"'Action/Sad/0011' is listed for train .* and for test"),
    ],
)
def test_a_bad_line_is_refused_with_its_place(root, line, message):
    write_ferv39k(root, naming=single)
    path = split_csv(root, "train")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=message):
        rows_of(root)


def test_a_label_that_differs_from_the_folder_is_used_and_noted(root):
    write_ferv39k(root, naming=single)
    path = split_csv(root, "test")
    path.write_text(path.read_text().replace("Action/Happy/0011 Happy", "Action/Happy/0011 Fear"))
    builder = prepare(root)
    assert builder.as_dataset(split="test")[0]["label"] == OURS.index("fear")
    assert "1 clips lie in the folder of another class than their label" in str(builder.check_result)


def test_a_missing_clip_is_named_with_its_path(root):
    write_ferv39k(root, naming=single)
    (root / "2_ClipsforFaceCrop/War/Fear/0010").rename(root / "gone")
    with pytest.raises(
        ValueError, match=rf"(?s)1 of 42.*War/Fear/0010 \(fear.*{root}/2_ClipsforFaceCrop/War/Fear/0010"
    ):
        rows_of(root)


def test_validation_takes_whole_scenes(root):
    write_ferv39k(root, scenes=(*SCENES, "Crisis", "DailyLife", "School", "Terror", "Speech", "Crime"), naming=single)
    splits = rows_of(root, validation_fraction=0.25)
    scenes = {split: set(rows["scene"]) for split, rows in splits.items()}
    assert len(scenes["validation"]) == 2 and scenes["validation"].isdisjoint(scenes["train"])
    assert len(scenes["test"]) == 8
    assert class_counts(splits["validation"]) == dict.fromkeys(OURS, 4)
    other = {frozenset(rows_of(root, validation_fraction=0.25, seed=seed)["validation"]["scene"]) for seed in range(4)}
    assert len(other) > 1


def test_validation_may_be_cut_clip_by_clip(root):
    write_ferv39k(root, naming=single)
    splits = rows_of(root, validation_fraction=0.5, scene_disjoint=False)
    assert class_counts(splits["validation"]) == dict.fromkeys(OURS, 2)
    assert set(splits["validation"]["scene"]) & set(splits["train"]["scene"])


def test_the_peer_protocol_leaves_train_whole(root):
    write_ferv39k(root, naming=single)
    splits = rows_of(root, peer_protocol=True)
    assert splits.num_rows == {"train": 28, "validation": 14, "test": 14}
    assert splits["validation"][:] == splits["test"][:]


def test_there_are_no_folds(root):
    write_ferv39k(root, naming=single)
    with pytest.raises(ValueError, match="FERV39k has the configurations default"):
        prepare(root, config_name="fold1")


def test_streaming_yields_the_same_rows(root):
    write_ferv39k(root, naming=single)
    stored = rows_of(root)
    streamed = FERV39k(data_dir=str(root), cache_dir=str(root / "new")).as_streaming_dataset()
    for split, rows in streamed.items():
        assert list(rows) == list(stored[split])
