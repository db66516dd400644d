"""One clip that cannot be read costs no evaluation: it is skipped, counted and named, and counts in no figure."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluated_models import assert_error, own_dataset_cache, run, save_model  # noqa: F401
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, log_loss
from transformers import AutoModelForVideoClassification
from trees import write_frames, write_video

from modeling_hdf import HDFTrainer, HDFVideoProcessor
from modeling_hdf.cli import export
from modeling_hdf.cli.main import main
from modeling_hdf.data import EXPRESSIONS
from modeling_hdf.evaluation.predictions import class_names, read_predictions
from modeling_hdf.inference import load_classifier

PER_CLASS = 3
DAMAGED = ("test/fear/1.mp4", "test/sadness/frames")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def videos(tmp_path) -> Path:
    """A folder of videos with three splits; two test clips are damaged, which no list of files tells."""
    root = tmp_path / "videos"
    for number, split in enumerate(("train", "validation", "test")):
        for label, name in enumerate(EXPRESSIONS):
            for index in range(PER_CLASS if split == "test" else 1):
                write_video(root / split / name / f"{index}.mp4", number=50 * number + 3 * label + index)
    write_frames(root / DAMAGED[1], [f"{index}.png" for index in range(6)], number=99)
    video, frame = root / DAMAGED[0], root / DAMAGED[1] / "3.png"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])  # an MP4 file ends with its index
    frame.write_bytes(frame.read_bytes()[:60])
    return root


def plain_loop(model: Path, root: Path, split: str) -> tuple[list[str], np.ndarray]:
    """True classes, and probabilities `(N, 7)`, of the videos of a split but the damaged ones."""
    classifier = AutoModelForVideoClassification.from_pretrained(model)
    processor = HDFVideoProcessor.from_pretrained(model)
    paths = [path for path in sorted((root / split).rglob("*.mp4")) if path != root / DAMAGED[0]]
    with torch.no_grad():
        clips = [processor(path, return_tensors="pt").pixel_values for path in paths]
        scores = [classifier(clip).logits[0].double().softmax(-1).numpy() for clip in clips]
    return [path.parent.name for path in paths], np.stack(scores)


def evaluate(saved: Path, root: Path, *options: object) -> int:
    return run("evaluate", saved, "--dataset", "folder", "--data-dir", root, "--resamples", 20, *options)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_figures_are_those_of_the_clips_that_can_be_read(saved, videos, tmp_path, capsys, workers):
    options = ("--num-workers", workers, "--batch-size", 4, "--num-views", 2 if workers else 1)
    assert evaluate(saved, videos, "--output", tmp_path / "out", *options) == 1
    captured = capsys.readouterr()
    assert "2 clips could not be read, and count in no figure" in captured.out
    assert "2 of 36 listed clips are missing, empty or unreadable; `max_missing` (`--max-missing`) allows 0" in (
        captured.err
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {entry["clip_id"] for entry in metrics["unreadable"]} == set(DAMAGED)
    assert str(tmp_path) not in json.dumps(metrics["unreadable"])
    labels, probabilities = plain_loop(saved, videos, "test")
    assert metrics["num_clips"] == len(labels) == 7 * PER_CLASS - 1
    table = read_predictions(tmp_path / "out" / "predictions.csv")
    assert len(table) == len(labels) + 2
    lost = table[table["error"].notna()].set_index("clip_id")
    assert set(lost.index) == set(DAMAGED) and lost["predicted"].isna().all()
    assert lost[[f"probability_{name}" for name in class_names(table)]].isna().all(axis=None)
    assert str(videos / DAMAGED[0]) in lost["error"][DAMAGED[0]]
    assert str(videos / DAMAGED[1] / "3.png") in lost["error"][DAMAGED[1]]
    if not workers:  # one view, as the loop takes
        predicted = [EXPRESSIONS[number] for number in probabilities.argmax(1)]
        assert metrics["war"] == pytest.approx(accuracy_score(labels, predicted))
        assert metrics["uar"] == pytest.approx(balanced_accuracy_score(labels, predicted))
        matrix = confusion_matrix(labels, predicted, labels=list(EXPRESSIONS)).tolist()
        assert metrics["confusion_matrix"] == matrix
        assert metrics["bootstrap"]["num_units"] == len(labels)


def test_an_unreadable_clip_of_a_class_that_the_model_lacks_ends_nothing(saved, videos, tmp_path):
    lost = videos / "test" / "contempt" / "0.mp4"
    write_video(lost, number=98)
    lost.write_bytes(lost.read_bytes()[:60])
    assert evaluate(saved, videos, "--output", tmp_path / "out", "--max-missing", 2) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["gate_liveness"]["num_clips"] == metrics["num_clips"] == 7 * PER_CLASS - 1
    assert metrics["across_datasets"]["left_out"] == {"contempt": 1}


def test_as_many_as_are_allowed_are_no_failure_and_the_page_names_them(saved, videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate(saved, videos, "--output", out, "--max-missing", 2) == 0
    assert evaluate(saved, videos, "--max-missing", 1) == 1
    assert run("report", out, "--data-dir", videos, "--max-missing", 2, "--clips", 1) == 0
    page = (out / "report.html").read_text()
    assert "2 of 22 clips could not be read, and count in no figure." in page
    assert all(clip_id in page for clip_id in DAMAGED)


def test_a_missing_clip_and_an_unreadable_one_count_together(saved, videos, tmp_path, capsys):
    clips = [*videos.glob("test/*/*.mp4"), *videos.glob("train/*/*.mp4")]
    lines = [f"{path.relative_to(videos)},{path.parent.name},{path.parts[-3]}" for path in sorted(clips)]
    (videos / "clips.csv").write_text("\n".join(["path,label,split", *lines, ""]))
    (videos / "test" / "anger" / "0.mp4").unlink()
    assert evaluate(saved, videos, "--max-missing", 1) == 1
    assert_error(capsys, "2 of 28 listed clips are missing, empty or unreadable")
    for _ in range(2):  # the second time from the cache
        assert evaluate(saved, videos, "--max-missing", 2) == 0
        assert "1 of 28 listed clips of VideoFolder are missing, empty or unreadable, and left out" in (
            capsys.readouterr().out
        )


def test_the_loss_of_int8_counts_the_measured_clips_alone(saved, videos, tmp_path, capsys, monkeypatch):
    for split in ("train", "test"):
        write_video(videos / split / "contempt" / "0.mp4", number=98)  # a class that the model lacks
    monkeypatch.setattr(export, "export_model", lambda *arguments: 0.0)
    monkeypatch.setattr(export, "quantize_int8", lambda folder: load_classifier(str(saved))[0])
    options = ("--int8", "--dataset", "folder", "--data-dir", videos)
    assert run("export", saved, tmp_path / "out", *options, "--json") == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)["int8"]
    assert result["clips"] == 7 * PER_CLASS - 1 and f"points on {result['clips']} clips (folder, test" in captured.err
    assert result["uar"] == result["uar_of_the_model"]
    assert "2 clips could not be read, and count in no figure" in captured.err
    assert {entry["clip_id"] for entry in result["unreadable"]} == set(DAMAGED)
    assert "clips left out, of classes that the model lacks: 1 contempt" in captured.err
    assert "2 of 38 listed clips are missing, empty or unreadable" in captured.err
    assert run("export", saved, tmp_path / "out", *options, "--max-missing", 2) == 0


def test_no_clip_that_can_be_read_is_an_error(saved, videos, capsys):
    for path in videos.glob("test/*/*.mp4"):
        path.write_bytes(path.read_bytes()[:100])
    assert evaluate(saved, videos, "--max-missing", 1.0) == 1
    assert_error(capsys, "None of the 22 clips can be read; the first: ")


def test_calibration_leaves_them_out_too(saved, videos, tmp_path, capsys):
    model = shutil.copytree(saved, tmp_path / "model")
    options = ("--dataset", "folder", "--data-dir", videos)
    assert run("calibrate", model, *options) == 1
    report = json.loads((model / "calibration.json").read_text())
    assert {entry["clip_id"] for entry in report["unreadable"]} == set(DAMAGED)
    labels, probabilities = plain_loop(saved, videos, "test")
    assert report["test"]["num_clips"] == len(labels)
    expected = log_loss([EXPRESSIONS.index(label) for label in labels], probabilities, labels=range(7))
    assert report["test"]["before"]["nll"] == pytest.approx(expected, rel=1e-4)
    assert run("calibrate", model, *options, "--max-missing", 2) == 0


TRAINING = {"per_device_train_batch_size": 7, "num_train_epochs": 1, "preset": "tiny", "use_cpu": True}


def train(root: Path, folder: Path, *options: object) -> int:
    fields = [str(part) for name, value in TRAINING.items() for part in (f"--{name}", value)]
    data = ["--dataset", "folder", "--data-dir", root, "--output_dir", folder]
    return main(["train", *map(str, data), *fields, *map(str, options)])


def blank_content(video: Path) -> None:
    """Leaves the headers whole, so that only decoding finds out that there is no picture."""
    content = video.read_bytes()
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    video.write_bytes(content[:start] + bytes(end - start) + content[end:])


def test_the_test_after_training_skips_them(videos, tmp_path, capsys):
    shutil.rmtree(videos / DAMAGED[1])
    write_video(videos / DAMAGED[0], number=20)
    blank_content(videos / DAMAGED[0])
    assert train(videos, tmp_path / "run", "--frame_controls", True) == 1
    captured = capsys.readouterr()
    assert "1 of 35 listed clips are missing, empty or unreadable" in captured.err
    assert "1 clips could not be read, and count in no figure" in captured.out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["num_clips"] == 20 and [entry["clip_id"] for entry in metrics["unreadable"]] == [DAMAGED[0]]
    assert set(metrics["controls"]) == {"first_war", "shuffled_war"}
    assert "1 of 21 clips could not be read" in (tmp_path / "run" / "report.html").read_text()


@pytest.fixture
def blank_validation_clip(videos) -> str:
    """A clip of the validation split that cannot be decoded; the clips of the test split can."""
    shutil.rmtree(videos / DAMAGED[1])
    write_video(videos / DAMAGED[0], number=20)
    blank_content(videos / "validation/fear/0.mp4")
    return "validation/fear/0.mp4"


def test_training_names_a_validation_clip_that_cannot_be_decoded_before_the_first_step(
    videos, blank_validation_clip, tmp_path, capsys
):
    assert train(videos, tmp_path / "run") == 1
    printed = capsys.readouterr().err
    assert "1 of 35 listed clips are missing, empty or unreadable" in printed
    assert f"{blank_validation_clip}: {videos / blank_validation_clip}" in printed
    assert not list((tmp_path / "run").glob("checkpoint-*"))


@pytest.mark.parametrize("test_clip_too", [False, True])
def test_validation_leaves_out_what_is_allowed_to_miss(
    videos, blank_validation_clip, tmp_path, capsys, monkeypatch, test_clip_too
):
    if test_clip_too:
        blank_content(videos / DAMAGED[0])
    evaluated = []
    evaluate = HDFTrainer.evaluation_loop

    def counted(self, *arguments, **options):
        output = evaluate(self, *arguments, **options)
        evaluated.append((output.num_samples, output.label_ids.tolist()))
        return output

    monkeypatch.setattr(HDFTrainer, "evaluation_loop", counted)
    assert train(videos, tmp_path / "run", "--max_missing", 1) == int(test_clip_too)
    captured = capsys.readouterr()
    assert f"  {blank_validation_clip}: {videos / blank_validation_clip}" in captured.out
    others = [index for index, name in enumerate(EXPRESSIONS) if name != "fear"]
    assert (evaluated[0][0], sorted(evaluated[0][1])) == (6, others)
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert any("eval_uar" in entry for entry in state["log_history"])
    assert ("2 of 35 listed clips are missing, empty or unreadable" in captured.err) == test_clip_too


def test_training_names_a_clip_with_a_broken_header_before_the_first_step(videos, tmp_path, capsys):
    shutil.rmtree(videos / DAMAGED[1])
    assert train(videos, tmp_path / "run") == 1
    assert_error(capsys, f"1 of 35 listed clips are missing, empty or unreadable.*{DAMAGED[0]}")
    assert not list((tmp_path / "run").glob("checkpoint-*"))


@pytest.mark.parametrize("workers", [0, 1])
def test_training_ends_with_one_line_for_a_clip_that_goes_meanwhile(videos, tmp_path, capsys, monkeypatch, workers):
    shutil.rmtree(videos / DAMAGED[1])
    write_video(videos / DAMAGED[0], number=20)
    gone, begin = videos / "train" / "fear" / "0.mp4", HDFTrainer.train_to_the_end

    def begin_without(self, *arguments):
        gone.unlink()
        begin(self, *arguments)

    monkeypatch.setattr(HDFTrainer, "train_to_the_end", begin_without)
    assert train(videos, tmp_path / "run", "--dataloader_num_workers", workers) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error:" in line)
    assert f"{gone}: no such file" in line
