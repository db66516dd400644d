"""Publishing: Parquet that `load_dataset` reads, the card, the upload, and the refusal of licence-gated data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from PIL import Image
from trees import (
    OURS,
    fer2013_stills,
    padded,
    read_back,
    unpadded,
    write_cremad,
    write_dfew,
    write_fer2013,
    write_fer2013_folders,
    write_ferv39k,
    write_frames,
    write_ravdess,
    write_video,
)

from modeling_hdf.cli.main import main
from modeling_hdf.data import SyntheticFaces, VideoFolder, load_clip
from modeling_hdf.data.files import whole_or_absent
from modeling_hdf.hub import datasets as publishing
from modeling_hdf.hub.datasets import publish_dataset

TINY = {"num_train": 7, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    """What the command builds goes to a cache of the test's own."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def own(tmp_path) -> Path:
    """Two clips of each class per split, a video and a folder of frames of odd size, with their persons."""
    root, lines = tmp_path / "own", ["path,label,split,group"]
    for number in range(42):
        split, label = ("train", "validation", "test")[number // 14], OURS[number % 7]
        path = f"clips/{number}" + (".mp4" if number % 2 else "")
        if number % 2:
            write_video(root / path, number)
        else:
            write_frames(root / path, unpadded(number), number, size=17)
        lines.append(f"{path},{label},{split},person {number}")
    (root / "clips.csv").write_text("\n".join(lines))
    return root


def run(*arguments: object) -> int:
    return main(["data", "publish", *map(str, arguments)])


def test_own_data_come_back_from_parquet(own, tmp_path):
    out = tmp_path / "out"
    assert run("folder", out, "--data-dir", own, "--license", "cc-by-4.0", "--name", "Our faces") == 0
    splits = load_dataset(str(out), cache_dir=str(tmp_path / "read"))
    assert splits.num_rows == {"train": 14, "validation": 14, "test": 14}
    assert splits["train"].features["label"].names == list(OURS)
    assert set(splits["train"].column_names) == {"clip", "label", "clip_id", "group"}  # nothing is known of the others
    for rows in splits.values():
        for row in rows.with_format(None).cast_column("clip", publishing.datasets.Video(decode=False)):
            number = int(Path(row["clip_id"]).stem)
            assert row["label"] == number % 7 and row["group"] == f"person {number}"
            clip = load_clip(row)
            assert read_back(clip) == (list(range(12)), number)
            assert clip.shape[1:3] == ((16, 16) if number % 2 else (18, 18))
            if number % 2:
                assert row["clip"]["bytes"] == (own / row["clip_id"]).read_bytes()


def test_encoded_frames_stay_close(tmp_path):
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(40, 200, (12, 4, 4, 3)), np.ones((1, 16, 16, 1))).astype(np.uint8)
    for index, frame in enumerate(smooth):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    row = {"clip": {"path": None, "frames": [str(tmp_path / f"{index}.png") for index in range(12)]}}
    decoded = load_clip({"clip": publishing.embed_clip(row, fps=25)})
    error = np.abs(decoded.astype(int) - smooth)
    assert decoded.shape == smooth.shape and error.mean() < 4


def test_stills_keep_their_names_and_their_bytes(tmp_path):
    root, names = tmp_path / "stills", [f"{number}.{'jpg' if number % 3 else 'png'}" for number in range(20)]
    for number, name in enumerate(names):
        write_frames(root / OURS[number % 2], [name], number, size=17)
    assert run("folder", tmp_path / "out", "--data-dir", root, "--license", "cc0-1.0") == 0
    found = []
    for rows in load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "read")).values():
        for row in rows.cast_column("clip", publishing.datasets.Video(decode=False)):
            assert row["clip"]["bytes"] == (root / row["clip_id"]).read_bytes()
            clip = load_clip(row)
            assert clip.shape == (1, 17, 17, 3)
            assert read_back(clip) == ([0], int(Path(row["clip_id"]).stem))
            found.append(row["clip"]["path"])
    assert sorted(found) == sorted(names)


def test_the_card_states_counts_licence_and_splits(own, tmp_path):
    out = tmp_path / "out"
    description = "Filmed at our desks."
    arguments = ("--license", "cc-by-4.0", "--name", "Our faces", "--description", description)
    assert run("folder", out, "--data-dir", own, *arguments) == 0
    card = DatasetCard.load(out / "README.md")
    assert card.data.license == "cc-by-4.0" and card.data.pretty_name == "Our faces"
    assert card.data.task_categories == ["video-classification"]
    for text in ("# Our faces", "| happiness | 2 | 2 | 2 |", "| total | 14 | 14 | 14 |", description, "consent"):
        assert text in card.text, text
    assert "Synthetic data only" not in card.text
    assert str(tmp_path) not in card.content


