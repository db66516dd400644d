"""DFEW: each form on disk, the label base, votes, splits, and the cache."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from dfew_builders import prepare, rows_of, split_csv
from trees import DFEW_FORMS, OURS, VOTE_COLUMNS, check_rows, write_dfew, write_frames, write_votes

from modeling_hdf.data import DFEW, class_counts, load_clip


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "DFEW"


@pytest.mark.parametrize("form", DFEW_FORMS)
def test_every_form_loads_with_its_labels_and_frame_order(root, form):
    expected = write_dfew(root, form)
    splits = rows_of(root)
    check_rows(splits, expected)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 14, "validation": 7, "test": 7}
    row = splits["test"][0]
    assert row["clip_id"] == "108"  # as the split file writes it, where the folder is 00108
    assert (row["fold"], row["scene"], row["votes"]) == (1, None, None)
    assert (row["clip"]["path"] is None) == (form != "original")


@pytest.mark.parametrize(
    "layout",
    [
        {"spelling": "{split}(single_labeled)"},
        {"spelling": "{split}_single_labeled"},
        {"spelling": "{split}"},
        {"file": "{split}_set_1.csv", "base": 0, "id_format": "{:05d}"},
    ],
    ids=str,
)
def test_every_spelling_of_the_split_files_is_found(root, layout):
    expected = write_dfew(root, **layout)
    check_rows(rows_of(root), expected)


@pytest.mark.parametrize("base", [0, 1])
def test_labels_may_count_from_0_or_from_1(root, base):
    expected = write_dfew(root, base=base)
    builder = prepare(root)
    check_rows(builder.as_dataset(), expected)
    assert f"labels count from {base}" in str(builder.check_result)


def test_a_split_file_of_names_is_mapped_by_name(root):
    expected = write_dfew(root)
    for split in ("train", "test"):
        text = split_csv(root, split).read_text()
        for number, name in enumerate(("Happy", "sad", "Neutral", "ANGRY", "Surprise", "Disgust", "Fear"), start=1):
            text = text.replace(f",{number}\n", f",{name}\n")
        split_csv(root, split).write_text(text)
    check_rows(rows_of(root), expected)


def test_numbers_that_fit_both_bases_need_a_word(root):
    expected = write_dfew(root)
    middle = [clip for clip in expected if clip.label not in ("happiness", "fear")]
    for split in ("train", "test"):
        lines = [line for line in split_csv(root, split).read_text().split("\n") if not line.endswith((",1", ",7"))]
        split_csv(root, split).write_text("\n".join(lines))
    with pytest.raises(ValueError, match="label_base"):
        rows_of(root)
    check_rows(rows_of(root, label_base=1), middle)
    shifted = rows_of(root, label_base=0)["test"]
    assert shifted[0]["label"] == 2  # sadness, 2 in DFEW's count, where the caller says 0


def test_a_given_base_that_does_not_fit_is_refused(root):
    write_dfew(root, base=0)
    with pytest.raises(ValueError, match="count from 1"):
        rows_of(root, label_base=1)


@pytest.mark.parametrize("clips_at", ["Clip/original/original", "DFEW-part2/Clip/original", "original"])
def test_folders_unpacked_into_themselves_or_elsewhere_are_found(root, clips_at):
    expected = write_dfew(root, "original", clips_at=clips_at)
    check_rows(rows_of(root), expected)


@pytest.mark.parametrize("above", ["", "DFEW", "DFEW/DFEW"])
def test_clips_right_beside_the_split_files_are_found_however_many(root, above):
    for number in range(1000, 1250):
        write_frames(root / above / f"{number:05d}", ["1.jpg"])
    expected = write_dfew(root / above, clips_at=".")
    builder = prepare(root)
    check_rows(builder.as_dataset(), expected)
    assert "in no folder of a variant" in str(builder.check_result)


def test_the_folders_looked_for_are_found_beside_many_others(root):
    for number in range(250):
        (root / f"film {number}").mkdir(parents=True)
    expected = write_dfew(root, clips_at="clip_224x224")
    check_rows(rows_of(root), expected)


def test_all_of_it_unpacked_twice_is_found(root):
    expected = write_dfew(root / "DFEW/DFEW", "original", clips_at="Clip/original/original")
    folder = root / "DFEW/DFEW/EmoLabel_DataSplit"
    shutil.move(folder, folder.with_name("new"))
    shutil.move(folder.with_name("new"), folder / "EmoLabel_DataSplit")
    check_rows(rows_of(root), expected)


def test_names_of_split_files_are_found_in_any_case(root):
    expected = write_dfew(root, spelling="{split}(Single-Labeled)", file="Set_1.CSV")
    write_votes(root, expected).rename(root / "Annotation/Annotation.XLSX")
    (root / "EmoLabel_DataSplit").rename(root / "emolabel_datasplit")
    builder = prepare(root)
    check_rows(builder.as_dataset(), expected)
    assert builder.as_dataset(split="test")[0]["votes"] is not None


def test_labels_that_pandas_made_floats_are_read(root):
    expected = write_dfew(root)
    for split in ("train", "test"):
        path = split_csv(root, split)
        path.write_text(path.read_text().replace("\n", ".0\n").replace("label.0", "label"))
    check_rows(rows_of(root), expected)


def test_of_several_forms_the_preferred_is_taken_and_said(root):
    expected = write_dfew(root, "clip_224x224_16f")
    write_dfew(root, "clip_224x224")
    write_dfew(root, "original")
    builder = prepare(root)
    row = builder.as_dataset(split="test")[0]
    assert "/clip_224x224/" in row["clip"]["frames"][0]
    assert "not used: clip_224x224_16f, original" in str(builder.check_result)
    chosen = rows_of(root, variant="clip_224x224_16f")
    check_rows(chosen, expected)
    assert "/clip_224x224_16f/" in chosen["test"][0]["clip"]["frames"][0]


def test_an_absent_or_unknown_form_is_refused(root):
    write_dfew(root, "original")
    with pytest.raises(FileNotFoundError, match="jpg_256"):
        rows_of(root, variant="jpg_256")
    with pytest.raises(ValueError, match="'mp4'.*clip_224x224"):
        rows_of(root, variant="mp4")
    shutil.rmtree(root / "Clip")
    with pytest.raises(FileNotFoundError, match=r"holds no folder of clips.*clip_224x224"):
        rows_of(root)


def test_clips_may_lie_in_a_folder_of_ones_own(root, tmp_path):
    expected = write_dfew(root, "original")
    crops = tmp_path / "crops"
    for clip in expected:
        write_frames(crops / f"{clip.number:05d}", [f"{index}.jpg" for index in range(12)], clip.number)
    splits = rows_of(root, clips_dir=str(crops))
    check_rows(splits, expected)
    assert str(crops) in splits["test"][0]["clip"]["frames"][0]


def test_votes_are_read_by_the_names_of_the_columns(root):
    expected = write_dfew(root)
    order = [0, 7, 6, 5, 4, 3, 2, 1, 8]
    path = write_votes(root, expected, [VOTE_COLUMNS[index] for index in order])
    splits = rows_of(root)
    row = splits["test"][1]
    # The columns were written in order happy ... fear under headers that run from fear to happy.
    assert (OURS[row["label"]], row["votes"]) == ("sadness", [0, 0, 0, 0, 0, 6, 113 % 4])
    write_votes(root, expected)
    for row in rows_of(root)["train"]:
        votes = [6 * (index == row["label"]) for index in range(7)]
        votes[0] += int(row["clip_id"]) % 4
        assert row["votes"] == votes
    path.unlink()
    assert rows_of(root)["test"]["votes"] == [None] * 7


def test_a_corrected_label_reaches_the_rows_in_spite_of_the_cache(root):
    write_dfew(root)
    first = prepare(root)
    again = prepare(root)
    assert again.cache_dir == first.cache_dir and again.check_result is None  # the second reads the cache
    path = split_csv(root, "test")
    path.write_text(path.read_text().replace("108,1\n", "108,7\n"))
    corrected = prepare(root)
    assert corrected.cache_dir != first.cache_dir
    labels = {row["clip_id"]: row["label"] for row in corrected.as_dataset(split="test")}
    assert labels["108"] == 6


def test_a_clip_that_arrives_reaches_the_rows_in_spite_of_the_cache(root):
    write_dfew(root)
    clip = root / "Clip/clip_224x224/00108"
    shutil.move(clip, root / "elsewhere")
    assert len(rows_of(root, max_missing=1)["test"]) == 6
    shutil.move(root / "elsewhere", clip)
    assert len(rows_of(root, max_missing=1)["test"]) == 7
    (clip / "00108_00012.jpg").unlink()
    rows = rows_of(root, max_missing=1)["test"]
    assert [len(row["clip"]["frames"]) for row in rows if row["clip_id"] == "108"] == [11]


@pytest.mark.parametrize("inner", ["", "00108"])
def test_a_frame_repaired_in_place_reaches_the_rows_in_spite_of_the_cache(root, inner):
    write_dfew(root)
    clip = root / "Clip/clip_224x224/00108"
    if inner:  # unpacked into a folder of its own name
        shutil.move(clip, root / inner)
        clip.mkdir()
        shutil.move(root / inner, clip)
    frame = clip / inner / "00108_00005.jpg"
    content = frame.read_bytes()
    frame.write_bytes(b"")
    options = {"max_missing": 1, "depth": "headers"}
    assert len(rows_of(root, **options)["test"]) == 6
    frame.write_bytes(content)
    assert len(rows_of(root, **options)["test"]) == 7


def test_votes_that_change_reach_the_rows_in_spite_of_the_cache(root):
    expected = write_dfew(root)
    path = write_votes(root, expected)
    before = rows_of(root)["test"]["votes"]
    path.unlink()
    write_votes(root, [*expected[:-1], expected[0]])
    assert rows_of(root)["test"]["votes"] != before


def test_streaming_yields_the_same_rows(root):
    write_votes(root, write_dfew(root))
    builder = prepare(root)
    stored = builder.as_dataset()
    streamed = DFEW(config_name="fold1", data_dir=str(root), cache_dir=str(root / "new")).as_streaming_dataset()
    assert set(streamed) == {"train", "validation", "test"}
    for split, rows in streamed.items():
        assert list(rows) == list(stored[split])
    assert load_clip(next(iter(streamed["train"]))).shape == (12, 16, 16, 3)


def test_processes_in_parallel_give_the_same_rows(root, tmp_path):
    write_dfew(root)
    stored = rows_of(root)
    builder = DFEW(config_name="fold1", data_dir=str(root), cache_dir=str(tmp_path / "parallel"))
    builder.download_and_prepare(num_proc=2)
    for split, rows in builder.as_dataset().items():
        assert rows[:] == stored[split][:]


def test_validation_is_stratified_seeded_and_apart_from_the_rest(root):
    write_dfew(root, per_class=11)
    splits = {seed: rows_of(root, validation_fraction=0.2, seed=seed) for seed in (0, 1)}
    assert class_counts(splits[0]["validation"]) == dict.fromkeys(OURS, 2)
    assert class_counts(splits[0]) == {
        "train": dict.fromkeys(OURS, 8), "validation": dict.fromkeys(OURS, 2), "test": dict.fromkeys(OURS, 1),
    }  # fmt: skip
    assert set(splits[0]["validation"]["clip_id"]) != set(splits[1]["validation"]["clip_id"])
    assert splits[0]["test"]["clip_id"] == splits[1]["test"]["clip_id"]
    path = split_csv(root, "train")
    header, *lines = path.read_text().strip().split("\n")
    path.write_text("\n".join([header, *reversed(lines), ""]))
    reordered = rows_of(root, validation_fraction=0.2, seed=0)
    assert set(reordered["validation"]["clip_id"]) == set(splits[0]["validation"]["clip_id"])


def test_a_missing_clip_does_not_change_the_cut(root):
    write_dfew(root, per_class=6)
    before = rows_of(root)
    shutil.rmtree(root / "Clip/clip_224x224" / f"{int(before['train'][0]['clip_id']):05d}")
    after = rows_of(root, max_missing=1)
    assert after["validation"]["clip_id"] == before["validation"]["clip_id"]
    assert after["train"]["clip_id"] == before["train"]["clip_id"][1:]


def test_the_peer_protocol_selects_on_test_and_says_so(root):
    expected = write_dfew(root)
    builder = prepare(root, peer_protocol=True)
    splits = builder.as_dataset()
    assert builder.config.peer_protocol
    assert splits["validation"]["clip_id"] == splits["test"]["clip_id"]
    assert Counter(splits["train"]["clip_id"]) == Counter(c.clip_id for c in expected if c.split == "train")
    assert "peer protocol" in builder.info.description and "peer protocol" in str(builder.check_result)
    assert "peer protocol" not in prepare(root).info.description
