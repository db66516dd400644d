"""FER2013: both spellings of its table, folders, copies in several splits, and stills as clips of one frame."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from trees import (
    FER2013_FOLDERS,
    FER2013_HEADERS,
    FER2013_NUMBERS,
    OURS,
    fer2013_stills,
    read_back,
    still,
    write_fer2013,
    write_fer2013_folders,
    write_frames,
)

from modeling_hdf.cli.main import main
from modeling_hdf.data import FER2013, FER2013Config, VideoFolder, class_counts, load_clip


def prepare(root: Path, **options) -> FER2013:
    builder = FER2013(data_dir=str(root), cache_dir=str(root.parent / "cache"), **options)
    builder.download_and_prepare()
    return builder


def rows_of(root: Path, **options):
    return prepare(root, **options).as_dataset()


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "FER2013"


@pytest.mark.parametrize("header", FER2013_HEADERS)
@pytest.mark.parametrize("file", ["fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv", "FER2013.CSV"])
def test_both_spellings_load_every_still_with_its_label_split_and_pixels(root, header, file):
    stills = fer2013_stills()
    write_fer2013(root / file, stills, header)
    splits = rows_of(root)
    assert splits.num_rows == {"train": 14, "validation": 7, "test": 7}
    found = {row["clip_id"]: (split, row) for split, rows in splits.items() for row in rows}
    assert splits["train"].features["label"].names == list(OURS)
    for index, (label, split, number) in enumerate(stills):
        there, row = found[f"fer{index:07d}"]
        assert (there, OURS[row["label"]]) == (split, label)
        clip = load_clip(row)
        assert clip.shape == (1, 48, 48, 3) and clip.dtype == np.uint8
        np.testing.assert_array_equal(clip[0], np.repeat(still(number)[..., None], 3, axis=-1))


def test_folders_load_with_a_validation_split_cut_from_train(root):
    stills = fer2013_stills(per_class=6)
    write_fer2013_folders(root, stills)
    splits = rows_of(root, validation_fraction=0.25)
    assert splits.num_rows == {"train": 21, "validation": 7, "test": 14}
    assert class_counts(splits["validation"]) == dict.fromkeys(OURS, 1)
    for rows in splits.values():
        for row in rows:
            index = int(row["clip_id"].rpartition("_")[2].removesuffix(".jpg"))
            assert OURS[row["label"]] == stills[index][0]
            np.testing.assert_allclose(load_clip(row)[0, 2:20].mean(), index, atol=2)


def test_folders_whose_names_tell_the_usage_have_the_splits_of_the_table(root, capsys):
    stills = fer2013_stills()
    write_fer2013_folders(root, stills, named=True)
    splits = rows_of(root)
    assert splits.num_rows == {"train": 14, "validation": 7, "test": 7}
    for split, rows in splits.items():
        for row in rows:
            index = int(row["clip_id"].rpartition("_")[2].removesuffix(".jpg"))
            assert (OURS[row["label"]], split) == stills[index][:2]
    assert FER2013Config(data_dir=str(root)).cut_digests() == {}
    assert main(["data", "check", "fer2013", "--data-dir", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "validation: the stills named PublicTest_*" in shown
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    # class, train, its published number, and so on for validation, test and all
    assert lines["happiness"][1:] == ["2", "7215", "1", "895", "1", "879", "4", "8989"]
    next((root / "test" / "angry").glob("PublicTest_*")).rename(root / "test" / "angry" / "other.jpg")
    assert set(FER2013Config(data_dir=str(root)).cut_digests()) == {"validation"}  # one name that tells nothing


def test_a_validation_folder_of_ones_own_is_the_whole_validation_split(root):
    stills = fer2013_stills(per_class=6)
    write_fer2013_folders(root, stills, named=True)
    for path in sorted(root.glob("test/*/PublicTest_*")):
        (root / "val" / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(root / "val" / path.parent.name / path.name)
    config = FER2013Config(data_dir=str(root))
    assert config.cut_digests() == {}
    assert Counter(clip.split for clip in config.listing.clips) == {"train": 28, "validation": 7, "test": 7}


def test_folders_named_by_numbers_are_those_of_the_table(root):
    write_fer2013_folders(root, fer2013_stills(per_class=3))
    for split in ("train", "test"):
        for label, name in FER2013_FOLDERS.items():
            (root / split / name).rename(root / split / str(FER2013_NUMBERS.index(label)))
    splits = rows_of(root, cut_splits=())
    found = {row["clip_id"].rpartition("_")[2]: OURS[row["label"]] for rows in splits.values() for row in rows}
    assert found == {f"{index}.jpg": label for index, (label, _, _) in enumerate(fer2013_stills(per_class=3))}
    (root / "train" / "0").rename(root / "train" / "7")
    with pytest.raises(ValueError, match="to count from 0"):
        FER2013Config(data_dir=str(root)).listing  # noqa: B018


def test_a_folder_of_another_dataset_is_named_with_what_was_looked_for(root):
    (root / "processedResults").mkdir(parents=True)
    (root / "VideoFlash").mkdir()
    with pytest.raises(ValueError, match=r"FER2013: is no folder of FER2013: .* fer2013.csv .* train/<name>/"):
        FER2013Config(data_dir=str(root)).listing  # noqa: B018
    (root / "fer2013.tar.gz").touch()
    with pytest.raises(ValueError, match=r"Unpack the archives there, such as fer2013.tar.gz"):
        FER2013Config(data_dir=str(root)).listing  # noqa: B018


def copies(root: Path) -> FER2013Config:
    """Still 0 stands in test and train, still 7 in validation and train, still 14 twice in train."""
    stills = fer2013_stills()
    stills += [("happiness", "train", 0), ("happiness", "train", 7), ("fear", "train", 14)]
    write_fer2013(root / "fer2013.csv", stills)
    return FER2013Config(data_dir=str(root))


def test_copies_are_counted_named_and_kept(root, capsys):
    notes = copies(root).listing.notes
    assert (
        "2 stills stand in several splits, such as fer0000000 (happiness, test) and fer0000028 (happiness, train)"
        in (notes)
    )
    assert (
        "1 stills are repeated within a split, such as fer0000014 (happiness, train) and fer0000030 (fear, train)"
        in (notes)
    )
    assert any(note.startswith("1 stills have different labels") and "fer0000030 (fear" in note for note in notes)
    assert rows_of(root).num_rows == {"train": 17, "validation": 7, "test": 7}
    assert main(["data", "check", "fer2013", "--data-dir", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "2 stills stand in several splits" in shown and "short" not in shown
    published = {"happiness": "7215", "disgust": "436", "total": "28709"}
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    assert {name: lines[name][2] for name in published} == published
    assert "lists 31 of 35887 published clips" in shown


def test_copies_can_be_left_out(root):
    copies(root)
    builder = prepare(root, leave_out_copies=True)
    splits = builder.as_dataset()
    assert splits.num_rows == {"train": 15, "validation": 7, "test": 7}
    assert {"fer0000028", "fer0000029"}.isdisjoint(splits["train"]["clip_id"])
    assert "left out: 2 train, which also stand in a later split" in str(builder.check_result)


def test_equal_stills_of_folders_are_in_one_split(root):
    stills = fer2013_stills(per_class=8)
    stills += [(label, split, number) for label, split, number in stills if split == "train"]
    write_fer2013_folders(root, stills)
    for seed in range(3):
        listing = FER2013Config(data_dir=str(root), validation_fraction=0.3, seed=seed).listing
        numbers = {
            split: {stills[int(c.clip_id.rpartition("_")[2][:-4])][2] for c in listing.clips if c.split == split}
            for split in ("train", "validation")
        }
        assert numbers["train"].isdisjoint(numbers["validation"]) and len(numbers["validation"]) == 14


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("emotion,pixels,Usage", "emotion,pixels", "has no column usage"),
        ("PrivateTest", "Private", r"line 2: `Usage` is 'Private'"),
        ("\n3,", "\n8,", r"line 2: `emotion` is '8'"),
        ("\n3,", "\n", r"line 2: has 2 cells, the first line names 3"),
    ],
)
def test_a_table_that_is_no_fer2013_is_refused_with_its_line(root, old, new, message):
    write_fer2013(root / "fer2013.csv", fer2013_stills())
    text = (root / "fer2013.csv").read_text()
    (root / "fer2013.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        prepare(root)


def test_a_table_that_was_cut_off_is_refused_with_its_last_line(root):
    write_fer2013(root / "fer2013.csv", fer2013_stills())
    content = (root / "fer2013.csv").read_bytes()
    (root / "fer2013.csv").write_bytes(content[: content.rindex(b" ")])
    with pytest.raises(ValueError, match="line 29: has 2 cells, the first line names 3 columns; is the file complete"):
        prepare(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda words: words[:-1], "has 2303 pixels, not 48 x 48"),
        (lambda words: ["x", *words[1:]], "no whole numbers"),
        (lambda words: ["256", *words[1:]], "pixels from 0 to 256"),
    ],
)
def test_a_still_with_wrong_pixels_is_named_and_can_be_left_out(root, change, message):
    write_fer2013(root / "fer2013.csv", fer2013_stills())
    lines = (root / "fer2013.csv").read_text().split("\n")
    emotion, pixels, usage = lines[20].split(",")
    lines[20] = ",".join([emotion, " ".join(change(pixels.split())), usage])
    (root / "fer2013.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"(?s)1 of 28.*fer0000019.*line 21: .*{message}"):
        prepare(root)
    assert rows_of(root, max_missing=1).num_rows["train"] == 13


def test_the_tables_own_validation_split_leaves_no_peer_protocol(root):
    write_fer2013(root / "fer2013.csv", fer2013_stills())
    with pytest.raises(ValueError, match="`peer_protocol` has no meaning"):
        prepare(root, peer_protocol=True)
    with pytest.raises(ValueError, match="`clips_dir`"):
        FER2013Config(data_dir=str(root), clips_dir=str(root))


def test_pictures_of_ones_own_are_stills_too(tmp_path):
    names = ("sad", "happy") * 5
    for number, label in enumerate(names):
        write_frames(tmp_path / "own" / label, [f"{number}.png"], number)
    builder = VideoFolder(data_dir=str(tmp_path / "own"), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    assert "10 clips are stills, each a clip of one frame" in builder.config.listing.notes
    rows = [row for split in builder.as_dataset().values() for row in split]
    assert len(rows) == 10 and all(load_clip(row).shape == (1, 16, 16, 3) for row in rows)

    lines = [f"{label}/{number}.png,{label},{'test' if number < 4 else 'train'}" for number, label in enumerate(names)]
    (tmp_path / "own" / "list.csv").write_text("\n".join(["path,label,split", *lines]))
    listed = VideoFolder(data_dir=str(tmp_path / "own"), cache_dir=str(tmp_path / "cache"))
    assert listed.config.check("full").failure is None
    listed.download_and_prepare()
    assert [read_back(load_clip(row)) for row in listed.as_dataset(split="test")] == [([0], n) for n in range(4)]


def test_the_script_of_the_documentation_writes_a_table_that_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, names = np.stack([still(number) for number in range(14)]), np.array(sorted(OURS))
    np.savez("stills.npz", images=images, labels=np.arange(14) % 7, names=names)
    page = (Path(__file__).parents[3] / "docs" / "train.md").read_text()
    exec(next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "stills.npz" in block), {})
    rows = rows_of(tmp_path, cut_splits=())["train"]
    assert [rows.features["label"].names[label] for label in rows["label"]] == [*names, *names]
    for row, image in zip(rows, images, strict=True):
        np.testing.assert_array_equal(load_clip(row)[0, :, :, 0], image)
