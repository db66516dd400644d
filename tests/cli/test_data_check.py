"""`hdf data check`: the table, the clips it names, and its exit code."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from trees import (
    padded,
    single,
    write_cremad,
    write_dfew,
    write_ferv39k,
    write_frames,
    write_mafw,
    write_ravdess,
    write_video,
    write_votes,
)

from modeling_hdf.cli.main import main
from modeling_hdf.data import class_counts
from modeling_hdf.data.builders.checks import allowed_missing
from modeling_hdf.data.builders.clip_files import ClipFiles, inspect_clip
from modeling_hdf.data.builders.dfew import DFEWConfig
from modeling_hdf.data.builders.ferv39k import FERV39kConfig
from modeling_hdf.data.builders.listing import PublishedCounts


def check(capsys, *arguments: object) -> tuple[int, str]:
    code = main(["data", "check", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def table_row(output: str, name: str) -> list[str]:
    return next(line.split() for line in output.splitlines() if line.startswith(name))[1:]


def test_the_published_counts_add_up():
    """The sums that the authors publish beside the counts per class."""
    ferv39k = FERV39kConfig.published(None)
    assert ferv39k.totals == {"train": 31088, "test": 7847, "all": 38935}


@pytest.mark.parametrize("fold", range(1, 6))
def test_each_fold_of_dfew_adds_up(tmp_path, fold):
    published = DFEWConfig(name=f"fold{fold}", data_dir=str(tmp_path)).published()
    assert published.totals["train"] + published.totals["test"] == published.totals["all"] == 11697
    assert sum(published.classes["all"]) == 11697


def test_a_good_copy_passes_with_its_counts_beside_the_published_ones(tmp_path, capsys):
    write_dfew(tmp_path, per_class=5)
    code, output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1)
    assert code == 0 and output.rstrip().endswith("PASS")
    assert output.startswith("DFEW fold1\n")
    assert "class      train  (train published)  validation  test  (test published)  all  (all published)" in output
    assert table_row(output, "happiness") == ["3", "-", "1", "1", "-", "5", "2445"]
    assert table_row(output, "disgust") == ["3", "-", "1", "1", "-", "5", "145"]
    assert table_row(output, "total") == ["21", "9356", "7", "7", "2341", "35", "11697"]
    for text in ("clips: variant clip_224x224", "labels count from 1", "short: 35 (21 train, 7 validation, 7 test)",
                 "lists 35 of 11697 published clips: a small copy", "... and 25 more"):  # fmt: skip
        assert text in output, text


def test_more_clips_than_published_are_told(tmp_path, monkeypatch, capsys):
    write_dfew(tmp_path, per_class=4)
    monkeypatch.setattr(DFEWConfig, "published", lambda self: PublishedCounts({"all": 27}))
    output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1)[1]
    assert "lists 28 of 27 published clips: more than published; is it the right annotation?" in output


def test_ferv39k_shows_published_counts_of_each_split(tmp_path, capsys):
    write_ferv39k(tmp_path, naming=single)
    code, output = check(capsys, "ferv39k", "--data-dir", tmp_path)
    assert code == 0
    assert table_row(output, "sadness") == ["2", "5523", "2", "2", "1393", "6", "6916"]


def test_mafw_checks_the_folds_that_are_there(tmp_path, capsys):
    write_mafw(tmp_path, "clips")
    code, output = check(capsys, "mafw", "--data-dir", tmp_path)
    assert code == 0
    assert "only fold1 of 5 folds are there" in output and "MAFW fold2" not in output
    assert table_row(output, "total") == ["11", "7333", "11", "11", "1839", "33", "9172"]
    shutil.copytree(tmp_path / "split/single/no_caption/set_1", tmp_path / "split/single/no_caption/set_4")
    output = check(capsys, "mafw", "--data-dir", tmp_path)[1]
    assert "only fold1, fold4 of 5" in output and "MAFW fold4" in output


def test_each_kind_of_problem_is_named_and_fails(tmp_path, capsys):
    write_dfew(tmp_path)
    clips = tmp_path / "Clip/clip_224x224"
    shutil.rmtree(clips / "00003")
    for frame in (clips / "00008").iterdir():
        frame.unlink()
    (clips / "00013/00013_00001.jpg").write_bytes(b"broken")
    (clips / "00018/00018_00007.jpg").write_bytes(b"")
    code, output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1, "--peer-protocol")
    assert code == 1
    assert "FAIL: 4 of 28 listed clips are missing, empty or unreadable" in output
    for text in (
        "missing: 1",
        f"3 (happiness, train): {clips}/00003: no such file or folder",
        "empty: 1",
        f"{clips}/00008: the folder holds no frame",
        "unreadable: 2",
        f"{clips}/00013/00013_00001.jpg: cannot be read as a picture",
        f"{clips}/00018/00018_00007.jpg: the frame is empty (0 bytes)",
    ):
        assert text in output, text


@pytest.mark.parametrize("allowed, code", [("1", 1), ("2", 0), ("0.05", 1), ("0.08", 0)])
def test_max_missing_is_a_number_or_a_share_of_the_listed_clips(tmp_path, capsys, allowed, code):
    write_dfew(tmp_path)
    for number in (3, 8):
        shutil.rmtree(tmp_path / f"Clip/clip_224x224/{number:05d}")
    found, output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1, "--max-missing", allowed)
    assert found == code
    assert "missing: 2" in output


def test_the_clips_of_a_share_are_counted_exactly():
    for percent in range(101):
        assert allowed_missing(percent / 100, 100) == percent
        assert allowed_missing(percent / 100, 99) == percent * 99 // 100


def test_only_full_decodes_every_frame(tmp_path, capsys):
    write_dfew(tmp_path)
    path = tmp_path / "Clip/clip_224x224/00013/00013_00005.jpg"
    Image.effect_noise((64, 64), 80).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:-600])
    arguments = ("dfew", "--data-dir", tmp_path, "--fold", 1)
    assert check(capsys, *arguments)[0] == 0
    code, output = check(capsys, *arguments, "--full")
    assert code == 1 and f"{path}: cannot be read as a picture" in output


def test_videos_are_counted_and_truncated_ones_found(tmp_path, capsys):
    write_dfew(tmp_path, "original")
    write_video(tmp_path / "Clip/original/00003.mp4", num_frames=20)
    broken = tmp_path / "Clip/original/00008.mp4"
    broken.write_bytes(broken.read_bytes()[:-300])
    code, output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1)
    assert code == 1 and f"{broken}: cannot be read as a video" in output
    assert "short: 26" in output  # of 28, one is long enough and one is broken


def test_a_video_cut_off_in_its_pictures_is_found_by_full(tmp_path):
    """An MP4 whose index comes first opens in spite of its missing end."""
    import av
    import numpy as np

    path = tmp_path / "clip.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "1"})
        stream.width = stream.height = 64
        for _ in range(50):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert inspect_clip(str(path), "full").problem is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = inspect_clip(str(path), "full")
    assert result.problem == "unreadable" and str(path) in result.detail


def test_the_number_of_names_is_chosen(tmp_path, capsys):
    write_dfew(tmp_path)
    shutil.rmtree(tmp_path / "Clip/clip_224x224")
    (tmp_path / "Clip/clip_224x224").mkdir()
    output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1, "--names", 2)[1]
    assert output.count("no such file or folder") == 3 and "... and 26 more" in output


def test_the_peer_protocol_is_marked(tmp_path, capsys):
    write_dfew(tmp_path)
    output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1, "--peer-protocol")[1]
    assert "peer protocol: the validation split is the test split" in output
    assert table_row(output, "fear") == ["3", "-", "1", "1", "-", "4", "902"]


def test_votes_are_read_and_clips_without_them_are_told(tmp_path, capsys):
    path = write_votes(tmp_path, write_dfew(tmp_path)[1:])
    code, output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1)
    assert code == 0 and "1 of 28 clips have no votes, such as 3\n" in output
    path.write_bytes(b"no workbook")
    code, output = check(capsys, "dfew", "--data-dir", tmp_path, "--fold", 1)
    assert code == 1 and f"{path}: is no Excel workbook" in output


def test_what_is_known_of_actors_is_read_and_who_lacks_is_told(tmp_path, capsys):
    write_cremad(tmp_path, (1001, 1006, 1047))
    path = tmp_path / "VideoDemographics.csv"
    whole = path.read_text()
    path.write_text("\n".join(line for line in whole.split("\n") if "1047," not in line))
    code, output = check(capsys, "cremad", "--data-dir", tmp_path, "--fold", 1)
    assert code == 0 and "actors without demographics: 1047\n" in output
    path.write_text(whole.replace("1001,21", "1001,old"))
    code, output = check(capsys, "cremad", "--data-dir", tmp_path, "--fold", 1)
    assert code == 1 and f"{path}, line 2: the age is 'old'" in output


def test_takes_that_are_not_used_are_told_and_the_fields_of_a_training_check_them(tmp_path, capsys):
    write_ravdess(tmp_path, (1, 2, 3), channels=("01", "02"), modalities=("01", "02"))
    arguments = ("ravdess", "--data-dir", tmp_path, "--fold", 1)
    code, output = check(capsys, *arguments)
    assert code == 0 and "132 takes of song lie there and are not used" in output  # 44 of each actor
    assert table_row(output, "total")[-2] == "156"  # 52 takes of each actor are not calm
    overrides = ("--overrides", '{"channels": "both", "calm": "own", "cache_dir": "elsewhere"}')
    code, output = check(capsys, *arguments, *overrides)
    assert code == 0 and "not used" not in output
    assert table_row(output, "calm")[-2] == "48" and table_row(output, "total")[-2] == "312"
    for folder in tmp_path.glob("Video_Speech_*"):
        shutil.rmtree(folder)
    code, output = check(capsys, *arguments)
    assert code == 1 and f"{tmp_path}: holds no take of speech. 132 takes of song lie there" in output


def test_own_data_are_checked_too(tmp_path, capsys):
    for index in range(12):
        write_frames(tmp_path / "ab"[index % 2] / f"{index}", padded(index)[:1], index)
    code, output = check(capsys, "folder", "--data-dir", tmp_path, "--labels", "b,a")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines() if line.startswith(("a ", "b "))] == ["b", "a"]
    code, output = check(capsys, "folder", "--data-dir", tmp_path)
    assert code == 1 and "unknown classes 'a', 'b'" in output


@pytest.mark.parametrize(
    "arguments, expected, message",
    [
        (("dfew", "--data-dir", "."), 1, "holds no EmoLabel_DataSplit/train(single-labeled)/set_1.csv"),
        (("ferv39k", "--data-dir", ".", "--fold", "1"), 2, "--fold has no meaning for FERV39k"),
        (("mafw", "--data-dir", ".", "--label-base", "1"), 2, "--label-base has no meaning for MAFW"),
        (("dfew", "--data-dir", ".", "--fold", "7"), 2, "--fold is 7; DFEW has folds 1 to 5"),
        (("ferv39k", "--data-dir", ".", "--overrides", '{"calm": "own"}'), 1, "has 'calm'; ferv39k has the fields"),
        (
            ("dfew", "--data-dir", ".", "--variant", "original", "--overrides", '{"variant": "original"}'),
            2,
            "--variant and --overrides both give `variant`",
        ),
        (("ravdess", "--data-dir", ".", "--variant", "faces"), 1, "RAVDESS has a single form: leave `variant` out"),
    ],
)
def test_bad_calls_fail_with_a_message(tmp_path, monkeypatch, capsys, arguments, expected, message):
    monkeypatch.chdir(tmp_path)
    code, output = check(capsys, *arguments)
    assert code == expected and output.startswith("hdf data check: error:") and message in output


def test_the_command_runs_as_a_program(tmp_path):
    write_dfew(tmp_path)
    shutil.rmtree(tmp_path / "Clip/clip_224x224/00003")
    arguments = ["data", "check", "dfew", "--data-dir", str(tmp_path), "--fold", "1"]
    result = subprocess.run([sys.executable, "-m", "modeling_hdf", *arguments], capture_output=True, text=True)
    assert result.returncode == 1 and "FAIL: 1 of 28" in result.stdout, result.stderr


def test_class_counts_name_classes_without_clips():
    from datasets import ClassLabel, Dataset, Features

    rows = Dataset.from_dict({"label": [2, 0, 2]}, features=Features({"label": ClassLabel(names=["a", "b", "c"])}))
    assert class_counts(rows) == {"a": 1, "b": 0, "c": 2}
    assert class_counts({"test": rows}) == {"test": {"a": 1, "b": 0, "c": 2}}


def test_a_place_is_inspected_for_what_lies_there(tmp_path):
    path = Path(tmp_path) / "clip.jpg"
    Image.new("RGB", (8, 8)).save(path)
    assert inspect_clip(str(path), "full") == ClipFiles(frames=[str(path)])  # a clip of one frame
    path.write_bytes(b"")
    assert inspect_clip(str(path)).problem == "empty"
    assert inspect_clip(str(path / "below")).problem == "missing"