def test_synthetic_faces_are_published_with_all_columns(tmp_path):
    out = tmp_path / "out"
    assert run("synthetic", out, "--overrides", json.dumps(TINY)) == 0
    card = DatasetCard.load(out / "README.md")
    assert "Synthetic data only" in card.text and card.data.license == "cc0-1.0" and "synthetic" in card.data.tags
    builder = SyntheticFaces(cache_dir=str(tmp_path / "cache"), **TINY)
    builder.download_and_prepare()
    stored = builder.as_dataset(split="test")
    published = load_dataset(str(out), split="test", cache_dir=str(tmp_path / "read"))
    published = published.cast_column("clip", publishing.datasets.Video(decode=False))
    assert published.column_names == stored.column_names
    for name in set(stored.column_names) - {"clip"}:
        assert published[name][:] == stored[name][:], name  # drawn, not rendered: the same on every processor
    for one, other in zip(published["clip"], stored["clip"], strict=True):
        assert one["path"] == other["path"]
        difference = load_clip({"clip": one}).astype(int) - load_clip({"clip": other})
        assert np.abs(difference).mean() < 0.2  # rendered twice


def test_large_splits_are_cut_into_files(own, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "_FILE_BYTES", 10_000)
    monkeypatch.setattr(publishing, "_ROWS_AT_ONCE", 4)
    assert run("folder", tmp_path / "out", "--data-dir", own, "--license", "mit") == 0
    files = sorted(path.name for path in (tmp_path / "out/data").glob("train-*"))
    assert files[:2] == ["train-00000.parquet", "train-00001.parquet"] and len(files) > 2
    splits = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "read"))
    assert splits.num_rows == {"train": 14, "validation": 14, "test": 14}


@pytest.mark.parametrize("dataset", ["dfew", "ferv39k", "mafw"])
def test_licence_gated_datasets_are_refused(tmp_path, capsys, dataset):
    assert run(dataset, tmp_path / "out", "--data-dir", tmp_path, "--license", "mit") == 1
    assert "is licence-gated" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fer2013_which_states_no_licence_is_refused(tmp_path, capsys):
    write_fer2013(tmp_path / "fer2013" / "fer2013.csv", fer2013_stills())
    for dataset in ("fer2013", "folder"):
        assert run(dataset, tmp_path / "out", "--data-dir", tmp_path / "fer2013", "--license", "mit") == 1
        assert "FER2013 holds pictures from web searches, and its authors state no licence" in capsys.readouterr().err
    write_fer2013_folders(tmp_path / "archive", fer2013_stills(), named=True)
    write_fer2013(tmp_path / "data" / "icml_face_data.csv", fer2013_stills())
    for folder in ("archive", "data"):  # of any name
        assert run("folder", tmp_path / "out", "--data-dir", tmp_path / folder, "--license", "mit") == 1
        assert "FER2013 holds pictures from web searches" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dataset", "licence", "notice", "columns"),
    [
        ("ravdess", "cc-by-nc-sa-4.0", "RAVDESS, Livingstone and Russo", {"group", "sex", "intensity", "channel"}),
        ("cremad", "odbl", "CREMA-D, Cao et al.", {"group", "sex", "age", "race", "ethnicity", "level", "votes"}),
    ],
)
def test_open_datasets_are_published_under_the_licence_of_their_authors(
    tmp_path, capsys, dataset, licence, notice, columns
):
    root, out = tmp_path / "data", tmp_path / "out"
    if dataset == "ravdess":
        expected = write_ravdess(root, (1, 2), channels=("01", "02"))  # calm and song too: nothing is left out
    else:
        expected = write_cremad(root, (1001, 1006))
    assert run(dataset, out, "--data-dir", root, "--license", "mit") == 2
    assert f"is under {licence}, which its authors chose" in capsys.readouterr().err
    assert run(dataset, out, "--data-dir", root) == 0
    assert f"may be handed on under {licence}: {notice}" in capsys.readouterr().out
    splits = load_dataset(str(out), cache_dir=str(tmp_path / "read"))
    names = splits["train"].features["label"].names
    found = {row["clip_id"]: names[row["label"]] for row in splits["train"].select_columns(["clip_id", "label"])}
    assert found == {clip.clip_id: clip.label for clip in expected} and len(splits["train"]) == len(expected)
    assert set(splits["train"].column_names) == {"clip", "label", "clip_id"} | columns
    card = (out / "README.md").read_text()
    assert f"license: {licence}" in card and notice in card


