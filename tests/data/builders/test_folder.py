"""Own data: folders by class, CSV and JSON lines, groups, given and cut splits."""

import json
import re
import unicodedata
from pathlib import Path

import pytest
from PIL import Image
from trees import OURS, Expected, check_rows, unpadded, write_frames, write_video
from video_files import numbered_frame, read_numbers
from video_files import write_video as encode_video

from modeling_hdf.data import VideoFolder, class_counts, load_clip
from modeling_hdf.data.builders.folder import VideoFolderConfig
from modeling_hdf.faces.places import JOURNAL, REJECTED

WORDS = ("Happy", "sad", "neutral", "Anger", "surprised", "disgust", "fear")


def prepare(root: Path, **options) -> VideoFolder:
    builder = VideoFolder(data_dir=str(root), cache_dir=str(root.parent / "cache"), **options)
    builder.download_and_prepare()
    return builder


def rows_of(root: Path, **options):
    return prepare(root, **options).as_dataset()


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "own"


def write_tree(root: Path, splits=("train", "test"), per_class: int = 2) -> list[Expected]:
    """`<split>/<class>/<clip>`, half videos and half folders of frames."""
    expected, number = [], 0
    for split in splits:
        for word, label in zip(WORDS, OURS, strict=True):
            for index in range(per_class):
                folder = root / split / word
                if index % 2:
                    write_frames(folder / f"clip {index}", unpadded(number), number)
                else:
                    write_video(folder / f"clip {index}.mp4", number)
                name = f"clip {index}" + (".mp4" if index % 2 == 0 else "")
                clip_id = "/".join(part for part in (split, word, name) if part)
                expected.append(Expected(clip_id, label, "test" if split == "test" else "train", number))
                number += 1
    return expected


def write_list(root: Path, rows: list[dict], name: str = "clips.csv") -> Path:
    """Clips of one frame each, and the list of them."""
    columns = list(rows[0])
    for row in rows:
        write_frames(root / row["path"], ["1.png"])
    lines = [",".join(columns), *(",".join(str(row[column]) for column in columns) for row in rows)]
    if name.endswith(".jsonl"):
        lines = [json.dumps(row) for row in rows]
    (root / name).write_text("\n".join([*lines, ""]))
    return root / name


def clip_rows(count: int, **columns) -> list[dict]:
    rows = [{"path": f"clips/{index}", "label": WORDS[index % 7]} for index in range(count)]
    return [row | {name: make(index) for name, make in columns.items()} for index, row in enumerate(rows)]


def test_crops_are_labelled_by_their_folders_and_not_by_the_record_of_their_faces(root):
    expected = write_tree(root)
    for name in (JOURNAL, REJECTED):
        (root / name).write_text('{"clip": "train/Happy/0.mp4", "status": "ok"}\n')
    check_rows(rows_of(root), expected)
    (root / "list.csv").write_text("path,label,split\ntrain/Happy/clip 0.mp4,fear,test\n")
    assert [list(rows["label"]) for rows in rows_of(root).values()] == [[OURS.index("fear")]]


def test_folders_by_class_and_split(root):
    expected = write_tree(root)
    check_rows(rows_of(root), expected)


def test_a_given_validation_split_is_kept(root):
    write_tree(root, ("train", "val", "test"))
    splits = rows_of(root)
    assert splits.num_rows == {"train": 14, "validation": 14, "test": 14}
    assert all(clip_id.startswith("val/") for clip_id in splits["validation"]["clip_id"])
    with pytest.raises(ValueError, match="gives a validation split"):
        rows_of(root, peer_protocol=True)


@pytest.mark.parametrize("split", ["", "train", "test"])
def test_folders_of_people_within_the_classes_are_groups(root, split):
    for index, word in enumerate(WORDS[:2] * 6):
        write_video(root / split / word / f"person {index // 2}" / "clip.mp4", index)
        write_frames(root / split / word / f"person {index // 2}" / "frames", unpadded(index), index)
    rows = prepare(root).as_dataset(split="all")
    found = {(OURS[row["label"]], row["group"], row["clip_id"].split("/")[-1]) for row in rows}
    assert found == {(w, f"person {p}", c) for w in OURS[:2] for p in range(6) for c in ("clip.mp4", "frames")}
    write_video(root / split / WORDS[0] / "other.mp4")
    with pytest.raises(
        ValueError, match=r"person 0/clip.mp4 lies in a folder within its class .*Happy/other.mp4 does"
    ):
        rows_of(root)


