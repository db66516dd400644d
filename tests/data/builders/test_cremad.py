"""CREMA-D: folds by actor, votes on face, voice or both, demographics, damaged clips and pointers of Git LFS."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trees import CREMAD_OURS, check_rows, write_cremad

from modeling_hdf.cli.main import main
from modeling_hdf.data import CREMAD, CREMADConfig, DataArguments, vote_targets
from modeling_hdf.video_processing_hdf import HDFVideoProcessor

ACTORS = (1001, 1003, 1006, 1047, 1064, 1076)  # of the test split of fold 1: 1006


def prepare(root: Path, **options) -> CREMAD:
    options = {"config_name": "fold1", "cache_dir": str(root.parent / "cache")} | options
    builder = CREMAD(data_dir=str(root), **options)
    builder.download_and_prepare()
    return builder


def rows_of(root: Path, **options):
    return prepare(root, **options).as_dataset()


def in_fold(expected, test_actors=("1006",)):
    return [replace(clip, split="test" if clip.clip_id[:4] in test_actors else "train") for clip in expected]


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "CREMA-D"


@pytest.mark.parametrize("folder", ["VideoFlash", "CREMA-D/VideoFlash", "."])
def test_every_clip_loads_with_its_label_votes_and_person(root, folder):
    expected = write_cremad(root, ACTORS, folder)
    splits = rows_of(root)
    check_rows(splits, in_fold(expected), CREMAD_OURS)
    rows = {row["clip_id"]: row for rows in splits.values() for row in rows}
    for clip in expected:
        row = rows[clip.clip_id]
        votes = dict.fromkeys(CREMAD_OURS, 0)
        votes[clip.label] = 5 + clip.number % 3
        votes["happiness"] += 2
        assert row["votes"] == list(votes.values())
        actor = int(clip.clip_id[:4])
        assert (row["group"], row["sex"]) == (str(actor), "male" if actor % 3 else "female")
        assert (row["age"], row["race"]) == (20 + actor % 50, ("Caucasian", "Asian")[actor % 2])
        assert row["ethnicity"] == "Hispanic" and row["scene"] is None
        assert row["level"] == ("unspecified" if clip.label == "neutral" else "high")


def test_face_crops_may_lie_elsewhere_than_the_tables(root, tmp_path):
    expected = write_cremad(root, ACTORS)
    (root / "VideoFlash").rename(tmp_path / "faces")
    rows = rows_of(root, clips_dir=str(tmp_path / "faces"))
    check_rows(rows, in_fold(expected), CREMAD_OURS)
    assert rows["test"][0]["votes"] is not None and rows["test"][0]["sex"] is not None


@pytest.mark.parametrize(("votes_on", "fear"), [("voice", [0, 0, 9, 0, 0, 0]), ("both", [0, 0, 0, 0, 0, 8])])
def test_the_votes_may_be_on_voice_or_on_both(root, votes_on, fear):
    write_cremad(root, ACTORS)
    rows = rows_of(root, votes_on=votes_on)["test"]
    assert [row["votes"] for row in rows if row["clip_id"] == "1006_IEO_FEA_HI"] == [fear]


def test_no_two_splits_and_no_two_folds_share_an_actor(root):
    write_cremad(root, ACTORS)
    splits = rows_of(root, config_name="fold2", validation_fraction=0.25)
    actors = {split: set(rows["group"]) for split, rows in splits.items()}
    assert actors["test"] == {"1003", "1076"} and len(actors["validation"]) == 1
    assert actors["validation"].isdisjoint(actors["train"])
    order = np.random.default_rng(0).permutation(np.arange(1001, 1092))
    for number, part in enumerate(np.array_split(order, 5), start=1):
        assert CREMADConfig.test_actors[f"fold{number}"] == tuple(sorted(part.tolist()))


def test_training_on_votes_takes_the_shares_also_where_the_crowd_saw_another_emotion(root):
    write_cremad(root, ACTORS)
    arguments = DataArguments(dataset="cremad", data_dir=str(root), fold=1, vote_labels=True)
    builder = arguments.builder({"votes_on": "voice"})
    builder.download_and_prepare()
    splits = builder.as_dataset()
    clips = arguments.clips(splits, HDFVideoProcessor(), seed=0)
    neutral = CREMAD_OURS.index("neutral")
    assert (clips["train"].soft_labels[:, neutral] == 1).all()  # every voice sounds neutral
    train = splits["train"]
    with pytest.raises(ValueError, match="no votes that agree"):
        vote_targets(train["votes"], train["label"], train["clip_id"], CREMAD_OURS)
    (root / "processedResults/tabulatedVotes.csv").unlink()
    with pytest.raises(FileNotFoundError, match="holds no processedResults/tabulatedVotes.csv"):
        arguments.builder({})


def test_without_tables_clips_still_load_and_the_check_says_what_lacks(root):
    expected = write_cremad(root, ACTORS)
    for name in ("SentenceFilenames.csv", "VideoDemographics.csv", "processedResults/tabulatedVotes.csv"):
        (root / name).unlink()
    builder = prepare(root)
    splits = builder.as_dataset()
    check_rows(splits, in_fold(expected), CREMAD_OURS)
    assert all(row["votes"] is row["age"] is row["sex"] is None for row in splits["train"])
    notes = str(builder.check_result)
    for note in ("missing clips are not noticed", "VideoDemographics.csv: no demographics", "Votes.csv: no votes"):
        assert note in notes


def test_what_the_table_calls_unknown_is_not_known(root):
    write_cremad(root, ACTORS)
    table = root / "VideoDemographics.csv"
    lines = ['1047,22,"Female","Unknown","Hispanic"' if "1047," in x else x for x in table.read_text().split("\n")]
    table.write_text("\n".join(lines))
    splits = rows_of(root)
    races = {row["group"]: row["race"] for rows in splits.values() for row in rows}
    assert races.pop("1047") is None and set(races.values()) == {"Asian", "Caucasian"}


@pytest.mark.parametrize(
    ("actors", "message"),
    [((1001, 1003), "no clip of actors 1006, 1009, .*which test of fold1 needs"), ((1006,), "any actor but 1006, ")],
)
def test_a_copy_without_the_actors_of_a_split_says_who_lacks(root, actors, message):
    write_cremad(root, actors)
    with pytest.raises(ValueError, match=message):
        CREMADConfig(name="fold1", data_dir=str(root)).listing  # noqa: B018


def test_the_check_counts_names_missing_clips_and_points_at_known_damage(root, capsys):
    expected = write_cremad(root, ACTORS)
    listed = root / "SentenceFilenames.csv"
    listed.write_text(listed.read_text() + '37,"1076_MTI_SAD_XX"\n38,"1064_TIE_SAD_XX"\n')
    (root / "VideoFlash/1076_MTI_SAD_XX.flv").write_bytes(b"")
    assert main(["data", "check", "cremad", "--data-dir", str(root), "--fold", "1"]) == 1
    shown = capsys.readouterr().out
    assert (
        re.search(r"missing: 1 \(1 (train|validation)\)", shown)
        and "VideoFlash/1064_TIE_SAD_XX.flv: no such file" in shown
    )
    assert "empty: 1 (1" in shown and "1076_MTI_SAD_XX.flv: the file is empty" in shown
    assert "showing something else than their names say, look at them: 1076_MTI_SAD_XX" in shown
    assert "lists 38 of 7442 published clips" in shown
    published = next(line for line in shown.splitlines() if line.startswith("neutral")).split()
    assert published[-1] == "1087"
    check_rows(rows_of(root, max_missing=2), in_fold(expected), CREMAD_OURS)


def test_a_clone_without_git_lfs_is_told_what_to_do(root):
    write_cremad(root, ACTORS)
    for path in (root / "VideoFlash").iterdir():
        path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n")
    with pytest.raises(ValueError, match=r"(?s)36 of 36.*ANG_HI.flv: is a pointer of Git LFS.*git lfs pull.*ZIP"):
        prepare(root)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("SentenceFilenames.csv", "1001_IEO_ANG_HI", "1001_IEO_SUR_HI", r"line 2: '1001_IEO_SUR_HI' is no name"),
        ("SentenceFilenames.csv", "Filename", "File", r"has no column 'Filename'"),
        ("VideoDemographics.csv", "1001,21", "1001,old", r"line 2: the age is 'old'"),
        ("processedResults/tabulatedVotes.csv", '"200001",', '"200001",-', r"line 38: expected the row's number"),
        ("processedResults/tabulatedVotes.csv", '"200002"', '"100002"', None),
        ("processedResults/tabulatedVotes.csv", "1001_IEO_DIS_HI", "1001_IEO_ANG_HI", r"line 39: clip .* on the face"),
    ],
)
def test_damaged_tables_are_named_with_their_line(root, file, old, new, message):
    write_cremad(root, ACTORS)
    path = root / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    if message is None:  # a clip without votes of the kind is one without votes
        row = next(row for row in rows_of(root)["train"] if row["clip_id"] == "1001_IEO_DIS_HI")
        assert row["votes"] is None
        return
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*{message}"):
        prepare(root)


def test_an_unknown_kind_of_votes_is_refused(root):
    write_cremad(root, ACTORS)
    with pytest.raises(ValueError, match="`votes_on` is 'ear'; choose one of voice, face, both"):
        prepare(root, votes_on="ear")