@pytest.mark.parametrize(
    ("dataset", "option"),
    [
        ("synthetic", ("--license", "mit")),
        ("synthetic", ("--max-missing", "1")),
        ("ravdess", ("--labels", "a,b")),
        ("cremad", ("--overrides", '{"seed": 1}')),
        ("folder", ("--overrides", '{"seed": 1}')),
    ],
)
def test_an_option_that_the_dataset_does_not_use_is_refused(own, tmp_path, capsys, dataset, option):
    data = () if dataset == "synthetic" else ("--data-dir", own)
    assert run(dataset, tmp_path / "out", *data, *option) == 2
    assert f"{option[0]} has no meaning for {dataset}: leave it out" in capsys.readouterr().err


def test_clips_of_a_gated_dataset_are_refused_under_another_name(tmp_path, capsys):
    write_dfew(tmp_path / "a")
    write_ferv39k(tmp_path / "b", scenes=("Action",))
    for data_dir, owner in ((tmp_path / "a", "DFEW"), (tmp_path / "b/2_ClipsforFaceCrop/Action", "FERV39k")):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(data_dir)
        assert run("folder", tmp_path / "out", "--data-dir", tmp_path / "link", "--license", "mit") == 1
        assert f"{owner} is licence-gated" in capsys.readouterr().err
    # A list of one's own that points into the dataset.
    own = tmp_path / "own"
    own.mkdir()
    lines = [f"{tmp_path}/a/Clip/clip_224x224/{3 + 5 * index:05d},{OURS[index % 7]}" for index in range(28)]
    (own / "clips.csv").write_text("\n".join(["path,label", *lines]))
    assert run("folder", tmp_path / "out", "--data-dir", own, "--license", "mit") == 1
    assert "DFEW is licence-gated" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_own_data_need_a_licence_and_an_empty_folder(own, tmp_path, capsys):
    assert run("folder", tmp_path / "out", "--data-dir", own) == 2
    assert "--license" in capsys.readouterr().err
    write_frames(tmp_path / "full", padded(0))
    assert run("folder", tmp_path / "full", "--data-dir", own, "--license", "mit") == 1
    assert "is not empty" in capsys.readouterr().err
    builder = VideoFolder(data_dir=str(own), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    with pytest.raises(FileExistsError):
        publish_dataset(builder.as_dataset(), tmp_path / "full", name="x", license="mit")


# ---- Lists and links that lead elsewhere ----

KEY = b"-----BEGIN " + b"OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk"


def add_line(own: Path, path: object, label: str = "happiness") -> int:
    """Lists one more clip; returns the number of its line."""
    text = (own / "clips.csv").read_text() + f"\n{path},{label},train,somebody"
    (own / "clips.csv").write_text(text)
    return len(text.splitlines())


def refused(own, tmp_path, capsys) -> str:
    out = tmp_path / "out"
    assert run("folder", out, "--data-dir", own, "--license", "mit") == 1
    assert not out.exists() and [path.name for path in tmp_path.iterdir() if "hdf-part" in path.name] == []
    return capsys.readouterr().err


def test_a_listed_file_outside_of_the_folder_is_not_published_and_its_line_is_named(own, tmp_path, capsys):
    before = (own / "clips.csv").read_text()
    (tmp_path / "id_rsa").write_bytes(KEY)
    write_video(tmp_path / "outside.mp4", 1)
    write_frames(tmp_path / "outside", unpadded(1), 1)
    for path in ("../id_rsa", tmp_path / "id_rsa", "../outside.mp4", "clips/../../outside.mp4", "../outside"):
        (own / "clips.csv").write_text(before)
        line = add_line(own, path)
        told = refused(own, tmp_path, capsys)
        assert f"clips.csv, line {line}: is not published" in told and "leads out of" in told
        assert "b3BlbnNz" not in told


def test_links_that_lead_out_of_the_folder_are_not_followed(own, tmp_path, capsys):
    write_video(tmp_path / "outside.mp4", 1)
    write_frames(tmp_path / "outside", unpadded(1), 1)
    frame = sorted((own / "clips/0").iterdir())[3]
    outside = sorted((tmp_path / "outside").iterdir())[3]
    for name, target in (
        ("1.mp4", tmp_path / "outside.mp4"),
        ("2", tmp_path / "outside"),
        (f"0/{frame.name}", outside),
    ):
        path = own / "clips" / name
        path.rename(tmp_path / "aside")
        path.symlink_to(target)
        told = refused(own, tmp_path, capsys)
        number = int(name.split("/")[0].removesuffix(".mp4"))
        assert f"clips.csv, line {number + 2}: is not published" in told, name
        path.unlink()
        (tmp_path / "aside").rename(path)
    (own / "clips/1.mp4").rename(own / "first.mp4")
    (own / "clips/1.mp4").symlink_to("../first.mp4")
    assert run("folder", tmp_path / "out", "--data-dir", own, "--license", "mit") == 0  # within the folder


def test_a_file_in_the_folder_that_is_no_clip_is_not_published(own, tmp_path, capsys):
    (own / "clips/1.mp4").write_bytes(KEY)
    assert "1.mp4" in refused(own, tmp_path, capsys)


def test_a_key_behind_a_video_is_not_published(own, tmp_path, capsys):
    with open(own / "clips/1.mp4", "ab") as file:
        file.write(KEY)
    told = refused(own, tmp_path, capsys)
    assert "1.mp4: holds a private key" in told and "b3BlbnNz" not in told


@pytest.mark.parametrize("option, place", [("--name", "README.md"), ("--description", "README.md")])
def test_a_token_in_the_card_is_refused(own, tmp_path, capsys, option, place):
    token = "hf_" + "aB3" * 11
    arguments = ("folder", tmp_path / "out", "--data-dir", own, "--license", "mit", option, f"with {token}")
    assert run(*arguments) == 1
    told = capsys.readouterr().err
    assert f"{place}, line" in told and "Hugging Face" in told and token not in told
    assert not (tmp_path / "out").exists()


def test_a_token_in_a_column_is_refused(own, tmp_path, capsys):
    token = "hf_" + "aB3" * 11
    text = (own / "clips.csv").read_text()
    (own / "clips.csv").write_text(text.replace("person 3", token))
    told = refused(own, tmp_path, capsys)
    assert "column group" in told and token not in told


def test_absolute_paths_in_the_folder_are_published_without_what_they_tell_of_this_machine(own, tmp_path):
    text = (own / "clips.csv").read_text()
    (own / "clips.csv").write_text(text.replace("\nclips/", f"\n{own}/clips/"))
    assert run("folder", tmp_path / "out", "--data-dir", own, "--license", "mit") == 0
    rows = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "read"), split="test")
    assert sorted(rows["clip_id"][:]) == sorted(f"clips/{number}" + ".mp4" * (number % 2) for number in range(28, 42))
    parquet = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.*"))
    assert str(tmp_path).encode() not in parquet


