"""The example scripts as a user runs them, on a handful of clips."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pandas.testing import assert_frame_equal
from safetensors.torch import load_file
from transformers import AutoModelForVideoClassification, VideoMAEConfig, VideoMAEForVideoClassification, pipeline

from modeling_hdf.evaluation.environment import environment
from modeling_hdf.evaluation.predictions import read_predictions

EXAMPLES = Path(__file__).parents[2] / "examples"
EMOTIONS = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]


def run(script, *arguments, check=True):
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=300)


SMALL = {"num_train": 14, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}


def train(folder, *arguments, check=True):
    short = ("--num_train_epochs", 2, "--per_device_train_batch_size", 7, "--logging_steps", 1, "--use_cpu", "true")
    return run(
        "train.py", "--output_dir", folder, "--dataset_overrides", json.dumps(SMALL), *short, *arguments, check=check
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(folder, "--seed", 3)
    return folder


def test_training_leaves_weights_metrics_pictures_and_card(trained):
    assert "hdf.dam.2.temporal.mix_weight" in load_file(trained / "model.safetensors")
    metrics = json.loads((trained / "metrics.json").read_text())
    matrix = np.array(metrics["confusion_matrix"])
    assert matrix.shape == (7, 7) and matrix.sum() == metrics["num_clips"] == 7
    assert metrics["war"] == pytest.approx(np.trace(matrix) / 7)
    assert metrics["uar"] == pytest.approx(np.mean(np.diag(matrix) / matrix.sum(1)))
    assert metrics["recall"] == pytest.approx(dict(zip(EMOTIONS, np.diag(matrix) / matrix.sum(1), strict=True)))
    assert metrics["seed"] == 3 and "--seed 3" in metrics["command"]
    assert set(metrics["controls"]) == {"first_war", "shuffled_war"}
    assert all(set(spread) == {"temporal", "frequency"} for spread in metrics["gate_liveness"]["layers"].values())
    assert metrics["bootstrap"]["unit"] == "identity" and metrics["groups"]["yaw"]["groups"]
    assert metrics["environment"] == environment()
    assert metrics["dataset_overrides"] == SMALL
    for name in ("config.json", "video_preprocessor_config.json", "confusion_matrix.png", "training_curves.png"):
        assert (trained / name).stat().st_size > 0
    assert f"{metrics['war']:.4f}" in (trained / "README.md").read_text()


def test_training_leaves_predictions_that_the_pipeline_repeats_and_a_report(trained):
    table = read_predictions(trained / "predictions.csv")
    assert len(table) == 7
    assert_frame_equal(table, read_predictions(trained / "predictions.parquet"), check_dtype=False)
    classify = pipeline("video-classification", model=str(trained))
    clip = next((trained / "test_clips").glob("fear_*.mp4"))
    row = table[table["clip_id"] == clip.stem.removeprefix("fear_")].iloc[0]
    assert row["label"] == "fear"
    for entry in classify(str(clip), top_k=7):
        assert row["probability_" + entry["label"]] == pytest.approx(entry["score"], abs=1e-6)
    page = (trained / "report.html").read_text()
    assert "--seed 3" in page and "Gates of" in page and page.count("data:image/png;base64,") >= 4


def test_training_applies_dsm_and_dam_as_the_recipe_says(trained):
    (checkpoint,) = trained.glob("checkpoint-*")
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    assert {"loss_ce", "loss_sc", "lambda_ce", "lambda_sc", "g"} <= set(history[0])
    assert json.loads((trained / "config.json").read_text())["dam_layers"] == [1, 2, 3]


def test_arguments_override_the_recipe(tmp_path):
    train(tmp_path, "--dsm", "false", "--model_overrides", '{"dam_layers": []}', "--frame_controls", "false")
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    assert "loss_ce" not in history[0]
    assert not any(".dam." in name for name in load_file(tmp_path / "model.safetensors"))
    assert not {"controls", "gate_liveness"} & json.loads((tmp_path / "metrics.json").read_text()).keys()


def test_prediction_of_the_script_equals_that_of_the_pipeline(trained):
    clips = sorted((trained / "test_clips").glob("*.mp4"))
    assert [clip.name.split("_")[0] for clip in clips] == sorted(EMOTIONS)
    output = run("predict.py", "--whole", "--model", trained, *clips, "--json", "--top", 2)
    predictions = json.loads(output.stdout)["predictions"]
    lines = [line for line in output.stderr.splitlines() if line.startswith(str(trained))]
    classify = pipeline("video-classification", model=str(trained))
    for clip, line in zip(clips, lines, strict=True):
        expected = {entry["label"]: entry["score"] for entry in classify(str(clip), top_k=7)}
        assert predictions[str(clip)] == pytest.approx(expected, abs=1e-6)
        shown = dict(part.split(" ") for part in line.removeprefix(f"{clip}: ").split(", "))
        best = sorted(expected.values(), reverse=True)[:2]
        assert [float(score) for score in shown.values()] == pytest.approx(best, abs=6e-4)  # shown with three digits
        assert [expected[name] for name in shown] == pytest.approx(best, abs=1e-6)


def test_prediction_names_a_bad_file_and_still_classifies_the_others(trained, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    good = next((trained / "test_clips").glob("*.mp4"))
    output = run("predict.py", "--whole", "--model", trained, bad, good, check=False)
    assert output.returncode == 1
    assert f"not classified: {bad}: " in output.stderr and f"{good}: " in output.stdout


def test_training_starts_from_an_hdf_checkpoint(trained, tmp_path):
    start = AutoModelForVideoClassification.from_pretrained(trained)
    output = train(tmp_path, "--model_name_or_path", trained, "--learning_rate", 0)
    again = AutoModelForVideoClassification.from_pretrained(tmp_path)
    for name, parameter in start.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], parameter, err_msg=name)
    assert "whose licence applies" in (tmp_path / "README.md").read_text()
    # Bars of what takes no time, and a warning that nobody can act on without a GPU.
    assert [each for each in ("Loading weights", "Writing model", "pin_memory") if each in output.stderr] == []


def test_a_checkpoint_whose_classes_stand_in_another_order_gets_a_new_classifier(trained, tmp_path):
    start = AutoModelForVideoClassification.from_pretrained(trained)
    start.config.id2label = dict(enumerate(reversed(EMOTIONS)))
    start.save_pretrained(tmp_path / "start")
    output = train(tmp_path / "run", "--model_name_or_path", tmp_path / "start", "--learning_rate", 0)
    assert "classifier starts afresh" in output.stdout
    again = AutoModelForVideoClassification.from_pretrained(tmp_path / "run")
    assert list(again.config.id2label.values()) == EMOTIONS
    assert not again.classifier.weight.equal(start.classifier.weight)
    assert again.hdf.dam["1"].temporal.mix_weight.equal(start.hdf.dam["1"].temporal.mix_weight)


def test_training_starts_from_a_videomae_classifier_with_the_classes_of_the_dataset(trained, tmp_path):
    backbone = AutoModelForVideoClassification.from_pretrained(trained).config.backbone_config
    config = VideoMAEConfig(**backbone.to_dict())
    config.num_labels = 9
    VideoMAEForVideoClassification(config).save_pretrained(tmp_path / "start")
    shape = '{"image_size": [32, 64]}'  # height and width
    train(tmp_path / "run", "--model_name_or_path", tmp_path / "start", "--model_overrides", shape)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert list(metrics["recall"]) == EMOTIONS
    assert json.loads((tmp_path / "run" / "config.json").read_text())["backbone_config"]["image_size"] == [32, 64]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("a.mp4", "--model", "nowhere"), "nowhere: there is no such folder"),
        (("a.mp4", "--top", 0), "argument --top: 0 is no whole number of 1 or more"),
        (("a.mp4", "--batchsize", 1), "unrecognized argument --batchsize; did you mean '--batch-size'"),
        (("a.mp4", "--hop", "-1"), "argument --hop: -1 is no number of seconds above 0"),
    ],
)
def test_prediction_names_wrong_arguments(arguments, message):
    output = run("predict.py", *arguments, check=False)
    assert output.returncode == 2 and message in output.stderr


@pytest.mark.skipif("HDF_REAL_VIDEOS" not in os.environ, reason="HDF_REAL_VIDEOS names a folder of real clips")
def test_script_and_pipeline_agree_on_a_real_video(trained):
    video = str(Path(os.environ["HDF_REAL_VIDEOS"]) / "single_face.mp4")
    output = run("predict.py", "--whole", "--model", trained, video, "--json")
    expected = {
        entry["label"]: entry["score"] for entry in pipeline("video-classification", str(trained))(video, top_k=7)
    }
    assert json.loads(output.stdout)["predictions"][video] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--recipe", "nowhere"), "nowhere"),
        (("--preset", "huge"), "huge"),
        (("--dataset", "imagenet"), "imagenet"),
        (("--dsm_eta", "0"), "eta"),
        (("--model_overrides", '{"dam_layer": []}'), "dam_layer"),
        (("--model_overrides", '{"hidden": 3}'), "hidden"),
        (("--model_overrides", "[1]"), "model_overrides"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, message):
    output = train(tmp_path, *arguments, check=False)
    assert output.returncode != 0 and message in output.stderr.splitlines()[-1]


def test_a_recipe_with_an_unknown_argument_is_refused(tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text("preset: tiny\nlearning_rat: 1.0\n")
    output = train(tmp_path, "--recipe", recipe, check=False)
    assert output.returncode == 2 and "learning_rat" in output.stderr
