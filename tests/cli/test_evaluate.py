"""`hdf evaluate` and `hdf calibrate` on tiny models and a handful of clips, from the arguments to the files."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluated_models import assert_error, own_dataset_cache, run, save_model  # noqa: F401
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from transformers import AutoModelForVideoClassification, pipeline
from trees import write_dfew, write_ferv39k, write_mafw

from modeling_hdf import HDFForVideoClassification, HDFModel, HDFVideoProcessor
from modeling_hdf.data import EXPRESSIONS, ClipDataset, SyntheticFaces
from modeling_hdf.evaluation.calibration import fit_temperature
from modeling_hdf.evaluation.predictions import class_names, class_probabilities, read_predictions
from modeling_hdf.evaluation.running import clip_outputs, evaluation_trainer
from modeling_hdf.inference import load_classifier

SMALL = {"num_train": 7, "num_validation": 21, "num_test": 28, "image_size": 32, "duration": 0.8}


@pytest.fixture(scope="module")
def overrides(tmp_path_factory) -> dict:
    """Fields of the micro dataset of embedded faces, rendered once."""
    fields = {**SMALL, "cache_dir": str(tmp_path_factory.mktemp("cache"))}
    SyntheticFaces(**fields).download_and_prepare()
    return fields


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def evaluated(saved, overrides, tmp_path_factory) -> Path:
    """Output folder of an evaluation on the embedded faces."""
    folder = tmp_path_factory.mktemp("out") / "new"
    options = ("--overrides", json.dumps(overrides), "--resamples", 50, "--batch-size", 8, "--num-workers", 1)
    assert run("evaluate", saved, "--dataset", "synthetic", "--output", folder, *options) == 0
    return folder


def one_by_one(model: Path, rows) -> np.ndarray:
    """Probabilities of a plain loop over clips."""
    classifier = AutoModelForVideoClassification.from_pretrained(model)
    processor = HDFVideoProcessor.from_pretrained(model)
    clips = [processor(row["clip"]["bytes"], return_tensors="pt").pixel_values for row in rows]
    with torch.no_grad():
        return np.stack([classifier(clip).logits[0].double().softmax(-1).numpy() for clip in clips])


def test_evaluation_leaves_one_row_per_clip_as_a_plain_loop_finds_them(evaluated, saved, overrides):
    rows = SyntheticFaces(**overrides).as_dataset("test")
    table = read_predictions(evaluated / "predictions.parquet")
    assert table["clip_id"].tolist() == rows["clip_id"][:]
    assert table["label"].tolist() == [EXPRESSIONS[label] for label in rows["label"]]
    assert table["identity"].tolist() == rows["identity"][:] and table["yaw"].tolist() == rows["yaw"][:]
    np.testing.assert_allclose(class_probabilities(table), one_by_one(saved, rows), atol=1e-5)
    assert table["predicted"].nunique() > 1
    assert read_predictions(evaluated / "predictions.csv")["yaw"].tolist() == rows["yaw"][:]


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_evaluation_leaves_metrics_groups_and_a_picture(evaluated, saved):
    metrics = json.loads((evaluated / "metrics.json").read_text())
    table = read_predictions(evaluated / "predictions.csv")
    assert metrics["war"] == pytest.approx(accuracy_score(table["label"], table["predicted"]))
    assert metrics["uar"] == pytest.approx(balanced_accuracy_score(table["label"], table["predicted"]))
    low, high = metrics["intervals"]["war"]
    assert low <= metrics["war"] <= high
    assert metrics["bootstrap"] == {"unit": "identity", "num_units": 4, "level": 0.95, "num_resamples": 50, "seed": 0}
    assert {"yaw", "skin", "age", "gender", "background", "fps"} <= set(metrics["groups"])
    assert not {"identity", "clip_id"} & set(metrics["groups"])
    about = {"model": str(saved), "dataset": "synthetic", "fold": None, "split": "test", "num_views": 1}
    assert metrics | about == metrics and metrics["across_datasets"] is None
    assert metrics["command"].startswith(f"hdf evaluate {saved} --dataset synthetic --output")
    digest = hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    assert metrics["weights_sha256"] == {"model.safetensors": digest} and "model_revision" not in metrics
    assert (evaluated / "confusion_matrix.png").stat().st_size > 0


def test_an_output_of_another_run_is_not_replaced(evaluated, saved, overrides, capsys):
    before = (evaluated / "metrics.json").read_bytes()
    options = ("--overrides", json.dumps(overrides), "--output", evaluated)
    assert run("evaluate", saved, "--dataset", "synthetic", *options) == 1
    assert "holds the metrics.json of another run" in capsys.readouterr().err
    assert (evaluated / "metrics.json").read_bytes() == before


def test_views_split_and_groups_are_as_asked_for(saved, overrides, tmp_path, capsys):
    options = ("--overrides", json.dumps(overrides), "--resamples", 5, "--output", tmp_path)
    arguments = ("--split", "validation", "--num-views", 2, "--group-by", "background", "--seed", 3)
    assert run("evaluate", saved, "--dataset", "synthetic", *options, *arguments) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["split"], metrics["num_views"], metrics["num_clips"]) == ("validation", 2, 21)
    assert list(metrics["groups"]) == ["background"] and metrics["bootstrap"]["seed"] == 3
    rows = SyntheticFaces(**overrides).as_dataset("validation")
    probabilities = class_probabilities(read_predictions(tmp_path / "predictions.csv"))
    assert np.abs(probabilities - one_by_one(saved, rows)).max() > 1e-3
    assert "by background; worst: " in capsys.readouterr().out


def test_an_unknown_factor_is_named_before_the_work(saved, overrides, capsys, monkeypatch):
    monkeypatch.setattr("modeling_hdf.cli.evaluate.predict_rows", lambda *_: pytest.fail("clips were classified"))
    options = ("--overrides", json.dumps(overrides), "--group-by", "scene")
    assert run("evaluate", saved, "--dataset", "synthetic", *options) == 1
    assert_error(capsys, "no column scene to group by; .*yaw")


def test_a_model_of_seven_classes_on_mafw(saved, tmp_path, capsys):
    write_mafw(tmp_path / "mafw")
    options = ("--data-dir", tmp_path / "mafw", "--fold", 1, "--output", tmp_path / "out", "--resamples", 5)
    assert run("evaluate", saved, "--dataset", "mafw", *options) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    left_out = {"contempt": 1, "anxiety": 1, "helplessness": 1, "disappointment": 1}
    assert metrics["across_datasets"] == {"shared": list(EXPRESSIONS), "only_in_model": [], "left_out": left_out}
    assert metrics["num_clips"] == 7 and list(metrics["recall"]) == list(EXPRESSIONS)
    assert sorted(read_predictions(tmp_path / "out" / "predictions.csv")["label"]) == sorted(EXPRESSIONS)
    assert "of classes that the model lacks: 1 contempt, 1 anxiety" in capsys.readouterr().out


def test_another_order_of_classes_is_matched_by_name(saved, tmp_path):
    names = ("boredom", *sorted(EXPRESSIONS))
    other = save_model(tmp_path / "model", names)
    write_ferv39k(tmp_path / "ferv39k")
    options = ("--data-dir", tmp_path / "ferv39k", "--output", tmp_path / "out", "--resamples", 5)
    assert run("evaluate", other, "--dataset", "ferv39k", *options) == 0
    table = read_predictions(tmp_path / "out" / "predictions.parquet")
    assert class_names(table) == sorted(EXPRESSIONS)
    emotions = {"Happy": "happiness", "Sad": "sadness", "Angry": "anger"}
    written = [clip_id.split("/")[1] for clip_id in table["clip_id"]]
    assert table["label"].tolist() == [emotions.get(name, name.lower()) for name in written]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["across_datasets"]["only_in_model"] == ["boredom"]
    assert metrics["groups"]["scene"]["groups"].keys() == {"Action", "War"}


@pytest.mark.parametrize(
    "trained, code", [({"fold": 1}, 0), ({"fold": 2}, 1), ({"fold": 1, "peer_protocol": True}, 0)]
)
def test_a_model_is_not_tested_on_clips_it_was_trained_on(saved, tmp_path, capsys, trained, code):
    model = Path(shutil.copytree(saved, tmp_path / "model"))
    (model / "metrics.json").write_text(json.dumps({"dataset": "dfew", **trained}))
    write_dfew(tmp_path / "dfew")
    options = ("--data-dir", tmp_path / "dfew", "--fold", 1, "--resamples", 5, "--output", tmp_path / "out")
    assert run("evaluate", model, "--dataset", "dfew", *options) == code
    if code:
        assert "was trained on fold 2 of dfew, so it has seen clips" in capsys.readouterr().err
    else:
        peers = trained.get("peer_protocol", False)
        assert json.loads((tmp_path / "out" / "metrics.json").read_text())["peer_protocol"] is peers
        assert ("PEER PROTOCOL" in capsys.readouterr().out) == peers


def test_the_example_script_is_the_command(saved, evaluated, overrides, tmp_path):
    script = Path(__file__).parents[2] / "examples" / "evaluate.py"
    options = ("--overrides", json.dumps(overrides), "--resamples", "50", "--output", str(tmp_path))
    command = [sys.executable, str(script), str(saved), "--dataset", "synthetic", *options]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    expected, metrics = (json.loads((path / "metrics.json").read_text()) for path in (evaluated, tmp_path))
    assert metrics.pop("command").startswith(f"hdf evaluate {saved} ") and expected.pop("command")
    assert metrics["confusion_matrix"] == expected["confusion_matrix"] and metrics.keys() == expected.keys()
    assert f"WAR                {metrics['war']:.3f} [" in output


def test_scores_and_features_come_in_the_order_of_the_clips(saved, overrides, tmp_path):
    model, processor = load_classifier(str(saved))
    rows = SyntheticFaces(**overrides).as_dataset("test")
    trainer = evaluation_trainer(model, processor, tmp_path, per_device_eval_batch_size=8)
    logits, features = clip_outputs(trainer, ClipDataset(rows, processor))
    pixel_values = processor([row["clip"]["bytes"] for row in rows], return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = model.eval()(pixel_values)
    np.testing.assert_allclose(logits, expected.logits, atol=1e-4)
    np.testing.assert_allclose(features, expected.features, atol=1e-4)


# ---- Calibration ----


def fit_classifier(folder: Path, rows) -> None:
    """A classifier that knows something about these clips, and is far too sure of itself."""
    model, processor = HDFForVideoClassification.from_pretrained(folder), HDFVideoProcessor.from_pretrained(folder)
    clips = processor([row["clip"]["bytes"] for row in rows], return_tensors="pt").pixel_values
    with torch.no_grad():
        targets = torch.eye(7)[torch.tensor(rows["label"][:])]
        model.classifier.weight.copy_(40 * torch.linalg.lstsq(model(clips).features, targets).solution.T)
    model.save_pretrained(folder)


def test_calibration_fits_on_validation_and_pipelines_use_it(overrides, tmp_path, capsys):
    splits = SyntheticFaces(**overrides).as_dataset()
    model = save_model(tmp_path / "model")
    fit_classifier(model, splits["validation"])
    before = AutoModelForVideoClassification.from_pretrained(model)
    weights = (model / "model.safetensors").read_bytes()
    validation = np.log(one_by_one(model, splits["validation"]))  # the scores, up to a constant per clip
    options = ("--dataset", "synthetic", "--overrides", json.dumps(overrides))
    assert run("calibrate", model, *options) == 0
    expected = fit_temperature(validation, np.array(splits["validation"]["label"][:]))
    after = AutoModelForVideoClassification.from_pretrained(model)
    assert after.config.calibration_temperature == pytest.approx(expected, rel=1e-3)
    assert after.config.calibration_temperature > 1.5
    assert (model / "model.safetensors").read_bytes() == weights
    report = json.loads((model / "calibration.json").read_text())
    assert report["temperature"] == {"before": 1.0, "after": after.config.calibration_temperature}
    assert report["test"]["num_clips"] == 28 and report["validation"]["num_clips"] == 21
    assert report["validation"]["after"]["nll"] < report["validation"]["before"]["nll"]
    assert f"calibration error {report['test']['before']['ece']:.4f}" in capsys.readouterr().out

    video = tmp_path / "clip.mp4"
    video.write_bytes(splits["test"][0]["clip"]["bytes"])
    pixel_values = HDFVideoProcessor.from_pretrained(model)(str(video), return_tensors="pt").pixel_values
    with torch.no_grad():
        scores = (before(pixel_values).logits[0] / after.config.calibration_temperature).softmax(-1)
    results = pipeline("video-classification", model=str(model))(str(video), top_k=7)
    assert {entry["label"]: entry["score"] for entry in results} == pytest.approx(
        dict(zip(EXPRESSIONS, scores.tolist(), strict=True)), abs=1e-5
    )

    # A second call fits the scores themselves, not those that are scaled already.
    assert run("calibrate", model, *options) == 0
    again = json.loads((model / "calibration.json").read_text())
    assert again["temperature"]["after"] == pytest.approx(again["temperature"]["before"], rel=1e-6)
    assert again["test"]["before"] == pytest.approx(report["test"]["after"])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda folder: folder, "is no model folder: it has no config.json"),
        (
            lambda folder: save_model(folder / "m", EXPRESSIONS[::-1]),
            "has the classes fear, .*calibrate on the dataset",
        ),
    ],
)
def test_calibration_needs_the_model_folder_and_its_own_dataset(tmp_path, overrides, capsys, make, message):
    model = make(tmp_path)
    assert run("calibrate", model, "--dataset", "synthetic", "--overrides", json.dumps(overrides)) == 1
    assert_error(capsys, message)


def test_calibration_refuses_a_model_without_a_validation_split(saved, overrides, tmp_path, capsys):
    model = Path(shutil.copytree(saved, tmp_path / "model"))
    (model / "metrics.json").write_text(json.dumps({"peer_protocol": True}))
    assert run("calibrate", model, "--dataset", "synthetic", "--overrides", json.dumps(overrides)) == 1
    assert_error(capsys, "trained by the peer protocol")


# ---- Bad input ----


def headless(folder: Path) -> Path:
    save_model(folder / "m")
    HDFModel(HDFForVideoClassification.from_pretrained(folder / "m").config).save_pretrained(folder / "m")
    return folder / "m"


@pytest.mark.parametrize(
    "make, arguments, message",
    [
        (headless, (), "has no weights for classifier.bias, classifier.weight, .*: it is no trained classifier"),
        (lambda folder: save_model(folder / "m", ("a", "b")), (), "0 classes in common.*The model has a, b"),
        (lambda folder: save_model(folder / "m"), ("--fold", 2), "`fold` has no meaning for the synthetic faces"),
        (lambda folder: save_model(folder / "m"), ("--temporal-sampling", "x"), "'x'"),
    ],
)
def test_bad_input_is_named(tmp_path, overrides, capsys, make, arguments, message):
    options = ("--dataset", "synthetic", "--overrides", json.dumps(overrides), "--output", tmp_path / "out")
    assert run("evaluate", make(tmp_path), *options, *arguments) == 1
    assert_error(capsys, message)
    assert not (tmp_path / "out").exists()
