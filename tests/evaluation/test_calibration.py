"""Temperature scaling: the fit against a search, and a model that applies it in evaluation and nowhere else."""

import json

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny_models import tiny_config
from torch.nn import functional as F
from transformers import AutoModelForVideoClassification

from modeling_hdf import HDFConfig, HDFForVideoClassification
from modeling_hdf.cli import train
from modeling_hdf.data import EXPRESSIONS
from modeling_hdf.evaluation.calibration import (
    calibration_scores,
    fit_temperature,
    negative_log_likelihood,
    write_temperature,
)
from modeling_hdf.evaluation.metrics import expected_calibration_error


def draw(scale: float, num_clips: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Logits at `scale` times those that the labels are drawn from: `scale` is the right temperature."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(num_clips, 7)) * 1.5
    labels = [generator.choice(7, p=row / row.sum()) for row in np.exp(logits)]
    return logits * scale, np.array(labels)


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_the_temperature_is_where_a_search_finds_the_smallest_likelihood(scale):
    logits, labels = draw(scale)
    grid = np.exp(np.linspace(np.log(0.02), np.log(50), 3000))
    losses = [F.cross_entropy(torch.tensor(logits / value), torch.tensor(labels)).item() for value in grid]
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(grid[np.argmin(losses)], rel=2 * np.log(2500) / 3000)
    assert negative_log_likelihood(logits, labels, temperature) <= min(losses) + 1e-12
    assert temperature == pytest.approx(scale, rel=0.2)


def test_a_split_without_a_minimum_is_named():
    labels = np.array([0, 1, 2])
    with pytest.raises(ValueError, match="these 3 validation clips: the model classifies all of them correctly"):
        fit_temperature(np.eye(3), labels)
    with pytest.raises(ValueError, match="do not score above the other classes"):
        fit_temperature(-np.eye(3), labels)


def test_the_scores_compare_two_temperatures():
    logits, labels = draw(3.0)
    scores = calibration_scores(logits, labels, 1.0, 3.0)
    for name, temperature in (("before", 1.0), ("after", 3.0)):
        probabilities = torch.tensor(logits / temperature).softmax(-1).numpy()
        nll = F.cross_entropy(torch.tensor(logits / temperature), torch.tensor(labels)).item()
        assert scores[name]["nll"] == pytest.approx(nll)
        assert scores[name]["ece"] == pytest.approx(expected_calibration_error(labels, probabilities))
    assert scores["num_clips"] == 400 and scores["after"]["ece"] < scores["before"]["ece"]


def test_logits_are_divided_in_evaluation_only(model, clips):
    labels = torch.tensor([0, 3, 6])
    plain = model(clips, labels=labels)
    trained = model.train()(clips, labels=labels)
    model.config.calibration_temperature = 2.5
    unchanged = model(clips, labels=labels)
    torch.testing.assert_close((unchanged.logits, unchanged.loss), (trained.logits, trained.loss))
    divided = model.eval()(clips, labels=labels)
    torch.testing.assert_close(divided.logits, plain.logits / 2.5)
    torch.testing.assert_close(divided.loss, F.cross_entropy(plain.logits / 2.5, labels))
    assert divided.logits.argmax(-1).equal(plain.logits.argmax(-1))
    torch.testing.assert_close(divided.features, plain.features)


def test_the_temperature_is_saved_and_loaded(model, clips, tmp_path):
    plain = model(clips).logits
    model.config.calibration_temperature = 0.5
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(AutoModelForVideoClassification.from_pretrained(tmp_path)(clips).logits, plain / 0.5)


def test_writing_the_temperature_changes_nothing_else(model, clips, tmp_path):
    plain = model(clips).logits
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_temperature(tmp_path, 1.75)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert [name for name in after if after[name] != before.get(name)] == ["config.json"]
    assert after.keys() == before.keys()
    config = json.loads(after["config.json"])
    assert config.pop("calibration_temperature") == 1.75
    old = json.loads(before["config.json"])
    old.pop("calibration_temperature", None)
    assert config == old
    torch.testing.assert_close(HDFForVideoClassification.from_pretrained(tmp_path)(clips).logits, plain / 1.75)


def test_an_interrupted_write_leaves_the_old_configuration(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_temperature(tmp_path, 2.0)
    assert (tmp_path / "config.json").read_bytes() == before


def test_training_from_a_calibrated_checkpoint_starts_without_its_temperature(model, tmp_path):
    model.config.calibration_temperature = 3.0
    model.save_pretrained(tmp_path)
    arguments = train.ScriptArguments(model_name_or_path=str(tmp_path))
    start = train.build_model(arguments, list(EXPRESSIONS))
    assert start.config.calibration_temperature == 1.0
    assert start.classifier.weight.equal(model.classifier.weight)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_temperatures_out_of_range_are_named(value):
    with pytest.raises(StrictDataclassError, match="`calibration_temperature` is"):
        tiny_config(calibration_temperature=value)
    assert HDFConfig().calibration_temperature == 1.0
