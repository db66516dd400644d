"""Lists of clips in the dialects in which people have them: the clip, label and split of each row, or its fault."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from trees import write_frames, write_video

from modeling_hdf.data import VideoFolder, VideoFolderConfig

NAMES = {"a": "happiness", "b c": "sadness", "d,e": "fear", "f": "anger"}  # clip and its expression
ROWS = [(f"clips/{clip}.mp4", label) for clip, label in NAMES.items()]


@pytest.fixture
def root(tmp_path) -> Path:
    for clip in NAMES:
        (tmp_path / "own/clips").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"own/clips/{clip}.mp4").write_bytes(b"not looked into")
    return tmp_path / "own"


def listing(root: Path, **options):
    return VideoFolderConfig(data_dir=str(root), **{"cut_splits": ()} | options).listing


def found(root: Path, **options) -> dict[str, str]:
    """Label of each clip, by the path found on disk."""
    clips = listing(root, **options).clips
    assert all(Path(clip.path).is_file() for clip in clips), clips
    return {str(Path(clip.path).relative_to(root)): clip.label for clip in clips}


def table(delimiter: str, header: str, row: str = '"{path}"{d}{label}') -> str:
    return "\n".join(
        [header.replace(",", delimiter), *(row.format(path=p, label=lb, d=delimiter) for p, lb in ROWS), ""]
    )


@pytest.mark.parametrize("header", [
    "path,label", "Path, label", "file_name,Emotion", "File Name,CLASS", "filename,label", "video,expression",
    "video_path,class", "clip,emotion", '"path","label"',
])  # fmt: skip
def test_columns_under_their_usual_names(root, header):
    (root / "clips.csv").write_text(table(",", header))
    assert found(root) == dict(ROWS)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", [True, False])
def test_delimiters_with_and_without_a_line_of_names(root, delimiter, header):
    text = table(delimiter, "path,label")
    (root / "clips.csv").write_text(text if header else text.split("\n", 1)[1])
    assert found(root) == dict(ROWS)


def test_the_row_names_of_r_are_no_column(root):
    lines = [f'"{number}" "{path}" "{label}"' for number, (path, label) in enumerate(ROWS, start=1)]
    (root / "clips.csv").write_text("\n".join(['"path" "label"', *lines]))
    assert found(root) == dict(ROWS)


def test_spaces_separate_though_paths_have_some(root):
    (root / "clips.csv").write_text("\n".join(f"{path} {label}" for path, label in ROWS))
    assert found(root) == dict(ROWS)


@pytest.mark.parametrize("index", ["", "Unnamed: 0"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
def test_the_index_of_pandas_is_no_column(root, index, delimiter):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["path", "label"])
    if index:
        frame.insert(0, index, range(len(frame)))
    frame.to_csv(root / "clips.csv", sep=delimiter, index=not index)
    assert found(root) == dict(ROWS)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", ",\n"),  # a delimiter at each end
        lambda text: text.replace("\n", "\n\n \n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("/", "\\"),
        lambda text: "sep=,\n" + text,
        lambda text: text.replace(",", ", "),
    ],
    ids=["trailing", "blank", "crlf", "cr", "backslashes", "sep", "spaced"],
)
def test_what_programs_add_to_a_list_changes_nothing(root, change):
    text = change(table(",", "path,label"))
    (root / "clips.csv").write_bytes(text.replace("d, e", "d,e").encode())
    assert found(root) == dict(ROWS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["clips.csv", "clips.jsonl"])
def test_encodings_with_a_mark_and_lines_of_unicode_within_names(root, encoding, name):
    clip = "clips/caf\u00e9 \u2028\u0085\x0b.mp4"
    (root / clip).write_bytes(b"x")
    text = f'path,label\n"{clip}",fear\n'
    if name.endswith("jsonl"):
        text = json.dumps({"path": clip, "label": "fear"}, ensure_ascii=False)
    (root / name).write_text(text, encoding=encoding, newline="")
    assert found(root) == {clip: "fear"}


@pytest.mark.parametrize("written, stored", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_found_however_they_are_composed(root, written, stored):
    clip = "clips \u00e9/\u00fc.mp4"
    path = root / unicodedata.normalize(stored, clip)
    path.parent.mkdir()
    path.write_bytes(b"x")
    (root / "clips.csv").write_text(f"path,label\n{unicodedata.normalize(written, clip)},fear\n")
    assert found(root) == {unicodedata.normalize(stored, clip): "fear"}


def test_the_exact_name_comes_before_its_other_form(root):
    for form in ("NFC", "NFD"):
        (root / unicodedata.normalize(form, "clips/\u00e9.mp4")).write_bytes(b"x")
    lines = [
        f"{unicodedata.normalize(form, 'clips/é.mp4')},{label}" for form, label in (("NFC", "fear"), ("NFD", "sad"))
    ]
    (root / "clips.csv").write_text("\n".join(["path,label", *lines]))
    labels = {unicodedata.is_normalized("NFC", path): label for path, label in found(root).items()}
    assert labels == {True: "fear", False: "sadness"}


def test_absolute_paths(root):
    (root / "clips.csv").write_text(table(",", "path,label").replace("clips/", f"{root}/clips/"))
    assert found(root) == dict(ROWS)


def test_lists_named_by_splits_as_videomae_has_them(root):
    for name, rows in (("train", ROWS[:2]), ("val", ROWS[2:3]), ("test", ROWS[3:])):
        (root / f"{name}.csv").write_text("".join(f"{path} {list(NAMES.values()).index(lb)}\n" for path, lb in rows))
    clips = listing(root, labels=tuple(NAMES.values())).clips
    assert {clip.clip_id: (clip.label, clip.split) for clip in clips} == {
        path: (label, split)
        for (path, label), split in zip(ROWS, ["train", "train", "validation", "test"], strict=True)
    }
    (root / "more.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match="several lists of clips .more.csv, test.csv, train.csv, val.csv"):
        listing(root)


FOLDERS = {"frames/a": 3, "frames/b c": 12, "frames/d 12": 2}  # and the number of frames in each


@pytest.mark.parametrize("delimiter", [" ", ",", "\t"])
def test_videomaes_lists_of_frame_folders(root, delimiter):
    for folder, count in FOLDERS.items():
        write_frames(root / folder, [f"img_{number:05d}.jpg" for number in range(1, count + 1)])
    lines = [delimiter.join([folder, str(count), str(index)]) for index, (folder, count) in enumerate(FOLDERS.items())]
    (root / "train.csv").write_text("\n".join(lines))
    names = ("x", "y", "z")
    read = listing(root, labels=names)
    assert [(clip.path, clip.label) for clip in read.clips] == [
        (str(root / folder), name) for folder, name in zip(FOLDERS, names, strict=True)
    ]
    assert any("columns not used: total_frames" in note for note in read.notes)
    (root / "train.csv").write_text("\n".join(line.replace("12", "11") for line in lines))  # lines but the first
    assert [clip.label for clip in listing(root, labels=names).clips] == list(names)


@pytest.mark.parametrize("delimiter", [" ", ","])
def test_an_unnamed_number_that_is_not_the_number_of_frames_is_refused(root, delimiter):
    write_frames(root / "frames/a", ["1.jpg", "2.jpg"])
    (root / "train.csv").write_text(delimiter.join(["frames/a", "3", "1"]))  # such as a fold
    with pytest.raises(ValueError, match=r"line 1: neither names.*'frames/a', '3', '1'.*`path total_frames label`"):
        listing(root, labels=("x", "y"))


@pytest.mark.parametrize("path", ["C:\\data\\a.mp4", "d:/data/a.mp4", "\\\\server\\share\\a.mp4"])
@pytest.mark.skipif(os.name == "nt", reason="such paths are good on Windows")
def test_absolute_paths_of_windows_are_refused_with_their_line(root, path):
    (root / "clips.csv").write_text(f"path,label\nclips/a.mp4,fear\n{path},fear\n")
    with pytest.raises(ValueError, match=r"clips.csv, line 3: .* is a path on a Windows machine; write .* relative"):
        listing(root)


def test_a_name_with_a_colon_is_no_drive(root):
    (root / "a:b.mp4").write_bytes(b"x")
    (root / "clips.csv").write_text("path,label\na:b.mp4,fear\n")
    assert found(root) == {"a:b.mp4": "fear"}


def test_labels_that_pandas_made_floats(root):
    names = tuple(NAMES.values())
    text = table(",", "path,label")
    for number, name in enumerate(names):
        text = text.replace(f",{name}\n", f",{number}.0\n")
    (root / "clips.csv").write_text(text)
    assert found(root, labels=names) == dict(ROWS)


def test_columns_read_and_not_read_are_told(root):
    (root / "clips.csv").write_text("video_path;age;Emotion\nclips/a.mp4;30;joy\nclips/f.mp4;30;Angry\n")
    note = listing(root).notes[0]
    assert "separated by a semicolon" in note and "path from `video_path`, label from `emotion`" in note
    assert "columns not used: age" in note


@pytest.mark.parametrize(
    "data, message",
    [
        (b"path,label\nclips/a.mp4,happy\nclips/caf\xe9.mp4,sad\n", r"line 3: byte 0xe9 is not UTF-8.*UTF-8"),
        ("path,label\nclips/a.mp4,happy\n".encode("utf-16-le"), r"line 1: holds a NUL byte"),
        (b"path,label\nclips/a.mp4,ha\0ppy\n", r"line 2: holds a NUL byte"),
        (b"path,label\nclips/a.mp4," + b"x" * 200_000, r"line 2: cannot be read as CSV .field larger"),
        (b"x" * 200_000, r"line 1: cannot be read as CSV .field larger"),
        (b'path,label\n"clips/a.mp4,happy\nclips/f.mp4,sad\n', r"line 2: cannot be read as CSV"),
        (b"path|label\nclips/a.mp4|happy\n", r"line 1: neither names .*'path\|label'.*`path,label`"),
        (b"clips/a.mp4,calm\n", r"line 1: neither names .*comma: 'clips/a.mp4', 'calm'.*`labels`"),
        (b"path,label,label\na,b,c\n", r"'label' more than once"),
        (b"video,file,label\na,b,fear\n", r"several that may be `path` \(video, file\)"),
        (b"path,emotion,class\na,fear,fear\n", r"several that may be `label` \(emotion, class\)"),
        (b"where;label\na;fear\n", r"`path` is missing: of the columns where, label .*semicolon"),
        (b"path,label\nclips/a.mp4, \n", r"line 2: `label` is missing"),
        (b"clips/a.mp4,happy\nclips/f.mp4,sad,x\n", r"line 2: expected a clip and a label, separated by a comma"),
        (b"path,label\nclips/a.mp4,happy\nclips/f.mp4\n", r"line 3: has 1 cells, but the first line names 2"),
        (b"path,label,fold\nclips/a.mp4,happy,\xc2\xb2\n", r"line 2: `fold` must be a number"),
        (b"path,label\nclips/a.mp4,\xc2\xb2\nclips/f.mp4,1\n", r"labels are numbers"),
        (b"\n\n", "lists no clip"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(root, data, message):
    (root / "clips.csv").write_bytes(data)
    with pytest.raises(ValueError, match=f"(?s)clips.csv.*{message}|{message}"):
        listing(root)


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"path": "\\ud800.mp4", "label": "fear"}', "line 1: 'path' holds a character that is no text"),
        ('{"path": "\\u0000.mp4", "label": "fear"}', "line 1: 'path' holds a character that is no text"),
        ('{"path": "a", "Path": "b", "label": "fear"}', "line 1: names 'path' more than once"),
        ("[" * 100_000, "line 1: is not JSON"),
        ('{"path": "a", "label": ' + "9" * 5000 + "}", "line 1: is not JSON"),
    ],
)
def test_odd_json_is_refused_with_its_line(root, line, message):
    (root / "clips.jsonl").write_text(line)
    with pytest.raises(ValueError, match=f"clips.jsonl, {message}"):
        listing(root)


def test_rows_of_a_list_in_another_dialect_are_those_clips(tmp_path):
    for number in range(10):
        write_frames(tmp_path / f"own/clips/{number}", ["1.png"], number)
    lines = [f"clips\\{number};{number % 2}.0;" for number in range(10)]
    (tmp_path / "own/list.csv").write_text("\n".join(["Video; Class;", *lines]), encoding="utf-16")
    builder = VideoFolder(data_dir=str(tmp_path / "own"), cache_dir=str(tmp_path / "cache"), labels=["1", "0"])
    builder.download_and_prepare()
    rows = builder.as_dataset(split="all")
    names = rows.features["label"].names
    assert {row["clip_id"]: names[row["label"]] for row in rows} == {f"clips/{i}": str(i % 2) for i in range(10)}


def test_a_file_whose_name_is_no_text_is_named_and_left_out(tmp_path):
    root = tmp_path / "own"
    for number in range(4):
        for label in ("happy", "sad"):
            write_video(root / label / f"{number}.mp4", number)
    os.rename(root / "sad/0.mp4", os.fsdecode(bytes(root / "sad") + b"/caf\xe9.mp4"))
    write_frames(root / "sad/frames", ["1.png"])
    os.rename(root / "sad/frames/1.png", os.fsdecode(bytes(root / "sad/frames") + b"/\xe9.png"))
    with pytest.raises(ValueError, match=r"(?s)2 of 9.*caf\\xe9.mp4: the name is not UTF-8.*\\xe9.png") as error:
        VideoFolder(data_dir=str(root), cache_dir=str(tmp_path / "cache")).download_and_prepare()
    str(error.value).encode()  # can be printed
    builder = VideoFolder(data_dir=str(root), cache_dir=str(tmp_path / "cache"), max_missing=2)
    builder.download_and_prepare()
    assert len(builder.as_dataset(split="all")) == 7
    "\n".join(builder.check_result.lines()).encode()
