"""MAFW: eleven classes by name, text files, and clips as videos, frames or face crops."""

from pathlib import Path

import pytest
from trees import MAFW_FORMS, OURS, check_rows, write_mafw

from modeling_hdf.data import MAFW

NAMES = (*OURS, "contempt", "anxiety", "helplessness", "disappointment")


def prepare(root: Path, **options) -> MAFW:
    options = {"config_name": "fold1", "cache_dir": str(root.parent / "cache")} | options
    builder = MAFW(data_dir=str(root), **options)
    builder.download_and_prepare()
    return builder


def rows_of(root: Path, **options):
    return prepare(root, **options).as_dataset()


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "MAFW"


@pytest.mark.parametrize("form", MAFW_FORMS)
def test_every_form_loads_with_its_labels_and_frame_order(root, form):
    expected = write_mafw(root, form)
    splits = rows_of(root)
    check_rows(splits, expected, NAMES)
    assert splits.num_rows == {"train": 11, "validation": 11, "test": 11}
    row = splits["test"][0]
    assert (row["clip_id"], row["fold"], row["scene"], row["votes"]) == ("00008.mp4", 1, None, None)


@pytest.mark.parametrize("annotation", ["Train & Test Set/single/no_caption", "label/no_caption"])
def test_the_annotation_may_lie_elsewhere(root, annotation):
    expected = write_mafw(root, annotation=annotation)
    check_rows(rows_of(root), expected, NAMES)


def test_clips_with_several_labels_are_not_taken_for_those_with_one(root):
    expected = write_mafw(root)
    compound = root / "split/compound/no_caption/set_1"
    compound.mkdir(parents=True)
    (compound / "train.txt").write_text("00002.mp4 anger_disgust\n")
    check_rows(rows_of(root), expected, NAMES)


def test_face_crops_within_the_frames_are_preferred(root):
    write_mafw(root, "clips")
    write_mafw(root, "frames")
    expected = write_mafw(root, "faces")
    (root / "data/frames_crop_align_224").rename(root / "data/frames/frames_crop_align_224")
    builder = prepare(root)
    check_rows(builder.as_dataset(), expected, NAMES)
    assert "/frames_crop_align_224/" in builder.as_dataset(split="test")[0]["clip"]["frames"][0]
    assert "not used: frames, clips" in str(builder.check_result)
    assert rows_of(root, variant="clips")["test"][0]["clip"]["path"].endswith("data/clips/00008.mp4")


@pytest.mark.parametrize(
    "line, message", [("00002.mp4 0", "is a number"), ("00002.mp4 bored", "unknown label 'bored'")]
)
def test_labels_that_are_no_names_of_classes_are_refused(root, line, message):
    write_mafw(root)
    path = root / "split/single/no_caption/set_1/train.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=rf"train.txt, line 23: .*{message}"):
        rows_of(root)


def test_an_absent_fold_is_named(root):
    write_mafw(root)
    with pytest.raises(FileNotFoundError, match="no single/no_caption/set_3/train.txt"):
        rows_of(root, config_name="fold3")