@pytest.mark.parametrize("listed", [False, True])
def test_a_person_written_in_two_forms_of_unicode_is_one_group(root, listed):
    forms = [unicodedata.normalize(form, "Zo\u00eb") for form in ("NFC", "NFD")]
    people = [*forms, "anna", "ben"]
    if listed:
        write_list(root, clip_rows(56, group=lambda i: people[i // 14]))
    else:
        for index, person in enumerate(people * 2):
            write_frames(root / WORDS[index // 4] / person / f"clip {index}", ["1.png"])
    groups = [set(rows["group"]) for rows in rows_of(root).values()]
    assert sorted(group for found in groups for group in found) == sorted(["anna", "ben", forms[0]])


def test_one_folder_within_each_class_is_no_group(root):
    for index, word in enumerate(WORDS * 4):
        write_video(root / word / "videos" / f"{index}.mp4", index)
    splits = rows_of(root)
    assert set(splits["train"]["group"]) == {None}
    assert class_counts(splits["test"]) == dict.fromkeys(OURS, 1)


def test_class_folders_named_by_numbers_are_those_classes(root):
    for index in range(12):
        write_video(root / ("0", "2", "5")[index % 3] / f"{index}.mp4", index)
    with pytest.raises(ValueError, match="labels are numbers.*the numbers themselves, if they are the names"):
        rows_of(root)
    names = ("5", "0", "2")
    for rows in rows_of(root, labels=list(names)).values():
        assert all(row["clip_id"].split("/")[0] == names[row["label"]] for row in rows)


def test_ways_to_write_a_class_are_one_class_and_told(root):
    for index in range(12):
        write_video(root / ("Pain", "pain ", "No Pain")[index % 3] / f"{index}.mp4", index)
    builder = prepare(root, labels=["pain", "no pain"])
    assert class_counts(builder.as_dataset(split="all")) == {"pain": 8, "no pain": 4}
    assert "labels 'Pain', 'pain ' are one class, 'pain'" in str(builder.check_result)


@pytest.mark.parametrize(
    "labels", [["Pain", "pain "], ["pain", ""], ["pain"], "pain", [0, 1], ["no  pain", "No pain"]]
)
def test_names_of_classes_that_are_hard_to_tell_apart_are_refused(root, labels):
    root.mkdir()
    with pytest.raises(ValueError, match="`labels` must be"):
        prepare(root, labels=labels)


def test_no_split_is_cut_that_is_not_used(root):
    write_tree(root, ("",), per_class=1)
    with pytest.raises(ValueError, match="No test split can be cut"):
        rows_of(root)
    assert rows_of(root, cut_splits=()).num_rows == {"train": 7}


def test_splits_that_are_not_given_are_cut(root):
    expected = write_tree(root, ("",), per_class=10)
    builder = prepare(root, validation_fraction=0.25)
    splits = builder.as_dataset()
    assert class_counts(splits) == {
        "train": dict.fromkeys(OURS, 6), "validation": dict.fromkeys(OURS, 2), "test": dict.fromkeys(OURS, 2),
    }  # fmt: skip
    assert sorted(sum((rows["clip_id"] for rows in map(lambda r: r[:], splits.values())), [])) == sorted(
        clip.clip_id for clip in expected
    )
    assert "test split: 20% of the clips" in str(builder.check_result)


def test_a_tree_unpacked_into_itself_is_found(root):
    write_tree(root / "own")
    assert rows_of(root).num_rows["test"] == 14


@pytest.mark.parametrize("name", ["clips.csv", "clips.jsonl"])
def test_a_list_gives_path_label_and_what_else_there_is(root, name):
    rows = clip_rows(
        28, split=lambda i: "train validation test test".split()[i // 7], group=lambda i: f"person {i // 7}",
        clip_id=lambda i: f"id {i}", scene=lambda i: "home", fold=lambda i: 3,
    )  # fmt: skip
    write_list(root, rows, name)
    splits = rows_of(root)
    assert splits.num_rows == {"train": 7, "validation": 7, "test": 14}
    row = splits["test"][7]
    assert (row["clip_id"], row["group"], row["scene"], row["fold"]) == ("id 21", "person 3", "home", 3)
    assert row["clip"]["frames"] == [str(root / "clips/21/1.png")]
    assert [OURS[label] for label in splits["train"]["label"]] == list(OURS)


def test_groups_are_in_one_split_each(root):
    write_list(root, clip_rows(140, group=lambda i: i // 7))
    splits = rows_of(root, test_fraction=0.25, validation_fraction=0.2)
    groups = {split: set(rows["group"]) for split, rows in splits.items()}
    assert {split: len(found) for split, found in groups.items()} == {"train": 12, "validation": 3, "test": 5}
    assert len(set.union(*groups.values())) == 20
    assert class_counts(splits["test"]) == dict.fromkeys(OURS, 5)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_group_that_the_list_puts_in_two_splits_is_told_at_each_reading(root, caplog, split):
    splits = ["train"] * 21 + (["validation", "test"] * 4 if split == "validation" else ["test"] * 7)
    groups = [i % 9 if splits[i] != "test" or split == "test" else 20 + i for i in range(28)]
    write_list(root, clip_rows(28, split=lambda i: splits[i], group=lambda i: f"person {groups[i]}"))
    message = rf"groups are in several splits, such as 'person \d' in train, {split}: results may be too good"
    assert re.search(message, str(prepare(root).check_result))
    assert re.search(message, caplog.text)
    caplog.clear()
    assert prepare(root).check_result is None  # from the cache
    assert re.search(message, caplog.text)


def test_classes_of_other_names_need_to_be_named_in_order(root):
    rows = [{"path": f"clips/{i}", "label": ("pain", "no pain")[i % 2]} for i in range(20)]
    write_list(root, rows)
    with pytest.raises(ValueError, match="unknown classes 'no pain', 'pain'.*labels"):
        rows_of(root)
    splits = rows_of(root, labels=["pain", "no pain"])
    assert splits["train"].features["label"].names == ["pain", "no pain"]
    assert all((int(row["clip_id"][6:]) % 2) == row["label"] for row in splits["train"])
    with pytest.raises(ValueError, match="clips.csv, line 3: unknown label 'no pain'"):
        rows_of(root, labels=["pain", "none"])


def test_a_misspelt_expression_is_refused(root):
    write_list(root, [*clip_rows(20), {"path": "clips/x", "label": "hapiness"}])
    with pytest.raises(ValueError, match="'hapiness'"):
        rows_of(root)


def test_one_of_the_eleven_gives_the_eleven(root):
    write_list(root, [*clip_rows(21), *({"path": f"clips/x{i}", "label": "Anxiety"} for i in range(3))])
    names = rows_of(root)["train"].features["label"].names
    assert names[:7] == list(OURS) and len(names) == 11


@pytest.mark.parametrize("base", [0, 1])
def test_numeric_labels_need_names_and_find_their_base(root, base):
    write_list(root, [{"path": f"clips/{i}", "label": i % 3 + base} for i in range(30)])
    with pytest.raises(ValueError, match="labels are numbers.*labels"):
        rows_of(root)
    for row in rows_of(root, labels=("a", "b", "c"))["train"]:
        assert row["label"] == int(row["clip_id"][6:]) % 3


@pytest.mark.parametrize("labels", [(0, 3), (2, 4), (-1, 2)])
def test_numbers_of_no_base_are_refused(root, labels):
    write_list(root, [{"path": f"clips/{i}", "label": labels[i % 2]} for i in range(30)])
    with pytest.raises(ValueError, match=r"labels run from .*clips.csv, line \d+.*0 to 2 or 1 to 3"):
        rows_of(root, labels=("a", "b", "c"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("path,label\n", "lists no clip"),
        ("where,label\na,happy\n", "`path` is missing: of the columns where, label"),
        ("emotion,pixels,Usage\n3,0 1 2 3,Training\n", "there is none that is `path`. It is a table of FER2013, the"),
        ("path,label\nclips/0,\n", "line 2: `label` is missing"),
        ("path,label\nclips/0,happy,extra\n", "line 2: has 3 cells, but the first line names 2"),
        ("path,label,split\nclips/0,happy,train\nclips/1,sad,\n", "line 3: `split` is ''"),
        ("path,label,split\nclips/0,happy,exam\n", "line 2: `split` is 'exam'"),
        ("path,label,fold\nclips/0,happy,one\n", "line 2: `fold` must be a number"),
        (
            "path,label,fold\nclips/0,happy,1\nclips/1,sad,3000000000\n",
            "line 3: `fold` must be a number below 2147483648",
        ),
        (
            "path,label\nclips/0,happy\nclips/0,sad\n",
            "'clips/0' is listed as happiness .*line 2.* sadness .*line 3",
        ),
        ("path,label\nclips/0,happy\n./clips/0,sad\n", "is listed as happiness"),
        ("path,label,clip_id\nclips/0,happy,a\nclips/1,sad,a\n", "'a' names two clips"),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(root, text, message):
    path = write_list(root, clip_rows(14))
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        rows_of(root)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "line, message",
    [("{path: 1}", "line 1: is not JSON"), ("[1]", "line 1: is not a JSON object"), ('{"label": "fear"}', "`path`")],
)
def test_bad_json_is_refused_with_its_line(root, line, message):
    path = write_list(root, clip_rows(14), "clips.jsonl")
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=rf"clips.jsonl, {message}|clips.jsonl: {message}"):
        rows_of(root)


def test_of_several_lists_one_must_be_named(root):
    write_list(root, clip_rows(14), "a.csv")
    write_list(root, clip_rows(28), "b.csv")
    with pytest.raises(ValueError, match=r"a.csv, b.csv.*metadata"):
        rows_of(root)
    assert sum(rows_of(root, metadata="b.csv").num_rows.values()) == 28
    with pytest.raises(FileNotFoundError, match="c.csv"):
        rows_of(root, metadata="c.csv")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda root: root.mkdir(), "neither a folder for each class nor"),
        (lambda root: (root / "sad").mkdir(parents=True), "own/sad: holds no clip"),
        (
            lambda root: (write_frames(root / "sad", ["1.jpg"]), write_frames(root / "sad/2", ["1.jpg"])),
            "own/sad/1.jpg: is a picture beside clips",
        ),
        (lambda root: (write_tree(root), (root / "happy").mkdir()), "folders for splits .*test, train.* and others"),
    ],
)
def test_a_bad_tree_is_refused_with_its_path(root, make, message):
    make(root)
    with pytest.raises(ValueError, match=message):
        rows_of(root)


def test_a_folder_without_frames_is_named(root):
    write_tree(root)
    (root / "test/fear/empty").mkdir()
    with pytest.raises(ValueError, match=rf"(?s)1 of 29.*{root}/test/fear/empty: the folder holds no frame"):
        rows_of(root)


ODD_FORMATS = {
    "flv": {}, "wmv": {"codec": "wmv2"}, "mpg": {"codec": "mpeg2video", "rate": 25},
    "3gp": {"codec": "mpeg4"}, "ts": {}, "m4v": {}, "m2ts": {}, "webm": {"codec": "libvpx"},
}  # fmt: skip


def write_odd_formats(folder: Path) -> list[str]:
    """A clip of each format, animated pictures, and clutter. Returns the names of the clips."""
    for suffix, options in ODD_FORMATS.items():
        encode_video(folder / f"clip.{suffix}", 12, max_b_frames=0, **options)
    frames = [Image.fromarray(numbered_frame(number)) for number in range(12)]
    for suffix in ("gif", "webp"):
        frames[0].save(folder / f"moving.{suffix}", save_all=True, append_images=frames[1:], duration=40)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._clip.mp4"):
        (folder / name).write_bytes(b"x")
    for name in ("@eaDir", "__MACOSX", "#recycle", ".AppleDouble"):
        write_frames(folder / name, ["1.jpg", "2.jpg"])
    return sorted([f"clip.{suffix}" for suffix in ODD_FORMATS] + ["moving.gif", "moving.webp"])


def test_every_format_in_a_class_folder_is_read_and_what_is_left_aside_is_named(root):
    for split in ("train", "test"):
        for word in WORDS:
            write_video(root / split / word / "plain.mp4")
    names = write_odd_formats(root / "train" / "sad")
    (root / "train" / "sad" / "notes.txt").write_text("no clip")
    (root / "train" / "scan.pdf").write_bytes(b"%PDF")
    (root / "read.me").write_text("no clip")
    builder = prepare(root, validation_fraction=0.01)
    rows = [row for split in ("train", "validation") for row in builder.as_dataset()[split]]
    found = {Path(row["clip_id"]).name: row for row in rows if "/sad/" in row["clip_id"]}
    assert sorted(found) == sorted([*names, "plain.mp4"])
    for name in names:
        assert read_numbers(load_clip(found[name])) == list(range(12)), name
    expected = "3 files are not clips and are ignored: read.me, train/scan.pdf, train/sad/notes.txt"
    assert expected in str(builder.check_result)
    assert VideoFolderConfig(data_dir=str(root)).check("quick").failure is None
    report = VideoFolderConfig(data_dir=str(root)).check("full")
    assert report.failure is None and expected in report.notes


def test_a_still_gif_among_the_clips_is_a_picture(root):
    write_tree(root)
    Image.new("RGB", (8, 8)).save(root / "train/sad/still.gif")
    with pytest.raises(ValueError, match="train/sad/still.gif: is a picture"):
        rows_of(root)


def test_all_clips_of_one_group_cannot_be_split(root):
    write_list(root, clip_rows(28, group=lambda i: "one"))
    with pytest.raises(ValueError, match="one group"):
        rows_of(root)


def test_a_corrected_list_reaches_the_rows_in_spite_of_the_cache(root):
    path = write_list(root, clip_rows(28, split=lambda i: "test" if i < 7 else "train"))
    assert rows_of(root)["test"][0]["label"] == 0
    path.write_text(path.read_text().replace("clips/0,Happy", "clips/0,fear"))
    assert rows_of(root)["test"][0]["label"] == 6