def test_clips_on_disk_need_the_folder_that_they_belong_to(own, tmp_path):
    builder = VideoFolder(data_dir=str(own), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    with pytest.raises(ValueError, match="lies on disk; give the folder of the clips as `data_dir`"):
        publish_dataset(builder.as_dataset(), tmp_path / "out", name="x", license="mit")


def test_what_a_killed_run_left_is_removed_by_the_next_and_nothing_else(own, tmp_path):
    out, others = tmp_path / "out", tmp_path / ".other.hdf-part"
    code = (
        "import os, sys\nfrom modeling_hdf.hub import datasets\n"
        "datasets._write_card = lambda *arguments, **options: os._exit(9)\n"
        "from modeling_hdf.cli.main import main\nmain(sys.argv[1:])"
    )
    command = ["data", "publish", "folder", str(out), "--data-dir", str(own), "--license", "mit"]
    environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache2")}
    killed = subprocess.run([sys.executable, "-c", code, *command], env=environment, timeout=300)
    (left,) = tmp_path.glob(".*.hdf-part")
    assert killed.returncode == 9 and (left / "out/data").is_dir()
    (others / "something").mkdir(parents=True)
    (tmp_path / ".out.notes").mkdir()
    with whole_or_absent(out) as at_work:  # another process, as far as the locks tell
        at_work.mkdir()
        assert main(command) == 0
        assert not left.exists() and at_work.is_dir() and others.is_dir() and (tmp_path / ".out.notes").is_dir()
