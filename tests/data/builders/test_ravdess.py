"""RAVDESS: doubled takes, calm, song, folds by actor, and the published counts."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from trees import OURS, check_rows, write_ravdess

from modeling_hdf.cli.main import main
from modeling_hdf.data import RAVDESS, RAVDESSConfig, class_counts
from modeling_hdf.data.builders.ravdess import Take, takes_of

ACTORS = (1, 2, 3, 4, 6, 8, 12)  # of the test split of fold 1: 2; of fold 2: 3 and 6
SPLITS = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))


def prepare(root: Path, **options) -> RAVDESS:
    options = {"config_name": "fold1", "cache_dir": str(root.parent / "cache")} | options
    builder = RAVDESS(data_dir=str(root), **options)
    builder.download_and_prepare()
    return builder


def rows_of(root: Path, **options):
    return prepare(root, **options).as_dataset()


def in_fold(expected, fold: int = 1, calm: str | None = None):
    """The expected clips with their splits, and with calm left out or under another name."""
    return [
        replace(
            clip,
            split="test" if int(clip.clip_id[-2:]) in SPLITS[fold - 1] else "train",
            label=calm if clip.label == "calm" else clip.label,
        )
        for clip in expected
        if calm is not None or clip.label != "calm"
    ]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> tuple[Path, list]:
    root = tmp_path_factory.mktemp("ravdess") / "RAVDESS"
    return root, write_ravdess(root, ACTORS)


def test_each_take_is_used_once_with_sound_and_calm_is_left_out(tree):
    root, expected = tree
    builder = prepare(root)
    splits = builder.as_dataset()
    check_rows(splits, in_fold(expected))
    assert sum(splits.num_rows.values()) == 7 * 52
    notes = str(builder.check_result)
    assert "420 takes lie there with and without sound" in notes and "calm: 56 clips, left out" in notes
    row = next(row for row in splits["test"] if row["clip_id"] == "01-01-03-02-01-02-02")
    assert {name: row[name] for name in ("group", "sex", "intensity", "channel", "fold")} == {
        "group": "02", "sex": "female", "intensity": "strong", "channel": "speech", "fold": 1,
    }  # fmt: skip


def test_calm_may_be_neutral_or_a_class_of_its_own(tree):
    root, expected = tree
    neutral = rows_of(root, calm="neutral")
    check_rows(neutral, in_fold(expected, calm="neutral"))
    assert class_counts(neutral["test"])["neutral"] == 4 + 8
    check_rows(rows_of(root, calm="own"), in_fold(expected, calm="calm"), (*OURS, "calm"))


def test_folds_and_validation_share_no_actor(tree):
    root, expected = tree
    splits = rows_of(root, config_name="fold2", validation_fraction=0.25)
    check_rows(splits, in_fold(expected, fold=2))
    actors = {split: set(rows["group"]) for split, rows in splits.items()}
    assert actors["test"] == {"03", "06"} and actors["validation"]
    assert actors["validation"].isdisjoint(actors["train"])
    test_actors = [actor for actors in RAVDESSConfig.test_actors.values() for actor in actors]
    assert sorted(test_actors) == list(range(1, 25))
    assert tuple(RAVDESSConfig.test_actors.values()) == SPLITS


def test_a_copy_without_sound_loads_too(tmp_path):
    expected = write_ravdess(tmp_path / "RAVDESS", (1, 2, 3), modalities=("02",))
    expected = [replace(clip, clip_id=f"02{clip.clip_id[2:]}", number=clip.number - 1) for clip in expected]
    check_rows(rows_of(tmp_path / "RAVDESS"), in_fold(expected))


def test_song_has_six_emotions_and_none_of_actor_18(tmp_path):
    root = tmp_path / "RAVDESS"
    expected = write_ravdess(root, (17, 18, 16, 3), channels=("01", "02"))
    song = [clip for clip in expected if clip.clip_id[3:5] == "02"]
    assert len(song) == 3 * 44
    check_rows(rows_of(root, channels="song"), in_fold(song))
    both = prepare(root, channels="both")
    check_rows(both.as_dataset(), in_fold(expected))
    assert set(both.as_dataset(split="test")["channel"]) == {"speech", "song"}


@pytest.mark.parametrize(
    ("channels", "calm", "total"),
    [
        ("speech", "own", 1440),
        ("speech", "drop", 1248),
        ("song", "own", 1012),
        ("song", "drop", 828),
        ("both", "neutral", 2452),
    ],
)
def test_the_published_counts_are_those_of_the_whole_dataset(tmp_path, channels, calm, total):
    for name in RAVDESSConfig.folds:
        published = RAVDESSConfig(name=name, data_dir=str(tmp_path), channels=channels, calm=calm).published()
        assert published.totals["all"] == total == published.totals["train"] + published.totals["test"]
        if channels == "speech" and calm == "drop":
            assert published.totals["test"] == 52 * (4 if name == "fold5" else 5)
            assert published.classes["all"] == (192, 192, 96, 192, 192, 192, 192)


def test_the_check_names_missing_takes_and_counts_a_small_copy(tree, capsys):
    root, _ = tree
    gone = root / "Video_Speech_Actor_04/Actor_04"
    for modality in ("01", "02"):
        (gone / f"{modality}-01-05-01-01-01-04.mp4").rename(root / f"{modality}.gone")
    try:
        assert main(["data", "check", "ravdess", "--data-dir", str(root), "--fold", "1"]) == 1
        shown = capsys.readouterr().out
        assert (
            re.search(r"missing: 1 \(1 (train|validation)\)", shown)
            and f"{gone}/01-01-05-01-01-01-04.mp4: no such file" in shown
        )
        assert main(["data", "check", "ravdess", "--data-dir", str(root), "--max-missing", "1"]) == 0
        shown = capsys.readouterr().out
        assert "lists 364 of 1248 published clips: a small copy" in shown
        assert [f"RAVDESS fold{fold}" in shown for fold in range(1, 6)] == [True] * 5
    finally:
        for modality in ("01", "02"):
            (root / f"{modality}.gone").rename(gone / f"{modality}-01-05-01-01-01-04.mp4")


def test_an_archive_that_was_unpacked_twice_is_told(tmp_path):
    root = tmp_path / "RAVDESS"
    expected = write_ravdess(root, (1, 2, 3), modalities=("01",))
    write_ravdess(root / "again", (1,), modalities=("01",))
    builder = prepare(root)
    check_rows(builder.as_dataset(), in_fold(expected))
    assert "60 clips lie in more than one place" in str(builder.check_result)


def test_bad_folders_names_and_options_are_refused(tmp_path):
    root = tmp_path / "RAVDESS"
    root.mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no clip of RAVDESS.*Actor_12/01-01-03-02-01-01-12.mp4"):
        prepare(root)
    (root / "Video_Speech_Actor_02.zip").touch()
    with pytest.raises(FileNotFoundError, match=r"Unpack the archives there, such as Video_Speech_Actor_02.zip"):
        prepare(root)
    write_ravdess(root, (1,), modalities=("01",))  # the first archive alone was unpacked
    message = r"no clip of actors 2, 5, 14, 15, 16, which test of fold1 needs. Unpack .*Video_Speech_Actor_02.zip"
    with pytest.raises(ValueError, match=message):
        prepare(root)
    (root / "01-01-09-01-01-01-01.mp4").touch()
    with pytest.raises(ValueError, match="01-01-09-01-01-01-01: the emotion in the name is 09; RAVDESS has 01 to 08"):
        prepare(root)
    with pytest.raises(ValueError, match="`calm` is 'keep'"):
        prepare(root, calm="keep")
    with pytest.raises(ValueError, match="`channels` is 'talk'"):
        prepare(root, channels="talk")


def test_takes_are_named_as_they_are_read():
    names = [take.name for take in takes_of(7, 1)]
    assert len(names) == len(set(names)) == 60 and "01-01-01-01-02-02-07" in names
    assert [Take.of(name).name for name in names] == names
    assert len(takes_of(7, 2)) == 44 and takes_of(18, 2) == []
